"""Prints one number of every generator in a clone; docs/clones-python.md says which of them differ."""

import random
import secrets
import ssl
import sys
import tempfile
import threading
import uuid
from random import random as by_name

import numpy

import forkpoint

legacy, legacy_seeded = numpy.random.RandomState(), numpy.random.RandomState(5)
default, default_seeded = numpy.random.default_rng(), numpy.random.default_rng(5)
default_registered = forkpoint.reseed_on_restore(numpy.random.default_rng(5))
numpy.random.rand(), legacy.rand(), default.random()
unseeded, seeded, registered = random.Random(), random.Random(5), forkpoint.reseed_on_restore(random.Random(5))
random.random(), uuid.uuid1(), ssl.RAND_bytes(8), tempfile.mktemp()

def compute():
    count = 0
    while True:
        count += 1


# A thread that never waits: the checkpoint has to stop it, and to let it go on.
threading.Thread(target=compute, daemon=True).start()
forkpoint.checkpoint_restore(sys.argv[1])
print("random", random.random())
print("by-name", by_name())
print("unseeded", unseeded.random())
print("registered", registered.random())
print("uuid1", uuid.uuid1())
print("uuid4", uuid.uuid4())
print("secrets", secrets.token_hex(8))
print("numpy", numpy.random.rand())
print("numpy-legacy", legacy.rand())
print("numpy-default", default.random())
print("numpy-registered", default_registered.random())
print("ssl", ssl.RAND_bytes(8).hex())
print("tempfile", tempfile.mktemp())
print("seeded", seeded.random())
print("numpy-legacy-seeded", legacy_seeded.rand())
print("numpy-default-seeded", default_seeded.random())
print("hash", hash("a text"))

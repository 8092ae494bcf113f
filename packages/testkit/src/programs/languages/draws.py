"""Prints one number of every generator in a clone; docs/clones-python.md says which of them differ."""

import random
import ssl
import sys
import tempfile
import threading
import uuid
from random import random as by_name

import forkpoint

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
print("ssl", ssl.RAND_bytes(8).hex())
print("tempfile", tempfile.mktemp())
print("seeded", seeded.random())
print("hash", hash("a text"))

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

# A thread that computes and draws all the time: it must not draw before the renewal.
drawn = []
watching = threading.Event()


def draw():
    while True:
        value = random.random()
        if watching.is_set():
            drawn.append(value)
            watching.clear()


threading.Thread(target=draw, daemon=True).start()
watching.set()
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

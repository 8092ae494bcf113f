"""What CPython and numpy promise on memory that may be linked. Usage: arrays.py IMAGE1 IMAGE2"""
import gc
import json
import os
import sys

import numpy

failed = False


def need(is_right, what):
    global failed
    if not is_right:
        print("bad", what, flush=True)
        failed = True


def checkpoint(to):
    """The ten lines of docs/protocol.md."""
    directory = os.environ["FORKPOINT_DIR"]
    link = "HAZARDS_PLAIN" not in os.environ
    request = {"v": 1, "op": "checkpoint", "pid": os.getpid(), "to": to, "stop": True, "link": link}
    with open(f"{directory}/request", "w") as file:
        file.write(json.dumps(request) + "\n")
    with open(f"{directory}/outcome") as file:
        outcome = file.read()
    if '"restored"' not in outcome:
        print("no restore:", outcome)
        sys.exit(2)


words = {f"word {i}": i for i in range(100_000)}
texts = [str(i) * 50 for i in range(20_000)]
arrays = [numpy.arange(20_000 * (i + 1), dtype=numpy.float64) for i in range(20)]
growing = numpy.arange(500_000)
raw = bytearray(b"x" * 5_000_000)

for generation, image in enumerate(sys.argv[1:]):
    checkpoint(image)
    need(words["word 4711"] == 4711 and len(words) == 100_000, "a dictionary")
    need(all(text == str(i) * 50 for i, text in enumerate(texts)), "texts")
    need(all((array == numpy.arange(len(array))).all() for array in arrays), "arrays")
    before = len(growing)
    growing.resize(before + 500_000, refcheck=False)
    need((growing[:500_000] == numpy.arange(500_000)).all(), "an array that grew")
    need(not growing[before:].any(), "zeros where it grew")
    raw.extend(b"y" * 3_000_000)
    need(raw[:5_000_000] == b"x" * 5_000_000, "a bytearray that grew")
    for round in range(5):
        arrays = arrays[round::2]
        gc.collect()
        need(not any(numpy.zeros(30_000 * (i + 1)).any() for i in range(20)), "zeros")
        need(((numpy.ones(1_000_000) * 2 + 1) == 3).all(), "an expression")
        arrays = [numpy.arange(20_000 * (i + 1), dtype=numpy.float64) for i in range(20)]
    texts[::3] = [str(i) * 50 for i in range(0, 20_000, 3)]
print("bad" if failed else "ok", flush=True)
sys.exit(1 if failed else 0)

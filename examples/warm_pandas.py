"""
An interpreter with numpy and pandas imported, and data loaded, forked for every task: a task starts where the imports have ended,
and cannot disturb the next one.

    forkpoint run -- python3 examples/warm_pandas.py FILE

Each line of the file (of the standard input without one) is a Python expression over `frame`, `numpy` and `pandas`; each line of the output is its result.
"""

import sys

import numpy
import pandas

import forkpoint

frame = pandas.DataFrame({"shop": ["north", "south", "north"], "sales": numpy.array([3, 4, 5])})
# Compiles and caches what a first query would wait for.
frame.groupby("shop").sales.sum()


def answer(task: str) -> str:
    """Evaluates one task in a copy of this process."""
    forked = forkpoint.fork(args=[task])
    if forked.is_child:
        try:
            result = repr(eval(forkpoint.args()[0]))
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        forked.channel.send(result)
        raise SystemExit(0)
    child = forked.children[0]
    result = child.receive()
    child.wait()
    return str(result)


with open(sys.argv[1]) if len(sys.argv) > 1 else sys.stdin as tasks:
    for line in tasks:
        print(answer(line.strip()), flush=True)

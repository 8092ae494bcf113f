"""The subject of the conformance script in Python; README.md of this directory says what each scenario has to print."""

import os
import random
import secrets
import sys
import time
import uuid

import forkpoint

scenario, words = sys.argv[1], sys.argv[2:]
kept = []


def say(*parts):
    # One write: several processes share the output.
    print(" ".join(map(str, parts)) + "\n", end="", flush=True)


class Hook:
    def __init__(self, name, fails=""):
        self.name, self.fails, self.is_told = name, fails, False

    def before_checkpoint(self):
        say("before", self.name)
        if self.fails == "before":
            raise ValueError(f"boom {self.name}")

    def after_restore(self):
        say("after", self.name)
        self.is_told = True
        if self.fails == "after":
            raise ValueError(f"boom {self.name}")


def register(*hooks):
    kept.extend(forkpoint.register(hook) for hook in hooks)


def attempt(ask):
    try:
        return ask()
    except forkpoint.ForkpointError as error:
        say("failed", error.code, "boom" if "boom" in str(error) else "-")
        return None


def hooks():
    register(Hook("a"), Hook("b"), Hook("c"))
    forkpoint.checkpoint_restore(words[0])
    say("restored", ",".join(forkpoint.args()), os.environ.get("FLAVOUR", "-"))


def before():
    register(Hook("a", "before"), Hook("b"))
    attempt(lambda: forkpoint.checkpoint(words[0]))
    say("alive")


def after():
    register(Hook("a", "after"), Hook("b"))
    attempt(lambda: forkpoint.checkpoint(words[0]))
    say("alive")


def dump():
    register(Hook("a"))
    attempt(lambda: forkpoint.checkpoint(words[0]))
    say("alive")
    say(forkpoint.checkpoint(words[1]).outcome)


def nested():
    @forkpoint.before_checkpoint
    def again():
        attempt(lambda: forkpoint.checkpoint(words[0]))

    say(forkpoint.checkpoint(words[0]).outcome)


def chain():
    for count in range(1, 6):
        context = forkpoint.checkpoint_restore(words[0])
        say("generation", context.generation, "count", count)


def destinations():
    for to in [*words, None]:
        result = forkpoint.checkpoint(to)
        say(result.outcome, result.image)


def outside():
    register(Hook("a"))
    say("up")
    while not (kept[0].is_told and "end" in forkpoint.args()):
        time.sleep(0.02)
    say("end")


def unique():
    random.random()
    uuid.uuid4()
    forkpoint.checkpoint_restore(words[0])
    for _ in range(20):
        say("token", random.random())
    say("strong", uuid.uuid4())
    say("strong", secrets.token_hex(8))


def fork():
    register(Hook("a"))
    for count in (3, 1):
        forked = forkpoint.fork(count)
        if forked.is_child:
            say("child", forked.index, random.random())
            sys.exit(10 + forked.index)
        say("ended", ",".join(str(child.wait()) for child in forked.children))


def alone():
    say("implemented", str(forkpoint.is_implemented()).lower())
    attempt(lambda: forkpoint.checkpoint(words[0]))


globals()[scenario]()

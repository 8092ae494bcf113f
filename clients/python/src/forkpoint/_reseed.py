"""New randomness for a clone; the page clones-python.md says what is covered and what is not."""

import gc
import random
import sys
import weakref
from typing import Any, Callable, List

from ._gil import entropy

_registered: "weakref.WeakSet[Any]" = weakref.WeakSet()
#: Of kinds that know no weak references, as numpy's; they live on.
_kept: List[Any] = []
#: Instances of random.Random that were made without a seed.
_unseeded: "weakref.WeakSet[random.Random]" = weakref.WeakSet()


def register(generator: Any) -> Any:
    """Has a generator seeded anew in every clone. It is held weakly where its kind allows that. Returns it."""
    try:
        _registered.add(generator)
    except TypeError:
        if not any(one is generator for one in _kept):
            _kept.append(generator)
    return generator


def watch() -> None:
    """Notes which generators are made without a seed from now on: these nobody expects to repeat."""
    seed = random.Random.seed
    if getattr(seed, "_forkpoint", False):
        return

    def noting_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, a, version)
        if a is None and not isinstance(self, random.SystemRandom):
            _unseeded.add(self)
        else:
            _unseeded.discard(self)

    noting_seed._forkpoint = True  # type: ignore[attr-defined]
    random.Random.seed = noting_seed  # type: ignore[method-assign,assignment]


_poll: Any = None
#: numpy's generators that were made without a seed; only while a checkpoint is taken.
_found: List[Any] = []
#: A generator of numpy with so many bits of entropy was made without a seed: it draws 128 itself.
SEED_BITS = 96


def prepare() -> None:
    """Looks for what `process` needs, because that may not open files."""
    global _poll
    if _poll is None and "ssl" in sys.modules:
        _poll = _openssl_function("RAND_poll")
    _found[:] = _numpy_generators()


def forget() -> None:
    """Lets go of what `prepare` has found."""
    _found.clear()


def process() -> List[BaseException]:
    """Renews everything that can be reached without letting go of the interpreter's lock; returns what failed."""
    return _each([_random, _ssl, _uuid, _tempfile, _numpy, lambda: _renew_all([*_unseeded, *_found])])


def registered() -> List[BaseException]:
    """Renews what the program has registered, whose methods may do anything; returns what failed."""
    return _each([lambda: _renew_all([*_registered, *_kept])])


def _each(steps: List[Callable[[], None]]) -> List[BaseException]:
    errors: List[BaseException] = []
    for step in steps:
        try:
            step()
        except Exception as error:
            errors.append(error)
    return errors


def _random() -> None:
    # The module's functions are methods of this instance, also those that were imported by name.
    instance = getattr(random, "_inst", None)
    (instance or random).seed(entropy(64))


def _ssl() -> None:
    ssl = sys.modules.get("ssl")
    if ssl is None:
        return
    ssl.RAND_add(entropy(64), 64.0)
    if _poll is not None:
        _poll()


def _openssl_function(name: str) -> Any:
    """Returns a function of the OpenSSL that this interpreter has loaded; None when it cannot be found."""
    try:
        import ctypes

        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            paths = {line.rstrip("\n").partition("/")[2] for line in maps if "libcrypto" in line}
        for path in paths:
            return getattr(ctypes.PyDLL("/" + path), name, None)
    except (ImportError, OSError):
        # Linked statically into the interpreter; RAND_add has been called.
        pass
    return None


def _uuid() -> None:
    uuid = sys.modules.get("uuid")
    if uuid is None:
        return
    # libuuid counts on by itself, from the same number in every clone. The pure one draws its sequence each time.
    for name in ("_generate_time_safe", "_UuidCreate"):
        if hasattr(uuid, name):
            setattr(uuid, name, None)
    uuid._last_timestamp = None
    # RFC 9562, 6.10: a random node has the multicast bit set.
    uuid._node = int.from_bytes(entropy(6), "big") | (1 << 40)


def _tempfile() -> None:
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        # Its generator is renewed when the pid changes, and the pid of a clone does not.
        tempfile._name_sequence = None


def _numpy() -> None:
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return
    words = [int.from_bytes(entropy(4), "big") for _ in range(16)]
    numpy_random.mtrand._rand.seed(words)


def _numpy_generators() -> List[Any]:
    """Looks through all objects, because numpy keeps no list: some 10 ms, before the process stands still."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return []
    kinds = (numpy_random.Generator, numpy_random.RandomState)
    return [one for one in gc.get_objects() if type(one) in kinds and _made_unseeded(one)]


def _made_unseeded(generator: Any) -> bool:
    bits = getattr(generator, "bit_generator", None) or getattr(generator, "_bit_generator", None)
    # Its name before numpy 1.25. A generator that was seeded in the old way has none.
    sequence = getattr(bits, "seed_seq", None) or getattr(bits, "_seed_seq", None)
    entropy_given = getattr(sequence, "entropy", None)
    return isinstance(entropy_given, int) and entropy_given.bit_length() > SEED_BITS


def _renew_all(generators: List[Any]) -> None:
    for generator in generators:
        renew(generator)


def renew(generator: Any) -> None:
    """Seeds one generator anew: of `random`, of numpy, or anything with a `seed` method that takes bytes or a number."""
    bits = getattr(generator, "bit_generator", None)
    if bits is not None:
        # A numpy Generator takes over the state of a new bit generator of its kind.
        bits.state = type(bits)(int.from_bytes(entropy(32), "big")).state
    elif type(generator).__module__.startswith("numpy.random") and hasattr(generator, "set_state"):
        generator.seed([int.from_bytes(entropy(4), "big") for _ in range(16)])
    elif isinstance(generator, random.Random):
        unseeded = generator in _unseeded
        generator.seed(entropy(64))
        if unseeded:
            _unseeded.add(generator)
    else:
        generator.seed(int.from_bytes(entropy(8), "big"))

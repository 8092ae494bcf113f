"""
System calls that keep the interpreter's lock, so that no other Python thread runs while this one waits. CPython's own
functions let go of it around every call that may block. Without ctypes, or in a free-threaded build, other threads do run.
"""

import contextlib
import functools
import os
import sys
from typing import Any, Callable, Iterator, Optional

try:
    import ctypes

    # PyDLL, unlike CDLL, keeps the lock.
    _libc: Optional["ctypes.PyDLL"] = ctypes.PyDLL(None, use_errno=True)
except (ImportError, OSError):  # pragma: no cover - an interpreter without ctypes
    _libc = None

_EINTR = 4
#: Seconds that other threads wait for the lock before they ask for it, while this one stands still. Also what this one waits, now
#: and then, when it has lost the lock all the same: to a thread that began to wait before, and then only computes.
_LONG = 2.0
#: The same once it goes on: enough to renew everything, and little to wait for whoever loses the lock all the same.
_SHORT = 0.05
_CALL = functools.partial.__call__


def _wait_in(function: Callable[..., Any], *arguments: Any) -> int:
    """
    Calls a function of C that blocks. A thread that began to wait for the lock before `no_switch` asks for it meanwhile, and is
    given it at this thread's next instruction; this one would then wait for as long as `no_switch` says. So the time is made short
    before that instruction: `map` calls both without one in between.
    """
    steps = (functools.partial(function, *arguments), functools.partial(sys.setswitchinterval, _SHORT))
    result, _ = map(_CALL, steps)
    return int(result)


def open_file(path: str, flags: int) -> int:
    """Opens a file."""
    return _open(path, flags, lambda function, *arguments: int(function(*arguments)))


def open_waiting(path: str, flags: int) -> int:
    """Opens a file, however long that takes; to be used in `no_switch`."""
    return _open(path, flags, _wait_in)


def _open(path: str, flags: int, call: Callable[..., int]) -> int:
    if _libc is None:
        return os.open(path, flags | os.O_CLOEXEC)
    name = os.fsencode(path)
    while True:
        descriptor = call(_libc.open, name, flags | os.O_CLOEXEC)
        if descriptor >= 0:
            return descriptor
        _raise_errno(path)


def read_some(descriptor: int, size: int) -> bytes:
    """Reads up to `size` bytes."""
    if _libc is None:
        return os.read(descriptor, size)
    buffer = ctypes.create_string_buffer(size)
    while True:
        count = int(_libc.read(descriptor, buffer, ctypes.c_size_t(size)))
        if count >= 0:
            return buffer.raw[:count]
        _raise_errno(None)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes at most PIPE_BUF bytes to a FIFO in one piece."""
    if _libc is None:
        os.write(descriptor, data)
        return
    while int(_libc.write(descriptor, data, ctypes.c_size_t(len(data)))) < 0:
        _raise_errno(None)


def close_file(descriptor: int) -> None:
    """Closes a file."""
    if _libc is None:
        os.close(descriptor)
    else:
        _libc.close(descriptor)


def entropy(size: int) -> bytes:
    """Random bytes of the kernel."""
    if _libc is None or not hasattr(_libc, "getrandom"):
        return os.urandom(size)
    buffer = ctypes.create_string_buffer(size)
    # Up to 256 bytes come whole and uninterrupted (getrandom(2)).
    if size > 256 or int(_libc.getrandom(buffer, ctypes.c_size_t(size), 0)) != size:
        return os.urandom(size)
    return buffer.raw


def _raise_errno(path: Optional[str]) -> None:
    number = ctypes.get_errno()
    if number != _EINTR:
        raise OSError(number, os.strerror(number), path)


@contextlib.contextmanager
def no_switch() -> Iterator[None]:
    """
    Keeps the interpreter from handing its lock to another thread between two instructions. Nothing in the block may let go
    of the lock: a thread that computes would then keep it.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_LONG)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)

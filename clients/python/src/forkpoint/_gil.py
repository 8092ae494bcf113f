"""
System calls that keep the interpreter's lock, so that no other Python thread runs while this one waits. CPython's own
functions let go of it around every call that may block. Without ctypes, or in a free-threaded build, other threads do run.
"""

import contextlib
import os
import sys
from typing import Iterator, Optional

try:
    import ctypes

    # PyDLL, unlike CDLL, keeps the lock.
    _libc: Optional["ctypes.PyDLL"] = ctypes.PyDLL(None, use_errno=True)
except (ImportError, OSError):  # pragma: no cover - an interpreter without ctypes
    _libc = None

_EINTR = 4


def open_file(path: str, flags: int) -> int:
    """Opens a file, however long that takes."""
    if _libc is None:
        return os.open(path, flags | os.O_CLOEXEC)
    name = os.fsencode(path)
    while True:
        descriptor = int(_libc.open(name, flags | os.O_CLOEXEC))
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
    sys.setswitchinterval(1000.0)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)

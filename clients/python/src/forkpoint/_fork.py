"""Children of a running process: what docs/protocol.md calls the lines of a child."""

import contextlib
import os
import pickle
import select
import signal
import socket
import struct
import tempfile
import time
import weakref
from dataclasses import dataclass, field
from typing import Any, Dict, Generator, Iterator, List, Optional, Tuple

from ._errors import CheckpointError, ForkpointError

#: Seconds for the children of one fork to come, and what each child adds: they start a few at a time.
COME, COME_EACH = 120.0, 1.0
BACKLOG = 4096
HEAD_MAX = 64
ADDRESS_MAX = 107
TEXT_MAX = 65536
MESSAGE_MAX = 1 << 30
LINES = ("life", "stdin", "stdout", "stderr", "channel")
LONGEST_POLL = 0.02

#: Sockets that belong to this process; a clone has dead copies of them and closes these.
_sockets: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name for a socket in a directory with a long name: an address holds 107 bytes. CRIU looks at it later as well."""
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fp-") as directory:
        os.symlink(os.path.dirname(path), os.path.join(directory, "d"))
        yield os.path.join(directory, "d", os.path.basename(path))


class ChannelClosed(ForkpointError):
    """The other end has closed the channel, or has ended."""

    def __init__(self) -> None:
        super().__init__("ERR_FORKPOINT_CHANNEL", "the other end of the channel is closed")


class Channel:
    """Messages between a parent and a child: any value that pickle takes, in order, none lost."""

    def __init__(self, line: Optional[socket.socket]) -> None:
        self._line = line

    def send(self, value: Any) -> None:
        """Sends one value; waits while the other end is behind."""
        data = pickle.dumps(value)
        if self._line is None:
            raise ChannelClosed()
        try:
            self._line.sendall(struct.pack("<I", len(data)) + data)
        except OSError as cause:
            raise ChannelClosed() from cause

    def receive(self, timeout: Optional[float] = None) -> Any:
        """Returns the next value; raises ChannelClosed, and TimeoutError after `timeout` seconds without one."""
        if self._line is None:
            raise ChannelClosed()
        if timeout is not None and not select.select([self._line], [], [], timeout)[0]:
            raise TimeoutError(f"no message came within {timeout} s")
        (length,) = struct.unpack("<I", self._exactly(4))
        if length > MESSAGE_MAX:
            raise ForkpointError("ERR_FORKPOINT_CHANNEL", f"a message of {length} bytes")
        return pickle.loads(self._exactly(length))

    def close(self) -> None:
        """Closes this end."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                chunk = self._line.recv(min(count - len(data), 1 << 20)) if self._line is not None else b""
            except OSError as cause:
                raise ChannelClosed() from cause
            if chunk == b"":
                raise ChannelClosed()
            data += chunk
        return bytes(data)


class Child:
    """A living child, as its parent has it."""

    def __init__(self, index: int) -> None:
        self.index = index
        #: The id of its run.
        self.id = ""
        self._lines: Dict[str, socket.socket] = {}
        self._text = ""
        self._code: Optional[int] = None
        self.channel = Channel(None)

    # --- what a parent uses ---

    def send(self, value: Any) -> None:
        """Sends a value to the child."""
        self.channel.send(value)

    def receive(self, timeout: Optional[float] = None) -> Any:
        """Returns the next value from the child."""
        return self.channel.receive(timeout)

    @property
    def stdin(self) -> Optional[socket.socket]:
        """With ``stdio='pipe'``: a socket to the child's standard input. `shutdown(SHUT_WR)` ends it."""
        return self._lines.get("stdin")

    @property
    def stdout(self) -> Optional[socket.socket]:
        """With ``stdio='pipe'``: a socket from the child's standard output."""
        return self._lines.get("stdout")

    @property
    def stderr(self) -> Optional[socket.socket]:
        """With ``stdio='pipe'``: a socket from the child's standard error."""
        return self._lines.get("stderr")

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal; does nothing when the child has ended."""
        try:
            self._lines["life"].sendall(f"kill {int(number)}\n".encode())
        except (OSError, KeyError):
            # It has ended.
            pass

    def poll(self) -> Optional[int]:
        """Returns the exit code, or -N for signal N, as subprocess does; None while the child lives."""
        self._read()
        return self._code

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits for the end and returns the exit code, or -N for signal N; raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"child {self.index} goes on after {timeout} s")
            select.select([self._lines["life"]], [], [], left)
        assert self._code is not None
        return self._code

    # --- how it comes to live ---

    def add(self, kind: str, line: socket.socket) -> None:
        if kind in self._lines:
            line.close()
            return
        self._lines[kind] = line
        if kind == "channel":
            line.setblocking(True)
            self.channel = Channel(line)

    @property
    def is_born(self) -> bool:
        # One that has ended already has lived.
        self._read()
        return self.id != "" and ("channel" in self._lines or self._code is not None)

    def failure(self) -> Optional[ForkpointError]:
        """Why it did not come to live; None while it still may."""
        if self._code is None or self.is_born:
            return None
        said = "\n".join(
            line for line in self._text.split("\n") if not line.startswith(("started ", "exited "))
        ).strip()
        why = said or f"it ended with {self._code}"
        return ForkpointError("ERR_FORKPOINT_CHILD", f"child {self.index} could not be started: {why}")

    def _read(self) -> None:
        """Reads `started RUN PID`, `exited CODE SIGNAL`, and the words of a failure, as far as they have come."""
        life = self._lines.get("life")
        while life is not None and self._code is None and select.select([life], [], [], 0)[0]:
            try:
                chunk = life.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            self._text = (self._text + chunk.decode(errors="replace"))[-TEXT_MAX:]
            for line in self._text.split("\n")[:-1]:
                words = line.split(" ")
                if words[0] == "started" and len(words) == 3:
                    self.id = words[1]
                elif words[0] == "exited" and len(words) == 3:
                    code, number = int(words[1]), int(words[2])
                    self._code = -number if number else code
            if chunk == b"" and self._code is None:
                # The launcher of the child was killed, and the child with it.
                self._code = -signal.SIGKILL


@dataclass(frozen=True)
class Forked:
    """What a fork came to: in the parent ``role`` is ``parent`` and there are children; in a child there is ``channel``."""

    role: str
    index: Optional[int]
    children: List[Child] = field(default_factory=list)
    #: In the parent: why some children did not come to live.
    errors: List[ForkpointError] = field(default_factory=list)
    channel: Channel = field(default_factory=lambda: Channel(None))

    @property
    def is_child(self) -> bool:
        return self.role == "child"


class Nursery:
    """Where the lines of one fork's children arrive."""

    def __init__(self, path: str, count: int) -> None:
        self.children = [Child(index) for index in range(count)]
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _sockets.add(self._server)
        self._server.setblocking(False)
        with short_path(path) as address:
            self._server.bind(address)
        self._path = path
        self._server.listen(BACKLOG)
        self._unknown: List[Tuple[socket.socket, bytearray]] = []

    def settle(self) -> Generator[float, None, Tuple[List[Child], List[ForkpointError]]]:
        """Waits until every child lives or has failed."""
        deadline, delay = time.monotonic() + COME + COME_EACH * len(self.children), 0.001
        waiting, errors = list(self.children), []
        while waiting:
            self._accept()
            for child in list(waiting):
                failure = None if child.is_born else child.failure()
                if child.is_born or failure is not None:
                    waiting.remove(child)
                if failure is not None:
                    errors.append(failure)
            if waiting and time.monotonic() > deadline:
                errors += [
                    ForkpointError("ERR_FORKPOINT_TIMEOUT", f"child {child.index} did not come") for child in waiting
                ]
                for child in waiting:
                    child.kill(signal.SIGKILL)
                break
            if waiting:
                yield delay
                delay = min(delay * 2, LONGEST_POLL)
        self.close()
        return [child for child in self.children if child.is_born], errors

    def close(self) -> None:
        self._server.close()
        for line, _ in self._unknown:
            line.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def abort(self) -> None:
        """Gives up everything; for a fork that failed before its children were on their way."""
        self._accept()
        for child in self.children:
            child.kill(signal.SIGKILL)
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except (BlockingIOError, OSError):
                break
            line.setblocking(False)
            _sockets.add(line)
            self._unknown.append((line, bytearray()))
        self._unknown = [(line, head) for line, head in self._unknown if not self._identify(line, head)]

    def _identify(self, line: socket.socket, head: bytearray) -> bool:
        """Reads `INDEX LINE`, byte by byte, because what the line carries stands right behind; whether it is settled."""
        while b"\n" not in head:
            try:
                byte = line.recv(1)
            except BlockingIOError:
                return False
            except OSError:
                byte = b""
            if byte == b"" or len(head) > HEAD_MAX:
                line.close()
                return True
            head += byte
        index, _, kind = head.decode("latin1").strip().partition(" ")
        if index.isdigit() and int(index) < len(self.children) and kind in LINES:
            if kind in ("stdin", "stdout", "stderr"):
                line.setblocking(True)
            self.children[int(index)].add(kind, line)
        else:
            line.close()
        return True


def reach(directory: str, fork: Any) -> Channel:
    """In a child: connects to the parent. A closed channel when it is not there any more."""
    name, index = (fork.get("socket"), fork.get("index")) if isinstance(fork, dict) else (None, None)
    if not isinstance(name, str):
        return Channel(None)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(os.path.join(directory, name)) as address:
            line.connect(address)
        line.sendall(f"{index} channel\n".encode())
    except OSError:
        line.close()
        return Channel(None)
    _sockets.add(line)
    return Channel(line)


def abandon() -> None:
    """In a clone: all connections belong to the original."""
    for one in list(_sockets):
        one.close()


def refused(errors: List[ForkpointError]) -> CheckpointError:
    first = str(errors[0]) if errors else "nobody came"
    message = first if len(errors) < 2 else f"none of {len(errors)} children started: {first}"
    return CheckpointError("ERR_FORKPOINT_FORK", message, errors=errors)

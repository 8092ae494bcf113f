"""The control directory as one member uses it; docs/protocol.md says what its files mean."""

import json
import os
import shutil
import time
from typing import Any, Dict, Optional, Tuple

from ._errors import ForkpointError
from ._gil import close_file, open_file, open_waiting, read_some, write_all

REQUEST_MAX = 4096
LINE_MAX = 1 << 20
EMPTY_OPENS_MAX = 100
FIFO_LIMIT = 5.0
WRITE_LIMIT = 5.0

Fields = Dict[str, Any]


class Control:
    """Reads and writes the files of one control directory."""

    def __init__(self, directory: str, pid: int) -> None:
        self.directory = directory
        self.member = os.path.join(directory, "members", str(pid))
        self.outcome = os.path.join(self.member, "outcome")
        # The FIFO while answers are awaited. Another thread, or a signal handler, may close it.
        self._listener: Optional[int] = None
        self._rest = b""

    def identity(self) -> Fields:
        return self._json("identity.json")

    def ask(self) -> Fields:
        """Returns the checkpoint that somebody outside asks for; empty when there is none."""
        try:
            return self._json("ask.json")
        except FileNotFoundError:
            return {}

    def write_info(self, info: Fields) -> None:
        """Writes members/PID/info.json; it appears whole or not at all."""
        os.makedirs(self.member, mode=0o700, exist_ok=True)
        fresh = os.path.join(self.member, "info.json.new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(json.dumps(info) + "\n")
        os.replace(fresh, os.path.join(self.member, "info.json"))

    def leave(self) -> None:
        """Removes the member's directory, so that a later process with this pid is not taken for a member."""
        shutil.rmtree(self.member, ignore_errors=True)

    def send(self, request: Fields) -> None:
        """Writes one request, with the interpreter's lock held; raises ERR_FORKPOINT_NO_RUNTIME when nobody reads them."""
        line = (json.dumps({"v": 1, **request}) + "\n").encode()
        if len(line) > REQUEST_MAX:
            message = f"the request is {len(line)} bytes long and may have {REQUEST_MAX}"
            raise ForkpointError("ERR_FORKPOINT_OPTIONS", message)
        try:
            fifo = open_file(os.path.join(self.directory, "request"), os.O_WRONLY | os.O_NONBLOCK)
        except OSError as cause:
            message = f"nobody reads requests in {self.directory}: the launcher of this program is gone"
            raise ForkpointError("ERR_FORKPOINT_NO_RUNTIME", message) from cause
        deadline = time.monotonic() + WRITE_LIMIT
        try:
            while True:
                try:
                    # One write of up to PIPE_BUF bytes is all or nothing (pipe(7)).
                    write_all(fifo, line)
                    return
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
        finally:
            close_file(fifo)

    def await_fifo(self) -> None:
        """Waits a few seconds at most until the launcher has made the member's FIFO."""
        deadline = time.monotonic() + FIFO_LIMIT
        while not os.path.exists(self.outcome):
            if time.monotonic() > deadline:
                raise ForkpointError("ERR_FORKPOINT_NO_RUNTIME", f"the launcher did not make {self.outcome}")
            time.sleep(0.002)

    def listen(self) -> None:
        """Keeps the FIFO open, so that the launcher can write its next line at once."""
        self.stop_listening()
        # Read and write never blocks on a FIFO and never reads an end of file (fifo(7)).
        self._listener = open_file(self.outcome, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""

    def stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            close_file(listener)

    @property
    def listener(self) -> Optional[int]:
        return self._listener

    def poll_answer(self) -> Optional[Fields]:
        """Returns the next line, or None when there is none yet."""
        while True:
            end = self._rest.find(b"\n")
            if end >= 0:
                line, self._rest = self._rest[:end], self._rest[end + 1 :]
                return parse_answer(line)
            if self._listener is None:
                return None
            try:
                self._rest += os.read(self._listener, 65536)
            except BlockingIOError:
                return None
            if len(self._rest) > LINE_MAX:
                raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"a line of more than {LINE_MAX} bytes")

    def block_for_answer(self) -> Fields:
        """
        Blocks in opening the FIFO until somebody writes: a dump finds this thread in open(2), which a restore repeats on
        the FIFO of the new pod. No other Python thread runs meanwhile. With ``pending`` in the answer the FIFO stays open.
        """
        self.stop_listening()
        for _ in range(EMPTY_OPENS_MAX):
            fifo = open_waiting(self.outcome, os.O_RDONLY)
            try:
                line, rest = _read_line(fifo)
                if line is None:
                    # A writer that died without a line; the next one may say something.
                    continue
                answer = parse_answer(line)
                if answer.get("pending") is True:
                    # Opened before the first is closed: a FIFO that nobody has open forgets what is in it.
                    self.listen()
                    self._rest = rest
                return answer
            finally:
                close_file(fifo)
        raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"no line came on {self.outcome}")

    def block_for_assignment(self) -> Fields:
        """
        Blocks a parked clone until it is handed over, and returns the line. Whoever parks it opens and closes the FIFO without
        a word to see whether it stands there. No other Python thread runs meanwhile.
        """
        while True:
            fifo = open_waiting(os.path.join(os.path.dirname(self.outcome), "assign"), os.O_RDONLY)
            try:
                line, _ = _read_line(fifo)
            finally:
                close_file(fifo)
            if line is not None:
                return json.loads(line)  # type: ignore[no-any-return]

    def _json(self, name: str) -> Fields:
        with open(os.path.join(self.directory, name), encoding="utf-8") as file:
            value = json.load(file)
        if not isinstance(value, dict):
            raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"{name} is not an object")
        return value


def _read_line(fifo: int) -> Tuple[Optional[bytes], bytes]:
    """Returns a line, or None when the writer closed without one, and what stood behind it."""
    data = b""
    while b"\n" not in data:
        chunk = read_some(fifo, 65536)
        if chunk == b"":
            return None, b""
        data += chunk
        if len(data) > LINE_MAX:
            raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"a line of more than {LINE_MAX} bytes")
    line, _, rest = data.partition(b"\n")
    return line, rest


def parse_answer(line: bytes) -> Fields:
    try:
        value = json.loads(line)
    except ValueError as cause:
        raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"an outcome is not JSON: {line[:80]!r}") from cause
    if not isinstance(value, dict) or not isinstance(value.get("outcome"), str):
        raise ForkpointError("ERR_FORKPOINT_PROTOCOL", f"an outcome without `outcome`: {line[:80]!r}")
    return value



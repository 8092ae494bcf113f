"""This process as one that takes part in checkpoints: it asks for them, and answers when somebody outside asks."""

import asyncio
import atexit
import inspect
import os
import platform
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, List, Optional

from . import _fork, _reseed
from ._context import Context
from ._control import Control, Fields
from ._errors import CheckpointError, ForkpointError, RestoreError
from ._gil import no_switch
from ._hooks import Registry, hook_of
from ._steps import Steps, current, run, run_async

#: Seconds for the worker to look at the program, behind other checkpoints that may still be written.
PREPARE_LIMIT = 600.0
#: Seconds for an image to be written, linked and published after the dump.
PUBLISH_LIMIT = 1800.0
#: Seconds for the answer to a request that was cancelled here.
CANCEL_LIMIT = 5.0
LONGEST_POLL = 0.02


class Member:
    """One process of a pod. Use through the functions of the package."""

    def __init__(self, directory: str) -> None:
        self.pid = os.getpid()
        self.registry = Registry()
        self.control = Control(directory, self.pid)
        self.context = Context.of(self.control.identity())
        self.restore_time = -1.0
        self._restored_at = 0.0
        self._restores = 0
        self._last_ask = ""
        # Held for a round: one checkpoint at a time. Not a lock of threading, because tasks wait for it as well.
        self._round_owner: Optional[object] = None
        self._guard = threading.Lock()
        # What somebody outside asked for while this thread was in a round of its own.
        self._deferred: Optional[str] = None

    def join(self) -> None:
        self.control.write_info(self._info())
        self.control.send({"op": "join", "pid": self.pid})
        atexit.register(self._leave)
        # Python allows handlers in the main thread only; elsewhere the process cannot be asked from outside.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGURG, lambda *_: self._on_asked())
            signal.siginterrupt(signal.SIGURG, False)

    def _leave(self) -> None:
        # A child made by os.fork runs the handlers of its parent.
        if os.getpid() == self.pid:
            self.control.leave()

    @property
    def uptime_since_restore(self) -> float:
        return -1.0 if self.restore_time < 0 else (time.monotonic() - self._restored_at) * 1000

    # --- asking ---

    def fork(self, options: Fields) -> _fork.Forked:
        return run(self._fork(options))  # type: ignore[no-any-return]

    async def fork_async(self, options: Fields) -> _fork.Forked:
        return await run_async(self._fork(options))  # type: ignore[no-any-return]

    def _fork(self, options: Fields) -> Steps:
        name = f"fork-{os.urandom(6).hex()}.sock"
        nurseries: List[_fork.Nursery] = []

        def answered(answer: Fields) -> None:
            if answer["outcome"] == "continued":
                nurseries.append(_fork.Nursery(os.path.join(self.control.directory, name), options["count"]))

        try:
            answer = yield from self._request({**options, "socket": name}, answered)
        except BaseException:
            for nursery in nurseries:
                nursery.abort()
            raise
        if answer["outcome"] == "restored":
            channel = _fork.reach(self.control.directory, answer.get("fork"))
            return _fork.Forked("child", self.context.index, channel=channel)
        children, errors = yield from nurseries[0].settle()
        if not children:
            raise _fork.refused(errors)
        return _fork.Forked("parent", None, children, errors)

    def request(self, options: Fields) -> Fields:
        return run(self._request(options))

    async def request_async(self, options: Fields) -> Fields:
        return await run_async(self._request(options))

    def _request(self, options: Fields, answered: Optional[Callable[[Fields], None]] = None) -> Steps:
        owner = current()
        if self._round_owner == owner:
            raise CheckpointError(
                "ERR_FORKPOINT_NESTED", "a checkpoint was asked for while the hooks of another one run"
            )
        try:
            yield from self._prepare(options, owner)
            yield from self._take_round(owner)
            try:
                answer, errors = yield from self._round(None, answered)
                return (yield from self._conclude(answer, errors))
            finally:
                self._release_round(owner)
        except (CheckpointError, RestoreError):
            raise
        except (ForkpointError, OSError) as error:
            code = error.code if isinstance(error, ForkpointError) else "ERR_FORKPOINT_FAILED"
            raise CheckpointError(code, f"no checkpoint was made: {error}", errors=[error]) from error

    def _take_round(self, owner: object) -> Steps:
        while True:
            with self._guard:
                if self._round_owner is None:
                    self._round_owner = owner
                    return
            yield 0.002

    def _release_round(self, owner: object) -> None:
        with self._guard:
            if self._round_owner == owner:
                self._round_owner = None
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            run(self._answer(deferred))

    def _prepare(self, options: Fields, owner: object) -> Steps:
        """Lets the worker look at the program while it runs; raises what it found."""
        sent_at = -1
        while True:
            # A checkpoint asked for from outside comes first, and needs the FIFO.
            yield from self._take_round(owner)
            try:
                self.control.await_fifo()
                self.control.listen()
                if sent_at != self._restores:
                    self.control.send({"op": "prepare", "pid": self.pid, **options})
                    sent_at = self._restores
            finally:
                self._release_round(owner)
            answer = yield from self._next_answer(PREPARE_LIMIT)
            if answer is None:
                continue
            self.control.stop_listening()
            if answer["outcome"] == "prepared":
                return
            raise _failure(answer, [])

    def _next_answer(self, limit: float) -> Steps:
        """Returns the next line, or None when somebody else's checkpoint closed the FIFO meanwhile."""
        deadline = time.monotonic() + limit
        mine, delay = self.control.listener, 0.001
        while True:
            if mine is None or self.control.listener != mine:
                return None
            answer = self.control.poll_answer()
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise ForkpointError("ERR_FORKPOINT_TIMEOUT", f"no answer from the launcher within {limit} s")
            yield delay
            delay = min(delay * 2, LONGEST_POLL)

    def _conclude(self, answer: Fields, errors: List[BaseException]) -> Steps:
        first = answer
        if answer.get("pending") is True:
            answer = (yield from self._next_answer(PUBLISH_LIMIT)) or first
            self.control.stop_listening()
        if answer["outcome"] in ("failed", "prepared"):
            raise _failure(answer, errors)
        if errors:
            raise RestoreError("ERR_FORKPOINT_HOOK", f"after the checkpoint: {_describe(errors)}", errors=errors)
        return {**first, **answer, "outcome": first["outcome"]}

    # --- one round ---

    def _round(self, ask: Optional[str], answered: Optional[Callable[[Fields], None]] = None) -> Steps:
        """Before hooks, the checkpoint itself, after hooks. Returns the answer and what failed after it."""
        failures = yield from self._hooks("before_checkpoint", self.registry.begin())
        answer: Optional[Fields] = None
        errors: List[BaseException] = []
        if failures:
            self._cancel(ask, failures)
            code = "ERR_FORKPOINT_HOOK"
        else:
            code = "ERR_FORKPOINT_FAILED"
            try:
                answer = self._freeze(ask, errors)
                if answered is not None:
                    answered(answer)
            except (ForkpointError, OSError) as error:
                failures.append(error)
                code = error.code if isinstance(error, ForkpointError) else code
        errors += yield from self._hooks("after_restore", self.registry.finish())
        if answer is not None:
            return answer, errors
        try:
            # The `failed` that a cancelled request is answered with must not meet a later one.
            yield from self._next_answer(CANCEL_LIMIT)
        except ForkpointError:
            pass
        finally:
            self.control.stop_listening()
        everything = failures + errors
        raise CheckpointError(code, f"no checkpoint was made: {_describe(everything)}", errors=everything)

    def _hooks(self, name: str, resources: List[Any]) -> Steps:
        failures: List[BaseException] = []
        for resource in resources:
            hook = hook_of(resource, name)
            if hook is None:
                continue
            try:
                result = hook(self.context)
                if inspect.isawaitable(result):
                    yield result
            except Exception as error:
                failures.append(error)
        return failures

    def _freeze(self, ask: Optional[str], errors: List[BaseException]) -> Fields:
        """Blocks until the checkpoint is taken. No other Python thread runs before the clone has its own randomness."""
        self.control.await_fifo()
        self.control.stop_listening()
        if ask is not None and str(self.control.ask().get("ask")) != ask:
            message = "the before hooks ended after the time limit of the checkpoint"
            raise ForkpointError("ERR_FORKPOINT_TIMEOUT", message)
        for stream in (sys.stdout, sys.stderr):
            try:
                # What is buffered would be written by the original and by every clone.
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        self.control.write_info(self._info())
        _reseed.prepare()
        with no_switch():
            self.control.send({"op": "ready", "pid": self.pid, **({} if ask is None else {"ask": ask})})
            answer = self.control.block_for_answer()
            is_renewed = answer["outcome"] == "restored" and answer.get("reseed") is not False
            if is_renewed:
                errors += _reseed.process()
            if answer["outcome"] == "restored" and (answer.get("fork") or {}).get("parked") is True:
                assigned = self.control.block_for_assignment()
                env = {**(answer.get("env") or {}), **(assigned.get("env") or {})}
                answer = {**answer, "args": assigned.get("args"), "env": env}
        _reseed.forget()
        if is_renewed:
            errors += _reseed.registered()
        if answer["outcome"] == "restored":
            _fork.abandon()
            self._wake(answer, errors)
        return answer

    def _wake(self, answer: Fields, errors: List[BaseException]) -> None:
        self.context = Context.of(answer)
        self.restore_time = time.time() * 1000
        self._restored_at = time.monotonic()
        self._restores += 1
        self._last_ask = ""
        cwd = answer.get("cwd")
        steps: List[Callable[[], Any]] = [
            lambda: os.environ.update(self.context.env),
            lambda: os.chdir(cwd) if isinstance(cwd, str) else None,
            lambda: self.control.write_info(self._info()),
        ]
        for step in steps:
            try:
                step()
            except OSError as error:
                errors.append(error)

    def _cancel(self, ask: Optional[str], failures: List[BaseException]) -> None:
        message = "; ".join(_text(error) for error in failures)[:1000]
        try:
            if ask is None:
                self.control.listen()
            line = {"op": "cancel", "pid": self.pid, "message": message}
            self.control.send(line if ask is None else {**line, "ask": ask})
        except (ForkpointError, OSError):
            # The caller is about to report what went wrong first; the worker's time limit ends the checkpoint.
            _warn()

    # --- asked from outside ---

    def _on_asked(self) -> None:
        try:
            ask = self.control.ask()
            name = str(ask.get("ask"))
            # SIGURG may come for another reason, and more than once for the same checkpoint.
            if self.pid not in ask.get("pids", ()) or name == self._last_ask:
                return
            self._last_ask = name
            try:
                loop: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
            except RuntimeError:
                loop = None
            if loop is None and self._round_owner == current():
                self._deferred = name
            elif loop is None:
                run(self._answer(name))
            else:
                _tasks.append(loop.create_task(run_async(self._answer(name))))
                loop.call_soon_threadsafe(lambda: None)
        except Exception:
            _warn()

    def _answer(self, ask: str) -> Steps:
        owner = current()
        yield from self._take_round(owner)
        try:
            answer, errors = yield from self._round(ask)
            for error in errors:
                traceback.print_exception(type(error), error, error.__traceback__)
            if answer.get("pending") is True:
                yield from self._next_answer(PUBLISH_LIMIT)
            self.control.stop_listening()
        except CheckpointError:
            # Who asked has been told; the program did not ask and goes on.
            pass
        finally:
            self._release_round(owner)

    def _info(self) -> Fields:
        runtime = {"name": "python", "version": platform.python_version()}
        return {"v": 1, "pid": self.pid, "runtime": runtime, "hooks": True}


_tasks: List["asyncio.Task[Any]"] = []


def _failure(answer: Fields, errors: List[BaseException]) -> CheckpointError:
    if answer["outcome"] != "failed":
        message = f"the launcher answered {answer['outcome']} where that has no meaning"
        return CheckpointError("ERR_FORKPOINT_PROTOCOL", message, errors=errors)
    resources = [one for one in answer.get("resources") or [] if isinstance(one, dict)]
    message = str(answer.get("message") or "the checkpoint failed")
    for one in resources:
        if str(one.get("what")) not in message:
            message += f"\n  {one.get('what')}"
    code = str(answer.get("code") or "ERR_FORKPOINT_FAILED")
    return CheckpointError(code, message, errors=errors, resources=resources, hint=answer.get("hint"))


def _describe(errors: List[BaseException]) -> str:
    first = _text(errors[0])
    return first if len(errors) == 1 else f"{first}, and {len(errors) - 1} more failures"


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _warn() -> None:
    """The library prints nothing but what has no caller, as Python does for exceptions that nobody catches."""
    traceback.print_exc()

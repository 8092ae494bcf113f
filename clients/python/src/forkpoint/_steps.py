"""How the steps of a round are run: in a thread, or in a task of an event loop."""

import asyncio
import inspect
import threading
import time
from typing import Any, Coroutine, Generator, Optional

#: A round is written once, as a generator that yields what has to be waited for: an awaitable, or seconds of sleep.
Steps = Generator[Any, Any, Any]


def current() -> object:
    """Who asks: the running task, else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task if task is not None else threading.get_ident()


def run(steps: Steps) -> Any:
    """Runs a round in this thread."""
    result: Any = None
    error: Optional[BaseException] = None
    while True:
        try:
            step = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        result, error = None, None
        if isinstance(step, float):
            time.sleep(step)
            continue
        try:
            result = _run_awaitable(step)
        except Exception as thrown:
            error = thrown


def _run_awaitable(awaitable: Any) -> Any:
    """Runs an asynchronous hook of a synchronous caller in an event loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_as_coroutine(awaitable))
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise RuntimeError(
        "there are asynchronous hooks and an event loop runs in this thread: await forkpoint.checkpoint_async() instead"
    )


async def run_async(steps: Steps) -> Any:
    """Runs a round in a task."""
    result: Any = None
    error: Optional[BaseException] = None
    while True:
        try:
            step = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        result, error = None, None
        try:
            result = await asyncio.sleep(step) if isinstance(step, float) else await step
        except Exception as thrown:
            error = thrown


def _as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await awaitable

    return wait()

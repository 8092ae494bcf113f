"""
Checkpoint, restore and fork of a warm Python process. The process has to be started by ``forkpoint run -- python3 ...``.

    import forkpoint

    @forkpoint.before_checkpoint
    def close(): pool.close()

    @forkpoint.after_restore
    def reopen(context): pool.open(context.env)

    outcome = forkpoint.checkpoint("./warm")   # returns here, and in every restored process
"""

import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, TypeVar, Union

from . import _reseed
from ._context import Context
from ._errors import CheckpointError, ForkpointError, RestoreError
from ._fork import Channel, ChannelClosed, Child, Forked
from ._hooks import Function, Registry
from ._member import Member

__all__ = [
    "Channel",
    "ChannelClosed",
    "CheckpointError",
    "Child",
    "Context",
    "Forked",
    "ForkpointError",
    "Outcome",
    "RestoreError",
    "after_restore",
    "args",
    "before_checkpoint",
    "checkpoint",
    "checkpoint_async",
    "checkpoint_restore",
    "context",
    "fork",
    "fork_async",
    "is_implemented",
    "register",
    "reseed_on_restore",
    "restore_time",
    "unregister",
    "uptime_since_restore",
]
__version__ = "0.1.0"

Path = Union[str, "os.PathLike[str]"]
Hook = TypeVar("Hook", bound=Callable[..., Any])
Resource = TypeVar("Resource")


@dataclass(frozen=True)
class Outcome:
    """What a checkpoint came to in this process: ``continued`` in the original, ``restored`` in a clone."""

    outcome: str
    image: Optional[str]
    context: Context

    @property
    def is_restored(self) -> bool:
        return self.outcome == "restored"


def _join() -> Optional[Member]:
    directory = os.environ.get("FORKPOINT_DIR", "")
    if directory == "":
        return None
    try:
        member = Member(directory)
        member.join()
    except (OSError, ValueError, ForkpointError):
        # The directory of a pod that is gone, inherited through the environment: the calls say that there is no runtime.
        return None
    _reseed.watch()
    return member


_outside = Registry()
_member = _join()


def is_implemented() -> bool:
    """Whether this process can be checkpointed: whether it runs in a pod."""
    return _member is not None


def checkpoint(
    to: Optional[Path] = None,
    *,
    stop: bool = False,
    labels: Optional[Dict[str, str]] = None,
    timeout: Optional[float] = None,
    link: bool = True,
    sync: bool = True,
) -> Outcome:
    """
    Takes an image at ``to``, or where ``--to`` says. Returns in this process and in every restored one; with ``stop`` this
    process ends once the image is complete. Raises CheckpointError when no image was made, and RestoreError when something
    failed afterwards.
    """
    return _outcome(_here().request(_options(to, stop, labels, timeout, link, sync)))


async def checkpoint_async(
    to: Optional[Path] = None,
    *,
    stop: bool = False,
    labels: Optional[Dict[str, str]] = None,
    timeout: Optional[float] = None,
    link: bool = True,
    sync: bool = True,
) -> Outcome:
    """Like ``checkpoint``; hooks that are coroutine functions are awaited in the running loop."""
    return _outcome(await _here().request_async(_options(to, stop, labels, timeout, link, sync)))


def checkpoint_restore(to: Optional[Path] = None) -> Context:
    """Ends this process once its image is complete, and returns in every restored one."""
    return checkpoint(to, stop=True).context


def fork(
    count: int = 1,
    *,
    args: Sequence[str] = (),
    env: Optional[Dict[str, str]] = None,
    stdio: str = "inherit",
    detached: bool = False,
) -> Forked:
    """
    Starts `count` children from the state that this process is in: threads, connections between threads, all of it. Each
    child continues behind the same call with ``role`` ``child``; the parent gets the children. `stdio` is ``inherit``, ``pipe``
    or ``ignore``; children end with their parent unless `detached`.
    """
    return _here().fork(_fork_options(count, args, env, stdio, detached))


async def fork_async(
    count: int = 1,
    *,
    args: Sequence[str] = (),
    env: Optional[Dict[str, str]] = None,
    stdio: str = "inherit",
    detached: bool = False,
) -> Forked:
    """Like ``fork``; hooks that are coroutine functions are awaited in the running loop."""
    return await _here().fork_async(_fork_options(count, args, env, stdio, detached))


def before_checkpoint(hook: Hook) -> Hook:
    """Has a function run before every checkpoint; newest first. It may take the context, and may be a coroutine function."""
    _registry().add(Function(hook, None), is_weak=False)
    return hook


def after_restore(hook: Hook) -> Hook:
    """Has a function run after every checkpoint, in the original and in clones; oldest first."""
    _registry().add(Function(None, hook), is_weak=False)
    return hook


def register(resource: Resource) -> Resource:
    """Has an object's ``before_checkpoint`` and ``after_restore`` run. It is held weakly. Returns it."""
    _registry().add(resource, is_weak=True)
    return resource


def unregister(resource: Any) -> bool:
    """Returns whether the object was registered."""
    return _registry().remove(resource)


def reseed_on_restore(generator: Resource) -> Resource:
    """Has a random generator seeded anew in every clone: of ``random`` or numpy, or anything with ``seed(number)``."""
    return _reseed.register(generator)  # type: ignore[no-any-return]


def context() -> Context:
    """Who this run is; of a process outside a pod, nobody."""
    return Context() if _member is None else _member.context


def args() -> Tuple[str, ...]:
    """What stood behind ``--`` on the restore command."""
    return context().args


def uptime_since_restore() -> float:
    """Milliseconds since the last restore; -1 before the first."""
    return -1.0 if _member is None else _member.uptime_since_restore


def restore_time() -> float:
    """Wall clock of the last restore in milliseconds since 1970; -1 before the first."""
    return -1.0 if _member is None else _member.restore_time


def _registry() -> Registry:
    return _outside if _member is None else _member.registry


def _here() -> Member:
    if _member is None:
        message = "this process runs outside forkpoint: start it with `forkpoint run -- python3 ...`"
        raise CheckpointError("ERR_FORKPOINT_NO_RUNTIME", message)
    return _member


def _options(
    to: Optional[Path],
    stop: bool,
    labels: Optional[Dict[str, str]],
    timeout: Optional[float],
    link: bool,
    sync: bool,
) -> Dict[str, Any]:
    options: Dict[str, Any] = {"stop": stop, "cwd": os.getcwd()}
    if to is not None:
        options["to"] = os.fspath(to)
    if labels:
        options["labels"] = dict(labels)
    if timeout is not None:
        options["timeoutMs"] = max(1, int(timeout * 1000))
    if not link:
        options["link"] = False
    if not sync:
        options["sync"] = False
    return options


def _fork_options(
    count: int, args: Sequence[str], env: Optional[Dict[str, str]], stdio: str, detached: bool
) -> Dict[str, Any]:
    if count < 1:
        raise ValueError(f"count is a number above 0, and not {count}")
    if stdio not in ("inherit", "pipe", "ignore"):
        raise ValueError(f"stdio is inherit, pipe or ignore, and not {stdio}")
    options: Dict[str, Any] = {"count": count, "stdio": stdio, "detached": detached, "cwd": os.getcwd()}
    if args:
        options["args"] = [str(arg) for arg in args]
    if env:
        options["env"] = dict(env)
    return options


def _outcome(answer: Dict[str, Any]) -> Outcome:
    return Outcome(answer["outcome"], answer.get("image"), Context.of(answer))

"""Resources and hooks: before hooks run newest first, after hooks oldest first, all of them, whatever others raise."""

import inspect
import threading
import weakref
from typing import Any, Callable, List, Optional


class Entry:
    """One resource. Held weakly when it is an object of the program, strongly when it is a decorated function."""

    def __init__(self, resource: Any, *, is_weak: bool) -> None:
        self._reference: Callable[[], Any] = weakref.ref(resource) if is_weak else lambda: resource

    @property
    def resource(self) -> Any:
        return self._reference()


class Function:
    """A decorated function as a resource."""

    def __init__(self, before: Optional[Callable[..., Any]], after: Optional[Callable[..., Any]]) -> None:
        self.before = before
        self.after = after

    def before_checkpoint(self, context: Any) -> Any:
        return None if self.before is None else _call(self.before, context)

    def after_restore(self, context: Any) -> Any:
        return None if self.after is None else _call(self.after, context)


def _call(hook: Callable[..., Any], context: Any) -> Any:
    """A hook may take the context or nothing."""
    try:
        inspect.signature(hook).bind(context)
    except TypeError:
        return hook()
    except ValueError:
        # A built-in without a signature.
        return hook()
    return hook(context)


class Registry:
    """All resources of the process, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: List[Entry] = []
        # Those that were told of the checkpoint, newest first; strong until they were told of its end.
        self._told: List[Any] = []

    def add(self, resource: Any, *, is_weak: bool) -> None:
        with self._lock:
            self._entries = [entry for entry in self._entries if entry.resource is not None]
            self._entries.append(Entry(resource, is_weak=is_weak))

    def remove(self, resource: Any) -> bool:
        with self._lock:
            kept = [entry for entry in self._entries if entry.resource is not resource]
            found = len(kept) < len(self._entries)
            self._entries = kept
            return found

    def begin(self) -> List[Any]:
        """Returns the resources for the before hooks, in their order."""
        with self._lock:
            living = [entry.resource for entry in self._entries]
        self._told = [resource for resource in reversed(living) if resource is not None]
        return self._told

    def finish(self) -> List[Any]:
        """Returns the resources for the after hooks, in their order."""
        told, self._told = self._told, []
        return list(reversed(told))


def hook_of(resource: Any, name: str) -> Optional[Callable[..., Any]]:
    hook = getattr(resource, name, None)
    return None if hook is None else lambda context: _call(hook, context)

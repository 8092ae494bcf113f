"""What goes wrong, with the stable codes that all clients of forkpoint use."""

from typing import Any, Dict, List, Optional, Sequence


class ForkpointError(Exception):
    """An error with a code such as ``ERR_FORKPOINT_NO_RUNTIME``."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        errors: Sequence[BaseException] = (),
        resources: Sequence[Dict[str, Any]] = (),
        hint: Optional[str] = None,
    ) -> None:
        super().__init__(message if hint is None else f"{message}\nHint: {hint}")
        self.code = code
        #: Every exception that was caught on the way.
        self.errors: List[BaseException] = list(errors)
        #: What stands in the way of a checkpoint: dictionaries with ``kind``, ``what``, and perhaps ``pid`` and ``fd``.
        self.resources: List[Dict[str, Any]] = list(resources)
        self.hint = hint


class CheckpointError(ForkpointError):
    """No image was made: the program goes on, and all after hooks have run."""


class RestoreError(ForkpointError):
    """The image was made or restored, and something failed afterwards."""

"""Who a run is."""

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from ._control import Fields


@dataclass(frozen=True)
class Context:
    """Who this run is. ``image`` and ``parent_id`` are None in a program that was not restored."""

    id: str = ""
    image: Optional[str] = None
    parent_id: Optional[str] = None
    generation: int = 0
    index: Optional[int] = None
    args: Tuple[str, ...] = ()
    env: Dict[str, str] = field(default_factory=dict)
    elapsed_ms: float = 0

    @staticmethod
    def of(fields: Fields) -> "Context":
        env = fields.get("env")
        args = fields.get("args")
        return Context(
            id=str(fields.get("id") or ""),
            image=fields.get("image"),
            parent_id=fields.get("parentId"),
            generation=int(fields.get("generation") or 0),
            index=fields.get("index"),
            args=tuple(args) if isinstance(args, list) else (),
            env=dict(env) if isinstance(env, dict) else {},
            elapsed_ms=float(fields.get("elapsedMs") or 0),
        )

"""Where the request that is being answered came from; each runs in a task, and a task has a context of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the head of a request said.

    Args:
        transport: as metrics call it.
        client: address of the peer.
        principal: name of its API key.
        request_id: what the transport called it, unless the request brings a name of its own.
        headers: names in lower case; a trace that the caller has begun is looked for here.
    """

    transport: str = "internal"
    client: str | None = None
    principal: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def set_origin(origin: Origin) -> None:
    """Say where the request of this task comes from."""
    _origin.set(origin)


def current_origin() -> Origin:
    """Where the request of this task comes from."""
    return _origin.get()

"""Where the request that is being answered came from; each runs in a task, and a task has a context of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import unquote

# W3C Trace Context: version, trace, span and flags; more of them in versions to come.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the head of a request said.

    Args:
        transport: as metrics call it.
        client: address of the peer.
        principal: name of its API key.
        request_id: what the transport called it, unless the request brings a name of its own.
        headers: names in lower case; a trace that the caller has begun is looked for here.
        recorded_trace: id of the trace with the span of this request, once there is one.
    """

    transport: str = "internal"
    client: str | None = None
    principal: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    recorded_trace: str | None = None

    @property
    def trace_id(self) -> str | None:
        """Of the trace this request is part of, 32 hexadecimal digits: the one recorded, or else the caller's."""
        if self.recorded_trace is not None:
            return self.recorded_trace
        return _trace_in(self.headers.get("traceparent"))


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def set_origin(origin: Origin) -> None:
    """Say where the request of this task comes from."""
    _origin.set(origin)


def set_client(peer: str) -> None:
    """Say whose request it is, by its peer as gRPC names it: `ipv4:127.0.0.1:4711`, `ipv6:%5B::1%5D:4711`, `unix:`."""
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
    _origin.set(dataclasses.replace(_origin.get(), client=host))


def set_recorded_trace(trace_id: str) -> None:
    """Say in which trace the span of this task's request was written."""
    _origin.set(dataclasses.replace(_origin.get(), recorded_trace=trace_id))


def current_origin() -> Origin:
    """Where the request of this task comes from."""
    return _origin.get()


def _trace_in(traceparent: str | None) -> str | None:
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None or (found[1] == "00" and found[3]):
        return None
    return found[2]

"""Transport, client, id and trace of the request in progress, in a context variable of its task."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import unquote

from geminifusion_runtime.option_types import REQUEST_ID_PATTERN

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)
# W3C Trace Context: version, trace, span and flags; more of them in versions to come.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """Facts of a request that its transport knows before the body is read.

    Args:
        transport: its name in metrics.
        client: address of the peer.
        principal: name of its API key.
        request_id: id that the transport gave it, where the request itself brings none; empty if none was given.
        headers: names in lower case; a trace that the caller has begun is looked for here.
        recorded_trace: id of the trace with the span of this request, once there is one.
    """

    transport: str = "internal"
    client: str | None = None
    principal: str | None = None
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    recorded_trace: str | None = None

    @classmethod
    def of_http(
        cls, transport: str, headers: Iterable[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> RequestContext:
        """Context of a request over HTTP or a WebSocket, with the id of its `X-Request-Id` or a new one.

        Args:
            transport: its name in metrics.
            headers: names in lower case, as ASGI has them.
            client: address and port of the peer, where the server knows it.
        """
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return cls(
            transport=transport,
            client=client[0] if client else None,
            request_id=usable_request_id(named.get("x-request-id", "")),
            headers=named,
        )

    @property
    def trace_id(self) -> str | None:
        """Id of the trace that this request is part of, 32 hexadecimal digits: the recorded one, or the caller's."""
        if self.recorded_trace is not None:
            return self.recorded_trace
        return _trace_in(self.headers.get("traceparent"))


_NO_REQUEST = RequestContext()
_context: ContextVar[RequestContext] = ContextVar("request_context", default=_NO_REQUEST)


def set_request_context(context: RequestContext) -> None:
    """Set the context of this task's request."""
    _context.set(context)


def set_client(peer: str) -> None:
    """Set the client by its peer as gRPC names it: `ipv4:127.0.0.1:4711`, `ipv6:%5B::1%5D:4711`, `unix:`."""
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
    _context.set(dataclasses.replace(_context.get(), client=host))


def set_recorded_trace(trace_id: str) -> None:
    """Set the trace that the span of this task's request was recorded in."""
    _context.set(dataclasses.replace(_context.get(), recorded_trace=trace_id))


def current_request_context() -> RequestContext:
    """The context of this task's request."""
    return _context.get()


def is_request_id(text: str) -> bool:
    """Whether a client's id is safe to put into headers and logs."""
    return _REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """Id for a request that brought none."""
    return secrets.token_hex(8)


def usable_request_id(text: str) -> str:
    """The client's id if it is safe, else a new one."""
    return text if is_request_id(text) else new_request_id()


def _trace_in(traceparent: str | None) -> str | None:
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None or (found[1] == "00" and found[3]):
        return None
    return found[2]

"""`/v1/stream`: frames and their responses over a WebSocket, for browsers. The same rules as the gRPC stream."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_service.api.v1.responses import error_response
from geminifusion_service.api.v1.websocket_messages import (
    error_message,
    request_from,
    request_id_of,
    response_message,
)
from geminifusion_service.errors import ForbiddenError, FrameSupersededError, UnsupportedBodyError, public_error
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.origins import origin_allowed
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.request import segment_response_of
from geminifusion_service.transport.http.api_keys import BEARER_SUBPROTOCOL

PATH = "/v1/stream"
MODES = ("ordered", "newest")
TRANSPORT = "websocket"
END = "end"  # a text message: no more frames; a closing WebSocket could not carry the remaining responses
_GOING_AWAY, _NORMAL = 1001, 1000
_log = logging.getLogger(__name__)


def add_stream_route(
    app: Starlette, segmenter: Segmenter, metrics: Metrics, streams: StreamManager, *, origins: Collection[str] = ()
) -> None:
    """Serve the stream.

    Args:
        app: gets the route.
        segmenter: runs the requests.
        metrics: count the frames.
        streams: the open streams of every transport.
        origins: web origins whose pages may open a stream, besides this server's own; see `parse_origins`.
    """

    async def stream(socket: WebSocket) -> None:
        try:
            _check_origin(socket, origins)
            newest = _mode(socket) == "newest"
            segmenter.check_admission()
            streams.check_admission()
        except GeminiFusionError as error:
            metrics.requests.labels(TRANSPORT, error.code).inc()
            await socket.send_denial_response(error_response(error, socket.state.request_id))
            return
        # The place is taken before anything is awaited, or two streams would take the last one.
        with streams.open() as opened, contextlib.suppress(WebSocketDisconnect):
            # A browser that offers a subprotocol, to carry its key, ends a stream in which none is chosen.
            offered = socket.scope.get("subprotocols", ())
            await socket.accept(BEARER_SUBPROTOCOL if BEARER_SUBPROTOCOL in offered else None)
            frames = _Frames(segmenter, metrics)
            responses = opened.responses(
                _messages(socket),
                respond=frames.respond,
                supersedable=lambda _: newest,
                superseded=frames.superseded,
            )
            try:
                async with aclosing(responses):
                    async for response in responses:
                        await _send(socket, response)
            except GeminiFusionError as error:
                await _send(socket, error_message(error))
                await socket.close(_GOING_AWAY, error.code)
            else:
                await socket.close(_NORMAL)

    app.router.routes.append(WebSocketRoute(PATH, stream))


class _Frames:
    """Runs the segmenter on the messages of a stream."""

    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._segmenter = segmenter
        self._metrics = metrics

    async def respond(self, number: int, message: bytes | str) -> bytes | str:
        """The response to one frame, or its error."""
        try:
            if isinstance(message, str):
                raise UnsupportedBodyError(
                    f"a text message came; send each frame as one binary message, and {END!r} after the last"
                )
            response = response_message(
                number, segment_response_of(await self._segmenter.segment(request_from(message)))
            )
        except Exception as error:
            public = public_error(error)
            if public is not error:
                _log.exception("frame %d of a stream failed", number)
            self._metrics.requests.labels(TRANSPORT, public.code).inc()
            return error_message(public, number=number, request_id=_id_of(message))
        self._metrics.requests.labels(TRANSPORT, "ok").inc()
        return response

    def superseded(self, number: int, message: bytes | str) -> bytes | str:
        """The error of a superseded frame."""
        error = FrameSupersededError("a newer frame came before this one was begun")
        self._metrics.requests.labels(TRANSPORT, error.code).inc()
        return error_message(error, number=number, request_id=_id_of(message))


def _check_origin(socket: WebSocket, allowed: Collection[str]) -> None:
    origin, host = socket.headers.get("origin"), socket.headers.get("host", "")
    if not origin_allowed(origin, host=host, is_secure=socket.scope["scheme"] == "wss", allowed=allowed):
        raise ForbiddenError(
            f"a page of {str(origin)[:200]!r} may not open a stream of {host[:200]!r}; name the page's origin in "
            "--cors-origins to allow it"
        )


def _mode(socket: WebSocket) -> str:
    pairs = socket.query_params.multi_items()
    if unknown := [name for name, _ in pairs if name != "mode"]:
        raise InvalidOptionError(
            f"there is no option {unknown[0][:100]!r} here; expected mode, all others belong in the header of a frame"
        )
    if len(pairs) > 1:
        raise InvalidOptionError("mode comes twice; send it once")
    mode = pairs[0][1] if pairs else MODES[0]
    if mode not in MODES:
        raise InvalidOptionError(f"mode is {mode[:100]!r}, expected one of {', '.join(MODES)}")
    return mode


async def _messages(socket: WebSocket) -> AsyncIterator[bytes | str]:
    """Messages of the client until its last one, or until it disconnects."""
    while True:
        event = await socket.receive()
        if event["type"] == "websocket.disconnect":
            # Nobody is left to receive the responses.
            raise WebSocketDisconnect(event.get("code", 1005))
        if event.get("text") == END:
            return
        yield event["bytes"] if event.get("bytes") is not None else event["text"]


async def _send(socket: WebSocket, message: bytes | str) -> None:
    if isinstance(message, bytes):
        await socket.send_bytes(message)
    else:
        await socket.send_text(message)


def _id_of(message: bytes | str) -> str:
    return "" if isinstance(message, str) else request_id_of(message)

"""Admission of calls on their metadata, before gRPC reads their message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.types import Priority
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import set_client
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.transport.grpc.call_pool import CallPool
from geminifusion_service.transport.grpc.interception import HandlerInterceptor
from geminifusion_service.transport.grpc.receiving import Deserialize, Receiving
from geminifusion_service.transport.grpc.status import abort

PRIORITY_KEY = "geminifusion-priority"
_Behavior = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]
_ticket: ContextVar[Ticket | None] = ContextVar("ticket", default=None)


def current_ticket() -> Ticket | None:
    """The ticket of the current task's call, for `Segmenter.segment`."""
    return _ticket.get()


def milliseconds_left(context: grpc.aio.ServicerContext) -> float | None:
    """Milliseconds until the deadline of the call; None if it has none."""
    left_s = context.time_remaining()
    # A call without a deadline may report one of centuries.
    return 1000 * left_s if left_s is not None and left_s < 3600 else None


class CallAdmission(HandlerInterceptor):
    """Admits or rejects unary calls and streams on their metadata, and limits the time a message may take to arrive.

    gRPC reads the message of a unary call before it calls the servicer: a rejection would cost as much as receiving
    megabytes, and a client that never sends them would hold its call open forever. A handler for a stream of requests
    is called first, and on the wire a call with one message is the same as a stream of one.

    Args:
        unary: paths (`/package.Service/Method`) of unary calls that need admission, with the transport that metrics
            count them under.
        streams: the same for calls that are streams of frames.
        receiving: receives their messages.
        body_timeout_s: longest time the message of a unary call may take to arrive.
        max_arriving: unary calls at once whose message has not arrived.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        open_streams: StreamManager,
        metrics: Metrics,
        receiving: Receiving,
        *,
        unary: Mapping[str, str],
        streams: Mapping[str, str],
        body_timeout_s: float,
        max_arriving: int,
    ) -> None:
        self._segmenter = segmenter
        self._open_streams = open_streams
        self._metrics = metrics
        self._unary = dict(unary)
        self._streams = dict(streams)
        self._receiving = receiving
        self._body_timeout_s = body_timeout_s
        self._arriving = CallPool(max_arriving, "calls whose message is on its way")

    def replaced(self, handler: grpc.RpcMethodHandler, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """See `HandlerInterceptor`."""
        path = call.method
        if path not in self._unary and path not in self._streams:
            return handler
        priority: Priority = "normal"
        if dict(call.invocation_metadata or ()).get(PRIORITY_KEY) == "high":
            priority = "high"
        if path in self._unary:
            return grpc.stream_unary_rpc_method_handler(
                self._admitted(handler.unary_unary, handler.request_deserializer, self._unary[path], priority),
                response_serializer=handler.response_serializer,
            )
        try:
            self._segmenter.check_admission(priority=priority)
            self._open_streams.check_admission()
        except GeminiFusionError as error:
            return grpc.stream_stream_rpc_method_handler(self._rejection(error, self._streams[path]))
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler.stream_stream, handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _admitted(
        self, behavior: _Behavior, deserialize: Deserialize, transport: str, priority: Priority
    ) -> Callable[..., Awaitable[Any]]:
        async def respond(_iterator: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:  # noqa: ANN401
            set_client(context.peer())
            try:
                with self._segmenter.admit(deadline_ms=milliseconds_left(context), priority=priority) as ticket:
                    messages = self._receiving.messages(context, deserialize, holding=ticket.holding)
                    with self._arriving.place(context.peer(), messages.refuse):
                        message = await messages.only(self._body_timeout_s)
                    _ticket.set(ticket)
                    return await behavior(message, context)
            except GeminiFusionError as error:
                self._metrics.requests.labels(transport, error.code).inc()
                await abort(context, error)

        return respond

    def _stream(self, behavior: _Behavior, deserialize: Deserialize) -> Callable[..., Awaitable[None]]:
        async def respond(_iterator: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
            with self._segmenter.budget.open() as holding:
                await behavior(self._receiving.messages(context, deserialize, holding=holding), context)

        return respond

    def _rejection(self, error: GeminiFusionError, transport: str) -> Callable[..., Awaitable[None]]:
        async def reject(_messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
            self._metrics.requests.labels(transport, error.code).inc()
            await abort(context, error)

        return reject

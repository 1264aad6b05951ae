"""Calls that need no admission (health, reflection, listings): bounded in number, in time and in size.

gRPC bounds all calls together. Without bounds of their own, calls that cost a client nothing, most of which need no
API key, would take the places of all others.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import grpc
import grpc.aio

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.transport.grpc.api_keys import is_open
from geminifusion_service.transport.grpc.call_pool import CallPool
from geminifusion_service.transport.grpc.interception import HandlerInterceptor
from geminifusion_service.transport.grpc.receiving import IncomingMessages, Receiving
from geminifusion_service.transport.grpc.status import abort

_MAX_MESSAGE_BYTES = 64 * 1024  # names and options


class OtherCalls(HandlerInterceptor):
    """Runs calls without admission within these bounds, and decodes their messages.

    Args:
        receiving: receives their messages.
        admitted: paths of the calls with admission, which are left alone.
        max_open: calls at once of those that need no API key.
        max_others: calls at once of the others.
        message_timeout_s: longest time the message of a call may take to arrive.
    """

    def __init__(
        self,
        receiving: Receiving,
        *,
        admitted: Collection[str],
        max_open: int,
        max_others: int,
        message_timeout_s: float,
    ) -> None:
        self._receiving = receiving
        self._admitted = frozenset(admitted)
        self._open = CallPool(max_open, "calls that need no API key")
        self._others = CallPool(max_others, "calls other than those for masks")
        self._message_timeout_s = message_timeout_s

    def replaced(self, handler: grpc.RpcMethodHandler, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """See `HandlerInterceptor`."""
        path = call.method
        if path in self._admitted:
            return handler
        pool = self._open if is_open(path) else self._others
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(handler, pool), response_serializer=handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler, pool), response_serializer=handler.response_serializer
        )

    def _unary(self, handler: grpc.RpcMethodHandler, pool: CallPool) -> Callable[..., Awaitable[Any]]:
        async def respond(_iterator: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:  # noqa: ANN401
            try:
                async with pool.interruptible_place(context.peer()):
                    messages = self._messages(context, handler)
                    return await handler.unary_unary(await messages.only(self._message_timeout_s), context)
            except GeminiFusionError as error:
                await abort(context, error)

        return respond

    def _stream(self, handler: grpc.RpcMethodHandler, pool: CallPool) -> Callable[..., Awaitable[None]]:
        async def respond(_iterator: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
            try:
                async with pool.interruptible_place(context.peer()):
                    messages = self._messages(context, handler)
                    if handler.unary_stream is not None:
                        message = await messages.only(self._message_timeout_s)
                        await _write(handler.unary_stream(message, context), context)
                    else:
                        await _write(handler.stream_stream(messages, context), context)
            except GeminiFusionError as error:
                await abort(context, error)

        return respond

    def _messages(self, context: grpc.aio.ServicerContext, handler: grpc.RpcMethodHandler) -> IncomingMessages:
        deserialize = handler.request_deserializer or bytes
        return self._receiving.messages(context, deserialize, max_bytes=_MAX_MESSAGE_BYTES)


async def _write(responses: Any, context: grpc.aio.ServicerContext) -> None:  # noqa: ANN401 - an iterator or a task
    if inspect.isasyncgen(responses):
        async for response in responses:
            await context.write(response)
    else:
        await responses

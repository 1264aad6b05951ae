"""What interceptors share that change how the calls of this server are handled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio


class HandlerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Gives calls that have a handler another one."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self.replaced(handler, handler_call_details)

    @abstractmethod
    def replaced(self, handler: grpc.RpcMethodHandler, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler of a call, given the one it has; the same if it is none of this interceptor's."""

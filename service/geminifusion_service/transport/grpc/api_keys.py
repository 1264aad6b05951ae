"""API keys over gRPC: checked on the metadata of a call, which also gives the call its origin."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import RequestContext, set_client, set_request_context
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.security.api_keys import AccessControl, Role
from geminifusion_service.transport.grpc.status import abort

# Load balancers and tools have no key.
_OPEN = ("/grpc.health.v1.", "/grpc.reflection.", "/inference.GRPCInferenceService/Server")
_CHANGES_MODELS = ("/inference.GRPCInferenceService/RepositoryModel",)


class RequireKey(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Ends a call with UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED where `access` rejects it."""

    def __init__(self, access: AccessControl, metrics: Metrics, telemetry: Telemetry) -> None:
        self._access = access
        self._metrics = metrics
        self._telemetry = telemetry

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """See grpc.aio.ServerInterceptor."""
        path = handler_call_details.method
        headers = {
            name: value for name, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
        }
        principal = None
        set_request_context(RequestContext(transport="grpc", headers=headers))
        if self._access.asks_for_keys and not path.startswith(_OPEN):
            role: Role = "admin" if path.startswith(_CHANGES_MODELS) else "segment"
            try:
                principal = self._access.check(headers, role=role).name
            except GeminiFusionError as error:
                return grpc.stream_stream_rpc_method_handler(self._rejection(error))
        set_request_context(RequestContext(transport="grpc", principal=principal, headers=headers))
        return await continuation(handler_call_details)

    def _rejection(self, error: GeminiFusionError) -> Callable[..., Awaitable[None]]:
        async def reject(_messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
            set_client(context.peer())
            self._telemetry.failed(error, time.monotonic())
            self._metrics.requests.labels("grpc", error.code).inc()
            await abort(context, error)

        return reject

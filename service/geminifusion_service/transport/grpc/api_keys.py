"""API keys over gRPC: checked on the metadata of a call, which also gives the call its origin."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc
import grpc.aio

from geminifusion_runtime.errors import BadRequestError, GeminiFusionError
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import RequestContext, set_client, set_request_context
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.security.api_keys import AccessControl, Role
from geminifusion_service.transport.grpc.status import abort

# Load balancers and tools have no key.
_OPEN = ("/grpc.health.v1.", "/grpc.reflection.", "/inference.GRPCInferenceService/Server")
_CREDENTIALS = ("authorization", "x-api-key")
_CHANGES_MODELS = ("/inference.GRPCInferenceService/RepositoryModel",)


def is_open(path: str) -> bool:
    """Whether a call needs no key."""
    return path.startswith(_OPEN)


def _check_sent_once(metadata: Sequence[tuple[str, str]]) -> None:
    """Reject a call with two keys: a proxy might have looked at the other one."""
    names = [name for name, _ in metadata if name in _CREDENTIALS]
    if len(names) != len(set(names)):
        raise BadRequestError("authorization or x-api-key came twice; send one key")


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
        sent = [
            (name, value) for name, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
        ]
        headers = dict(sent)
        principal = None
        set_request_context(RequestContext(transport="grpc", headers=headers))
        if self._access.asks_for_keys and not is_open(path):
            role: Role = "admin" if path.startswith(_CHANGES_MODELS) else "segment"
            try:
                _check_sent_once(sent)
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

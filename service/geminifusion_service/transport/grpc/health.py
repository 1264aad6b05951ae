"""grpc.health.v1: readiness of the server and its services, as `/healthz/ready` has it, and of each model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.registry import ModelState
from geminifusion_service.pipeline.segmenter import Segmenter, State

MODEL_PREFIX = "model/"  # model/NAME or model/NAME@VERSION
_POLL_INTERVAL_S = 0.25  # while a client watches
_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health is untyped
    """Derives every status from the segmenter when asked, so that none can be stale.

    Args:
        services: names with the status of the server; the empty name is always one of them.
    """

    def __init__(self, segmenter: Segmenter, services: Collection[str]) -> None:
        self._segmenter = segmenter
        self._services = frozenset(services) | {""}

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for an unknown name, as the protocol has it."""
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"there is no service {request.service[:100]!r}; ask for one that reflection lists, "
                f"or {MODEL_PREFIX}NAME",
            )
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and whenever it changes."""
        sent = None
        while True:
            status = self._status(request.service)
            if status != sent:
                sent = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._segmenter.state is State.STOPPED:
                return
            await asyncio.sleep(_POLL_INTERVAL_S)

    def _status(self, service: str) -> int:
        if service.startswith(MODEL_PREFIX):
            return self._status_of_model(service.removeprefix(MODEL_PREFIX))
        if service not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._segmenter.ready else _Status.NOT_SERVING

    def _status_of_model(self, reference: str) -> int:
        """Independent of other models; one that is being loaded, or was unloaded, is known and not serving."""
        models = self._segmenter.models
        try:
            slot = models.get(reference)
        except ModelNotFoundError:
            known = any(reference in (status.reference, status.name) for status in models.statuses())
            return _Status.NOT_SERVING if known else _Status.SERVICE_UNKNOWN
        serving = self._segmenter.state is State.READY and not self._segmenter.broken and not slot.model.problem
        return _Status.SERVING if serving and slot.state is ModelState.READY else _Status.NOT_SERVING

"""grpc.health.v1: for the server and its services what `/healthz/ready` says, for each model its own state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.registry import ModelState
from geminifusion_service.pipeline.segmenter import Segmenter, State

MODEL_PREFIX = "model/"  # model/NAME or model/NAME@VERSION
_LOOK_EVERY_S = 0.25  # while somebody watches
_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health is untyped
    """Asks the segmenter each time, so that it can tell nothing that is not so.

    Args:
        services: names that are as ready as the server; the empty one is always known.
    """

    def __init__(self, segmenter: Segmenter, services: Collection[str]) -> None:
        self._segmenter = segmenter
        self._services = frozenset(services) | {""}

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for a name nobody knows, as the protocol has it."""
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
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._segmenter.state is State.STOPPED:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _status(self, service: str) -> int:
        if service.startswith(MODEL_PREFIX):
            return self._status_of_model(service.removeprefix(MODEL_PREFIX))
        if service not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._segmenter.ready else _Status.NOT_SERVING

    def _status_of_model(self, reference: str) -> int:
        """Another model's trouble is not this one's; one that is being loaded, or was unloaded, is known."""
        models = self._segmenter.models
        try:
            slot = models.slot(reference)
        except ModelNotFoundError:
            known = any(reference in (status.reference, status.name) for status in models.statuses())
            return _Status.NOT_SERVING if known else _Status.SERVICE_UNKNOWN
        serving = self._segmenter.state is State.READY and not self._segmenter.broken and not slot.model.problem
        return _Status.SERVING if serving and slot.state is ModelState.READY else _Status.NOT_SERVING

"""A replica: a whole segmenter, with its own decoders, batcher and engine, in a process of Ray's."""

from __future__ import annotations

import logging

import cv2

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.observability.logs import set_up_logging
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.local_executor import LocalExecutor
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.ray_serve.serialization import BackendChoice, SerializedError
from geminifusion_service.request import TaskRequest, TaskResponse
from geminifusion_service.settings import Settings

_log = logging.getLogger(__name__)


class SegmenterReplica:
    """One replica. Ray makes it, calls `segment` from its event loop, and replaces it when `check_health` raises."""

    async def __init__(self, settings: Settings, fingerprint: str) -> None:  # type: ignore[misc]  # Ray awaits it
        """Verify, load, warm up and check every artifact; the replica takes requests afterwards.

        Args:
            settings: of this replica.
            fingerprint: of the settings and plan it was started with, for an ingress that comes later.

        Raises:
            ArtifactError, RuntimeError, ValueError: an artifact that cannot be served here.
        """
        set_up_logging(settings.observability.log_format, settings.observability.log_level)
        cv2.setNumThreads(1)  # each request has its own thread in the pools
        self._fingerprint = fingerprint
        metrics = Metrics()
        executor = LocalExecutor(settings, metrics)
        limits = settings.limits
        self._segmenter = Segmenter(
            executor, metrics, max_bytes=limits.max_inflight_bytes, max_pixels=limits.pixels_in_flight
        )
        self._models = ModelManager(settings, metrics, self._segmenter)
        await self._models.start()

    async def segment(self, request: TaskRequest) -> TaskResponse | SerializedError:
        """Segment one request."""
        try:
            return await self._segmenter.segment(request)
        except GeminiFusionError as error:
            return SerializedError.of(error)
        except Exception as error:
            _log.exception("request %s failed", request.options.request_id)
            return SerializedError.of(public_error(error))

    def fingerprint(self) -> str:
        """Fingerprint of the settings and plan it was started with."""
        return self._fingerprint

    def backend_choices(self) -> dict[str, BackendChoice]:
        """The runtime of every model, by reference."""
        return {
            model.reference: BackendChoice(backend=model.backend.name, reason=model.reason)
            for model in self._segmenter.models
        }

    def check_health(self) -> None:
        """Raises RuntimeError when only a new process can help: the engine has died, or its labels drift."""
        if self._segmenter.broken:
            raise RuntimeError("the engine of this replica has died")
        if problems := self._segmenter.models.problems:
            raise RuntimeError("; ".join(problems))

"""The Open Inference Protocol around the segmenter: the calls of both of its transports."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_service.api.open_inference.schemas import InferenceRequest, InferenceResponse
from geminifusion_service.api.open_inference.signatures import (
    ResolvedModel,
    configuration,
    metadata,
    resolve,
)
from geminifusion_service.api.open_inference.statistics import ModelStatistics
from geminifusion_service.api.open_inference.tensor_batch import (
    Images,
    response_parameters,
)
from geminifusion_service.api.open_inference.tensors import Tensor
from geminifusion_service.errors import MethodNotAllowedError, public_error
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.registry import ModelState
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.budget import Holding
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest, TaskResponse
from geminifusion_service.settings import LimitSettings

_log = logging.getLogger(__name__)
_REPOSITORY = "model_repository"
_EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    _REPOSITORY,
    "parameters",
    "schedule_policy",
    "statistics",
)


class OpenInference:
    """The calls of the protocol; documents are JSON-ready and have the field names of the gRPC messages.

    Every method that takes a model's name and version raises ModelNotFoundError. Use from one event loop.

    Args:
        models: loads and unloads models; None where they are fixed.
    """

    def __init__(
        self, segmenter: Segmenter, limits: LimitSettings, metrics: Metrics, models: ModelManager | None
    ) -> None:
        self._segmenter = segmenter
        self._limits = limits
        self._metrics = metrics
        self._models = models
        self._statistics: dict[tuple[str, str], ModelStatistics] = {}  # by name and version

    @property
    def live(self) -> bool:
        """Whether the process works; only a restart helps where it does not."""
        return not self._segmenter.broken

    @property
    def ready(self) -> bool:
        """Whether the server accepts requests."""
        return self._segmenter.ready

    def input_names(self, name: str, version: str | None) -> list[str]:
        """The inputs of a model."""
        return [form for form, _, _ in self._resolve(name, version).inputs]

    def model_ready(self, name: str, version: str | None) -> bool:
        """Whether this model accepts requests and passed its last self-test."""
        resolved = self._resolve(name, version)
        return self._segmenter.ready and self._segmenter.models.get(resolved.reference).state is ModelState.READY

    def server_metadata(self) -> dict[str, Any]:
        """Name and version of the server, and the extensions of the protocol it supports."""
        return {
            "name": "geminifusion",
            "version": importlib.metadata.version("geminifusion"),
            "extensions": [name for name in _EXTENSIONS if self._models is not None or name != _REPOSITORY],
        }

    def model_metadata(self, name: str, version: str | None) -> dict[str, Any]:
        """The tensors of one signature of a model; see `signatures`."""
        resolved = self._resolve(name, version)
        own = resolved.model.metadata
        versions = [model.metadata.version for model in self._segmenter.models if model.metadata.name == own.name]
        return metadata(resolved, [own.version] if version else versions)

    def model_config(self, name: str, version: str | None) -> dict[str, Any]:
        """The same as Triton's model configuration."""
        resolved = self._resolve(name, version)
        return configuration(resolved, max_batch=min(self._limits.queue_size, resolved.model.task.largest_batch))

    def model_statistics(self, name: str | None, version: str | None) -> dict[str, Any]:
        """Totals of one model, or of all for None."""
        if name:
            resolved = self._resolve(name, version)
            models = [(resolved.name, resolved.model)]
        else:
            models = [(model.metadata.name, model) for model in self._segmenter.models]
        documents = [
            self._totals(model.metadata.name, model.metadata.version).document(shown, model.metadata.version)
            for shown, model in models
        ]
        return {"model_stats": documents}

    async def index(self, *, ready_only: bool) -> list[dict[str, str]]:
        """Every version this server knows of, with its state as Triton calls it."""
        known = await self._models.index() if self._models is not None else self._segmenter.models.statuses()
        return [
            {
                "name": status.name,
                "version": status.version,
                "state": "READY" if status.state is ModelState.FAILING else status.state.value.upper(),
                "reason": status.reason,
            }
            for status in known
            if not ready_only or status.state in (ModelState.READY, ModelState.FAILING)
        ]

    async def load(self, name: str) -> None:
        """Load a model of the repository, or load it again.

        Raises:
            MethodNotAllowedError: this server's models are fixed.
            ModelNotFoundError, ModelLoadError: see `ModelManager.load`.
        """
        await self._changeable_models().load(name)

    async def unload(self, name: str) -> None:
        """Unload a model once its requests are finished.

        Raises:
            MethodNotAllowedError: this server's models are fixed.
            ModelNotFoundError: it is not loaded.
        """
        await self._changeable_models().unload(name)

    def _changeable_models(self) -> ModelManager:
        if self._models is None:
            raise MethodNotAllowedError("this server's models are fixed; restart it with others")
        self._models.check_may_change()
        return self._models

    def admit(
        self, name: str, version: str | None, *, body_bytes: int, holding: Holding | None = None
    ) -> AbstractContextManager[Ticket]:
        """Admit a request by its headers, before its body is read; see `Segmenter.admit`.

        Raises:
            ModelNotFoundError: no such model.
            GeminiFusionError: see `Segmenter.admit`.
        """
        self._resolve(name, version)
        return self._segmenter.admit(body_bytes=body_bytes, holding=holding)

    @contextmanager
    def counted(self, transport: str, request_id: str) -> Iterator[None]:
        """Count one inference by its outcome; the details of a bug go to the log alone.

        Raises:
            GeminiFusionError: the error raised in the block, or InternalError in place of a bug.
        """
        try:
            yield
        except Exception as error:
            public = public_error(error)
            if public is not error:
                _log.exception("request %s failed", request_id)
            self._metrics.requests.labels(transport, public.code).inc()
            raise public from error
        self._metrics.requests.labels(transport, "ok").inc()

    async def infer(
        self,
        request: InferenceRequest,
        *,
        request_id: str,
        milliseconds_left: float | None = None,
        ticket: Ticket | None = None,
    ) -> InferenceResponse:
        """Run every item of a batch; if one fails, the request does.

        Args:
            request_id: for the log, where the request has no id or one that cannot go there.
            milliseconds_left: until the call's own deadline, if it has one.
            ticket: of `admit`, for the first image of the batch; the others are admitted or rejected here.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """
        started = time.perf_counter()
        resolved = self._resolve(request.model_name, request.model_version)
        totals = self._totals(resolved.model.metadata.name, resolved.model.metadata.version)
        try:
            response, responses = await self._infer(resolved, request, request_id, milliseconds_left, ticket)
        except Exception:
            totals.failed(time.perf_counter() - started)
            raise
        totals.succeeded(responses, time.perf_counter() - started)
        return response

    async def _infer(
        self,
        resolved: ResolvedModel,
        request: InferenceRequest,
        request_id: str,
        milliseconds_left: float | None,
        ticket: Ticket | None,
    ) -> tuple[InferenceResponse, Sequence[TaskResponse]]:
        outputs = request.outputs or resolved.default_outputs
        _check_outputs(outputs, resolved.output_names)
        task = resolved.tensors
        options = task.options(
            request.parameters,
            model=resolved.reference,
            outputs=outputs,
            milliseconds_left=milliseconds_left,
            request_id=request.id or request_id,
        )
        items = task.items(request.inputs, self._limits)
        responses = await self._run_all(items, options, ticket)
        tensors = task.tensors(responses, outputs, request.inputs)
        return _response(resolved, request, responses, tensors), responses

    async def _run_all(
        self, items: Sequence[Images], options: RequestOptions, ticket: Ticket | None
    ) -> list[TaskResponse]:
        requests = [TaskRequest(parts=images, options=options) for images in items]
        if len(requests) == 1:
            return [await self._segmenter.segment(requests[0], ticket)]
        # Tasks made together take their first step together, so all of them get the same model if it is swapped now.
        tasks = [
            asyncio.create_task(self._segmenter.segment(request, ticket if index == 0 else None))
            for index, request in enumerate(requests)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _resolve(self, name: str, version: str | None) -> ResolvedModel:
        return resolve(self._segmenter.models, name, version)

    def _totals(self, name: str, version: str) -> ModelStatistics:
        return self._statistics.setdefault((name, version), ModelStatistics())


def _response(
    resolved: ResolvedModel, request: InferenceRequest, responses: Sequence[TaskResponse], tensors: tuple[Tensor, ...]
) -> InferenceResponse:
    return InferenceResponse(
        model_name=resolved.name,
        model_version=responses[0].model.rpartition("@")[2],
        id=request.id,
        parameters=response_parameters(responses),
        outputs=tensors,
    )


def _check_outputs(outputs: Sequence[str], known: Sequence[str]) -> None:
    for name in outputs:
        if name not in known:
            raise InvalidOptionError(f"there is no output {name[:100]!r}; expected {', '.join(known)}")
    if len(set(outputs)) != len(outputs):
        raise InvalidOptionError("an output is named twice; name each once")

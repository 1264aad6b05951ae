"""The only door: every transport hands a request in here and translates what comes out.

accept -> decode (thread pool) -> prepare -> batch (engine thread) -> encode (thread pool)
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from geminifusion_export.artifact import ModalitySpec
from geminifusion_service.engine.batching import Batcher
from geminifusion_service.engine.cpu_budget import usable_cores
from geminifusion_service.errors import DeadlineExceededError, NotReadyError, QueueFullError
from geminifusion_service.exchange import (
    SegmentRequest,
    SegmentResponse,
    Timings,
    new_request_id,
)
from geminifusion_service.inputs.reading import Decoded, Reading, read_modality
from geminifusion_service.models.model import Model, Prediction, PreparedItem
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.operations.metrics import Metrics
from geminifusion_service.outputs.encoding import encode
from geminifusion_service.settings import Settings

T = TypeVar("T")
BatchKey = tuple[str, tuple[int, int]]  # model reference, height and width the graph sees


class State(enum.Enum):
    """Where the service is in its life. Requests are taken while READY and while DRAINING."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Segmenter:
    """Owns the pools, the batcher and the models. Use from one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._models = ModelRegistry()
        self._state = State.STARTING
        self._in_flight = 0
        self._decoding = 0
        workers = settings.decode_workers or usable_cores()
        # Two pools: behind a burst of new images to decode, finished masks would wait to be encoded.
        self._decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._encoders = ThreadPoolExecutor(workers, thread_name_prefix="encode")
        self._batcher: Batcher[BatchKey, tuple[Model, PreparedItem], Prediction] = Batcher(
            _run_together,
            max_batch=self._batch_limit,
            max_wait_s=settings.max_wait_ms / 1000,
            capacity=settings.queue_size,
            more_expected=lambda: self._decoding > 0,
            on_batch=lambda size, _seconds: metrics.batch_size.observe(size),
        )
        metrics.watch(queue_depth=lambda: self._batcher.depth, in_flight=lambda: self._in_flight)

    @property
    def state(self) -> State:
        """Where the service is in its life."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: models verified and warm, engine alive, not stopping."""
        return self._state is State.READY and self._batcher.alive

    @property
    def broken(self) -> bool:
        """Whether only a restart can help: the engine thread has died."""
        return self._state in (State.READY, State.DRAINING) and not self._batcher.alive

    @property
    def models(self) -> ModelRegistry:
        """What is loaded."""
        return self._models

    def open_for(self, models: ModelRegistry) -> None:
        """Become ready with models that were verified and warmed up."""
        self._models = models
        for model in models:
            self._metrics.model_info.labels(model.metadata.name, model.metadata.version, model.backend.name).set(1)
        self._batcher.start()
        self._state = State.READY
        self._metrics.ready.set(1)

    def stop_being_ready(self) -> None:
        """Tell load balancers to go elsewhere; requests that come all the same are still served."""
        self._state = State.DRAINING
        self._metrics.ready.set(0)

    async def close(self, timeout_s: float) -> bool:
        """Finish what is queued and stop; whether everything was finished in time."""
        self._state = State.STOPPED
        finished = await asyncio.to_thread(self._batcher.close, timeout_s)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._encoders.shutdown(wait=False, cancel_futures=True)
        return finished

    def refuse_if_unavailable(self) -> None:
        """Refuse before a body is even read.

        Raises:
            NotReadyError: starting, stopped, or the engine has died.
            QueueFullError: as many requests are being worked on as may be.
        """
        if self._state is State.STARTING:
            raise NotReadyError("the model is still being loaded; try again in a moment")
        if self._state is State.STOPPED or not self._batcher.alive:
            raise NotReadyError("this server has stopped serving; send the request to another one")
        if self._in_flight >= self._settings.queue_size:
            retry_after_s = self._batcher.retry_after_s()
            raise QueueFullError(
                f"{self._in_flight} requests are being worked on, which is all this server takes; "
                f"try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )

    async def segment(self, request: SegmentRequest) -> SegmentResponse:
        """Answer one request; cancel the call when nobody waits for the answer any more.

        Raises:
            ServiceError: see `errors`; anything else is a bug.
        """
        self.refuse_if_unavailable()
        self._in_flight += 1
        try:
            with self._models.lease(request.options.model) as model:
                model.check_names(list(request.images))
                return await self._in_time(model, request)
        except asyncio.CancelledError:
            self._metrics.dropped.inc()
            raise
        finally:
            self._in_flight -= 1

    async def _in_time(self, model: Model, request: SegmentRequest) -> SegmentResponse:
        deadline_ms = request.options.deadline_ms
        if deadline_ms is None:
            return await self._answer(model, request, None)
        deadline = time.monotonic() + deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await self._answer(model, request, deadline)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no answer within deadline_ms={deadline_ms:g}; allow more time or send fewer requests at once"
            ) from None

    async def _answer(self, model: Model, request: SegmentRequest, deadline: float | None) -> SegmentResponse:
        options = request.options
        started = time.perf_counter()
        with self._expected():
            decoded = await self._decode(model, request)
            item = await _in(self._decoders, lambda: _prepare(model, decoded))
            decode_s = time.perf_counter() - started
            future = self._batcher.submit((model.reference, item.shape), (model, item), deadline=deadline)
        finished = await asyncio.wrap_future(future)
        prediction = finished.result
        encode_started = time.perf_counter()
        encoded = await _in(
            self._encoders,
            lambda: encode(options, model.metadata, decoded, prediction),
        )
        encode_s = time.perf_counter() - encode_started
        stages = {
            "decode": decode_s,
            "queue": finished.queue_s,
            "compute": finished.compute_s,
            "encode": encode_s,
        }
        for stage, seconds in stages.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        height, width = prediction.labels.shape
        return SegmentResponse(
            model=model.reference,
            request_id=options.request_id or new_request_id(),
            height=height,
            width=width,
            format=options.format,
            labels=prediction.labels,
            mask=encoded.mask,
            classes=encoded.classes,
            rle=encoded.rle,
            confidence=prediction.confidence.astype(np.float16) if options.confidence else None,
            gate=prediction.gate.astype(np.float16) if options.gate else None,
            timings=Timings(**{stage: 1000 * seconds for stage, seconds in stages.items()}),
            batch_size=finished.batch_size,
            warnings=_warnings(model, decoded),
        )

    @contextmanager
    def _expected(self) -> Iterator[None]:
        """While decoding, others may wait for this request's company; tell them when it will not come."""
        self._decoding += 1
        try:
            yield
        finally:
            self._decoding -= 1
            self._batcher.expectation_changed()

    async def _decode(self, model: Model, request: SegmentRequest) -> Decoded:
        """Decode the modalities side by side; of several bad ones, complain about the model's first."""
        specs = [spec for spec in model.metadata.modalities if spec.name in request.images]

        def read(spec: ModalitySpec) -> Reading:
            return read_modality(
                request.images[spec.name],
                spec,
                max_pixels=self._settings.max_pixels,
                depth_scale=request.options.depth_scale,
            )

        results = await asyncio.gather(
            *(_in(self._decoders, lambda spec=spec: read(spec)) for spec in specs),  # type: ignore[misc]
            return_exceptions=True,
        )
        readings = {}
        for spec, result in zip(specs, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            readings[spec.name] = result
        return Decoded(readings=readings)

    def _batch_limit(self, key: BatchKey) -> int:
        _, (height, width) = key
        fitting = self._settings.max_batch_pixels // (height * width)
        return max(1, min(self._settings.max_batch, fitting))


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _run_together(items: Sequence[tuple[Model, PreparedItem]]) -> list[Prediction]:
    # The key holds the model's reference, so a batch has one model.
    return items[0][0].run([item for _, item in items])


def _prepare(model: Model, decoded: Decoded) -> PreparedItem:
    others = {name: reading.array for name, reading in decoded.readings.items() if name != "rgb"}
    return model.prepare(decoded.rgb, others)


def _warnings(model: Model, decoded: Decoded) -> tuple[str, ...]:
    absent = model.absence_warnings(decoded.readings)
    return absent + tuple(text for reading in decoded.readings.values() for text in reading.warnings)

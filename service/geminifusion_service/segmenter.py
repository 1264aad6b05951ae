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
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.artifact import ModalitySpec
from geminifusion_service.batching import Batcher
from geminifusion_service.class_shares import ClassShare, class_shares
from geminifusion_service.cpu_budget import usable_cores
from geminifusion_service.errors import DeadlineExceededError, NotReadyError, QueueFullError
from geminifusion_service.exchange import (
    SegmentRequest,
    SegmentResponse,
    Timings,
    new_request_id,
)
from geminifusion_service.images import decode_depth, decode_rgb
from geminifusion_service.masks import MaskFormat, index_png, npz, overlay_png
from geminifusion_service.metrics import Metrics
from geminifusion_service.models import Model, ModelRegistry, Prediction, PreparedItem
from geminifusion_service.rle import RunLengths, encode_classes
from geminifusion_service.settings import Settings

T = TypeVar("T")
BatchKey = tuple[str, tuple[int, int]]  # model reference, height and width the graph sees


class State(enum.Enum):
    """Where the service is in its life. Requests are taken while READY and while DRAINING."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    arrays: dict[str, NDArray[np.generic]]
    depth_m: NDArray[np.float32] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    mask: bytes = b""
    classes: tuple[ClassShare, ...] = ()
    rle: tuple[RunLengths, ...] = ()


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
        options = request.options
        model = self._models.find(options.model)
        model.check_names(list(request.images))
        self._in_flight += 1
        try:
            if options.deadline_ms is None:
                return await self._answer(model, request, None)
            deadline = time.monotonic() + options.deadline_ms / 1000
            try:
                async with asyncio.timeout(options.deadline_ms / 1000):
                    return await self._answer(model, request, deadline)
            except TimeoutError:
                raise DeadlineExceededError(
                    f"no answer within deadline_ms={options.deadline_ms:g}; "
                    "allow more time or send fewer requests at once"
                ) from None
        except asyncio.CancelledError:
            self._metrics.dropped.inc()
            raise
        finally:
            self._in_flight -= 1

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
            lambda: _encode(options.format, options.classes, model, decoded, prediction),
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
            mask=encoded.mask,
            classes=encoded.classes,
            rle=encoded.rle,
            confidence=prediction.confidence.astype(np.float16) if options.confidence else None,
            gate=prediction.gate.astype(np.float16) if options.gate else None,
            timings=Timings(**{stage: 1000 * seconds for stage, seconds in stages.items()}),
            batch_size=finished.batch_size,
            warnings=decoded.warnings,
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

    async def _decode(self, model: Model, request: SegmentRequest) -> _Decoded:
        """Decode the modalities side by side; of several bad ones, complain about the model's first."""
        options, max_pixels = request.options, self._settings.max_pixels

        def decode(spec: ModalitySpec) -> tuple[NDArray[np.generic], tuple[str, ...]]:
            data = request.images[spec.name]
            if spec.unit == "intensity":
                return decode_rgb(data, max_pixels=max_pixels, field=spec.name), ()
            depth = decode_depth(data, max_pixels=max_pixels, depth_scale=options.depth_scale, field=spec.name)
            return depth.metres, depth.warnings

        specs = [spec for spec in model.metadata.modalities if spec.name in request.images]
        results = await asyncio.gather(
            *(_in(self._decoders, lambda spec=spec: decode(spec)) for spec in specs),  # type: ignore[misc]
            return_exceptions=True,
        )
        arrays, depth_m = {}, None
        warnings = list(model.absence_warnings(request.images))
        for spec, result in zip(specs, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            arrays[spec.name], notes = result
            warnings.extend(notes)
            if spec.unit == "metre" and depth_m is None:
                depth_m = arrays[spec.name].astype(np.float32, copy=False)
        return _Decoded(arrays=arrays, depth_m=depth_m, warnings=tuple(warnings))

    def _batch_limit(self, key: BatchKey) -> int:
        _, (height, width) = key
        fitting = self._settings.max_batch_pixels // (height * width)
        return max(1, min(self._settings.max_batch, fitting))


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _run_together(items: Sequence[tuple[Model, PreparedItem]]) -> list[Prediction]:
    # The key holds the model's reference, so a batch has one model.
    return items[0][0].run([item for _, item in items])


def _prepare(model: Model, decoded: _Decoded) -> PreparedItem:
    others = dict(decoded.arrays)
    rgb = others.pop("rgb").astype(np.uint8, copy=False)
    return model.prepare(rgb, others)


def _encode(
    mask_format: MaskFormat, with_classes: bool, model: Model, decoded: _Decoded, prediction: Prediction
) -> _Encoded:
    labels, metadata = prediction.labels, model.metadata
    classes = class_shares(labels, decoded.depth_m, metadata.classes) if with_classes or mask_format == "json" else ()
    if mask_format == "json":
        return _Encoded(classes=classes, rle=tuple(encode_classes(labels)))
    if mask_format == "png":
        mask = index_png(labels)
    elif mask_format == "palette":
        mask = index_png(labels, metadata.palette())
    elif mask_format == "overlay":
        mask = overlay_png(decoded.arrays["rgb"].astype(np.uint8, copy=False), labels, metadata.palette())
    else:
        mask = npz({"labels": labels, "confidence": prediction.confidence, "gate": prediction.gate})
    return _Encoded(mask=mask, classes=classes)

"""One request's way through the pools and the engine; the event loop sees it again when it is answered.

decode (a job for each modality while there are threads for it) -> prepare and queue (in the job that ends last)
-> batch (engine thread) -> encode and answer (a job)

Each stage hands on to the next by itself: a way back through the loop costs a wake-up, and waits behind everything else
the loop has to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.alignment import resize_to_rgb
from geminifusion_runtime.decoding.decode import DecodedImage, DecodedRequest
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.errors import GeminiFusionError, InvalidOptionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.postprocessing import Prediction, disagreement
from geminifusion_runtime.preprocessing import PreparedItem, absence_warnings, rgb_alone
from geminifusion_runtime.types import SensorHealth, SensorPolicy
from geminifusion_service.batching.batch_queue import Finished
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import NotReadyError
from geminifusion_service.isolation.decoder_pool import DecoderPool, EncodedImage
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.observability.timeline import Span, Stage, Timeline, nanoseconds
from geminifusion_service.pipeline.encoding import encode
from geminifusion_service.request import SegmentRequest, SegmentResponse, Timings

BatchKey = tuple[Model, tuple[int, int]]  # by identity; height and width the graph sees
Item = tuple[Model, PreparedItem]
Mark = tuple[Stage, float, float]  # start and end, seconds of time.monotonic


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """One request, ready for the engine: the frame, and the frame of rgb alone where that was asked for."""

    decoded: DecodedRequest
    items: tuple[PreparedItem, ...]
    sensors: Mapping[str, SensorHealth]
    notes: tuple[str, ...]  # for the client, beside those of the readings


class Road:
    """The pools and the queue that all requests share.

    Args:
        num_workers: threads that decode, and as many that encode.
        readers: who decodes for those threads.
        max_pixels: of a posted image.
        sensor_policy: of requests that do not name one.
        batcher_for: makes the batcher, given what tells it whether other requests are on their way to it.
    """

    def __init__(
        self,
        *,
        num_workers: int,
        readers: DecoderPool,
        max_pixels: int,
        sensor_policy: SensorPolicy = "warn",
        batcher_for: Callable[[Callable[[], bool]], Batcher[BatchKey, Item, Prediction]],
    ) -> None:
        self.max_pixels = max_pixels
        self.sensor_policy = sensor_policy
        self.num_workers = num_workers
        self.readers = readers
        # Two pools: behind a burst of new images to decode, finished masks would wait to be encoded.
        self.decoders = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
        self.encoders = ThreadPoolExecutor(num_workers, thread_name_prefix="encode")
        self.num_decoding = 0
        self.lock = threading.Lock()
        self.batcher = batcher_for(lambda: self.num_decoding > 0)

    def take(
        self, model: Model, request: SegmentRequest, *, deadline: float | None = None, marks: Sequence[Mark] = ()
    ) -> Future[SegmentResponse]:
        """Send a request on its way; cancel the future when nobody waits for it any more.

        Args:
            deadline: in seconds of `time.monotonic`; after it the engine does not run the request.
            marks: stages it has passed.
        """
        journey = _Journey(self, model, request, deadline, marks)
        journey.begin()
        return journey.answer

    def close(self) -> None:
        """Stop the pools, once the batcher is closed; what they have not begun fails."""
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.encoders.shutdown(wait=False, cancel_futures=True)
        self.readers.close()


class _Journey:
    def __init__(
        self, road: Road, model: Model, request: SegmentRequest, deadline: float | None, marks: Sequence[Mark]
    ) -> None:
        self.answer: Future[SegmentResponse] = Future()
        self._road = road
        self._model = model
        self._request = request
        self._deadline = deadline
        self._marks = list(marks)
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._expected = True  # others may wait for its company
        self._readings: dict[str, DecodedImage | BaseException] = {}
        self._futures: list[Future[Finished[Prediction]]] = []

    def begin(self) -> None:
        """Start to decode: with as many requests in decoding as threads, in one job, else a job for each modality."""
        road = self._road
        specs = [spec for spec in self._model.metadata.modalities if spec.name in self._request.images]
        with road.lock:
            busy = road.num_decoding >= road.num_workers
            road.num_decoding += 1
        if not specs:
            self._step(self._queue)
        for part in [specs] if busy and specs else [[spec] for spec in specs]:
            self._in(road.decoders, lambda part=part: self._decode(part, len(specs)))  # type: ignore[misc]

    def _decode(self, part: Sequence[ModalitySpec], num_all: int) -> None:
        options = self._request.options
        found = self._road.readers.decode(
            [EncodedImage(spec, self._request.images[spec.name]) for spec in part],
            {
                "max_pixels": self._road.max_pixels,
                "depth_scale": options.depth_scale,
                "depth_invalid": options.depth_invalid,
            },
        )
        with self._lock:
            self._readings |= zip([spec.name for spec in part], found, strict=True)
            is_last = len(self._readings) == num_all
        if is_last:
            self._queue()

    def _queue(self) -> None:
        readings: dict[str, DecodedImage] = {}
        for spec in self._model.metadata.modalities:  # of several bad ones, name the model's first
            result = self._readings.get(spec.name)
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                readings[spec.name] = result
        prepared = _prepare(self._model, self._request, readings, self._road.sensor_policy)
        self._marks.append(("decode", self._started, time.monotonic()))
        self._futures += self._road.batcher.submit_together(
            (self._model, prepared.items[0].shape),
            [(self._model, item) for item in prepared.items],
            deadline=self._deadline,
            urgent=self._request.options.priority == "high",
        )
        self._stop_expecting()
        futures = self._futures
        self.answer.add_done_callback(lambda answer: _give_up(answer, futures))
        self._futures[-1].add_done_callback(lambda _: self._step(lambda: self._await_others(prepared)))

    def _await_others(self, prepared: _Prepared) -> None:
        """Items that were queued together may have run one after the other."""
        for future in self._futures:
            if not future.done():
                future.add_done_callback(lambda _: self._step(lambda: self._await_others(prepared)))
                return
        finished = [future.result() for future in self._futures]
        self._in(self._road.encoders, lambda: self._encode(prepared, finished))

    def _encode(self, prepared: _Prepared, finished: Sequence[Finished[Prediction]]) -> None:
        first = finished[0]
        changes = disagreement(first.result, finished[1].result) if len(finished) > 1 else None
        encoded = encode(self._request.options, self._model.metadata, prepared.decoded, first.result, changes)
        marks: list[Mark] = [
            *self._marks,
            ("queue", first.arrival, first.started),
            ("compute", first.started, first.ended),
            ("encode", max(one.ended for one in finished), time.monotonic()),
        ]
        timeline = _timeline(marks, first.batch_size)
        options, prediction = self._request.options, first.result
        height, width = prediction.labels.shape
        response = SegmentResponse(
            model=self._model.reference,
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
            disagreement=changes,
            timings=Timings(
                decode=timeline.milliseconds("decode"),
                queue=timeline.milliseconds("queue"),
                compute=timeline.milliseconds("compute"),
                encode=timeline.milliseconds("encode"),
            ),
            timeline=timeline,
            batch_size=first.batch_size,
            warnings=prepared.notes + _warnings(self._model, self._request, prepared.decoded),
            sensors=prepared.sensors,
        )
        with suppress(InvalidStateError):  # cancelled in this moment
            self.answer.set_result(response)
        self._let_go()

    def _in(self, pool: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        """Run a stage on a pool. A pool that was shut down must not leave anybody waiting."""
        try:
            job = pool.submit(self._step, work)
        except RuntimeError:
            self._fail(_stopped())
            return
        job.add_done_callback(lambda done: self._fail(_stopped()) if done.cancelled() else None)

    def _step(self, work: Callable[[], None]) -> None:
        """Run a stage, unless nobody waits any more; what goes wrong in it is the answer."""
        if self.answer.done():
            self._stop_expecting()
            self._let_go()
            return
        try:
            work()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._stop_expecting()
        if isinstance(error, GeminiFusionError):
            error = error.with_traceback(None)  # which holds this journey; its text is all that anybody will read
        with suppress(InvalidStateError):
            self.answer.set_exception(error)
        self._let_go()

    def _let_go(self) -> None:
        """Break the circle of futures and what they call: images in it would wait for the garbage collector."""
        self._futures.clear()
        self._readings.clear()

    def _stop_expecting(self) -> None:
        """Tell those that wait for this request's company that it has come, or will not."""
        with self._road.lock:
            expected, self._expected = self._expected, False
            if expected:
                self._road.num_decoding -= 1
        if expected:
            self._road.batcher.expectation_changed()


def _give_up(answer: Future[SegmentResponse], futures: Sequence[Future[Finished[Prediction]]]) -> None:
    if answer.cancelled():
        for future in futures:
            future.cancel()


def batch_of(items: Sequence[Item]) -> Callable[[int], Sequence[Prediction]]:
    """Stack items of one model and one shape; what runs them on an engine instance."""
    model = items[0][0]  # the key holds the model, so a batch has one
    frames = [item for _, item in items]
    inputs = model.stack(frames)
    return lambda instance: model.run_stacked(frames, inputs, instance)


def _stopped() -> NotReadyError:
    return NotReadyError("the server stopped before this request was answered; send it again")


def _prepare(
    model: Model, request: SegmentRequest, readings: Mapping[str, DecodedImage], policy: SensorPolicy
) -> _Prepared:
    specs = {spec.name: spec for spec in model.metadata.modalities}
    sensors = {name: reading.health for name, reading in readings.items()}
    kept, notes = apply_policy(readings, specs, request.options.sensor_policy or policy)
    if request.options.align == "resize":
        kept = resize_to_rgb(kept, specs)
    decoded = DecodedRequest(images=kept)
    others = {name: reading.array for name, reading in decoded.images.items() if name != "rgb"}
    item = model.prepare(decoded.rgb, others)
    if not request.options.disagreement:
        return _Prepared(decoded=decoded, items=(item,), sensors=sensors, notes=notes)
    if not others:
        raise InvalidOptionError(
            "disagreement compares answers with and without the other modalities, and only rgb came; send one more "
            "or leave the option out"
        )
    items = (item, rgb_alone(model.metadata, item))
    return _Prepared(decoded=decoded, items=items, sensors=sensors, notes=notes)


def _timeline(marks: Sequence[Mark], batch_size: int) -> Timeline:
    spans = tuple(
        Span(stage=stage, start_ns=nanoseconds(start), end_ns=nanoseconds(end)) for stage, start, end in marks
    )
    return Timeline(spans=spans, batch_size=batch_size)


def _warnings(model: Model, request: SegmentRequest, decoded: DecodedRequest) -> tuple[str, ...]:
    absent = absence_warnings(model.metadata, decoded.images)
    unproven = tuple(
        f"the model was never trained without {spec.name}, so the disagreement map shows how much it relies on it, "
        "not what it would see without"
        for spec in model.metadata.modalities
        if request.options.disagreement and spec.name != "rgb" and not spec.optional
    )
    return absent + unproven + tuple(text for reading in decoded.images.values() for text in reading.warnings)

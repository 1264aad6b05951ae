"""The pipeline of a request: each stage hands over to the next in the thread that ends it.

    submit ─> decode: `_decode`, on the decoder pool; a job for each image while threads are free
                └─ last job ─> `_complete`, same thread; where a modality is to be made: Batcher, then the decoder pool
                                 └─> `_enqueue`, same thread: prepare, check, queue the items
                                       └─> queue, compute: Batcher, on an engine thread
                                             └─ last item ─> `_encode_when_computed`, same thread
                                                               └─> encode: `_encode`, on the encoder pool ─> `response`

The event loop sees a request again only when it has its response: a way back through the loop after each stage would
cost a wake-up, and wait behind everything else the loop has to do.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.base import BatchItem, PreparedRequest
from geminifusion_runtime.tasks.parts import PartSpec
from geminifusion_service.batching.batch_queue import Finished
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import NotReadyError
from geminifusion_service.isolation.decoder_pool import DecoderPool, EncodedPart
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.observability.timeline import Stage, StageTiming, Timeline
from geminifusion_service.request import TaskRequest, TaskResponse, response_of

# The model by identity, height and width that the graph sees, and what else the task tells batches apart by.
BatchKey = tuple[Model, tuple[int, int], Hashable]
Item = tuple[Model, Any]


class Pipeline:
    """The thread pools and the batcher that all requests share.

    Args:
        num_workers: threads that decode, and as many that encode.
        decoder_pool: decodes for those threads.
        max_pixels: of a posted image.
        make_batcher: makes the batcher, given what tells it whether other requests are on their way to it.
    """

    def __init__(
        self,
        *,
        num_workers: int,
        decoder_pool: DecoderPool,
        max_pixels: int,
        make_batcher: Callable[[Callable[[], bool]], Batcher[BatchKey, Item, Any]],
    ) -> None:
        self.max_pixels = max_pixels
        self.decoder_pool = decoder_pool
        # Two pools: behind a burst of new images to decode, finished masks would wait to be encoded.
        self.decoders = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
        self.encoders = ThreadPoolExecutor(num_workers, thread_name_prefix="encode")
        self.num_decoding = 0  # requests on their way to the batcher
        self.batcher = make_batcher(lambda: self.num_decoding > 0)
        self._num_workers = num_workers
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the decoders and the engine threads; of no effect the second time."""
        if not self.batcher.started:
            self.decoder_pool.start()
            self.batcher.start()

    def submit(
        self,
        model: Model,
        request: TaskRequest,
        *,
        deadline: float | None = None,
        passed: Sequence[StageTiming] = (),
    ) -> Future[TaskResponse]:
        """Start a request; cancel the future when nobody waits for it any more.

        Args:
            deadline: in seconds of `time.monotonic`; after it the engine does not run the request.
            passed: stages that are already over.
        """
        run = _PipelineRun(self, model, request, deadline, passed)
        run.start()
        return run.response

    def close(self) -> None:
        """Stop the pools, once the batcher is closed; stages that have not begun fail with NotReadyError."""
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.encoders.shutdown(wait=False, cancel_futures=True)
        self.decoder_pool.close()

    def begin_decoding(self) -> bool:
        """Count one more request as on its way to the batcher; whether a decoder is free for it."""
        with self._lock:
            self.num_decoding += 1
            return self.num_decoding <= self._num_workers

    def end_decoding(self) -> None:
        """Count one request less as on its way, and let a batch that waits for it look again."""
        with self._lock:
            self.num_decoding -= 1
        self.batcher.expectation_changed()


class _PipelineRun:
    """One request on its way through the pipeline. `response` gets its result, or what went wrong in a stage."""

    def __init__(
        self,
        pipeline: Pipeline,
        model: Model,
        request: TaskRequest,
        deadline: float | None,
        passed: Sequence[StageTiming],
    ) -> None:
        self.response: Future[TaskResponse] = Future()
        self._pipeline = pipeline
        self._model = model
        self._request = request
        self._deadline = deadline
        self._timings = list(passed)
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._is_decoding = True  # counted as on its way to the batcher
        self._decoded: dict[str, DecodedImage | BaseException] = {}
        self._computing: list[Future[Finished[Any]]] = []

    def start(self) -> None:
        """Submit the first stage: a decoding job for each image, or one for all while every decoder is busy."""
        self.response.add_done_callback(partial(_forget_if_cancelled, weakref.ref(self)))  # a cycle would stay for long
        has_free_decoder = self._pipeline.begin_decoding()
        specs = [spec for spec in self._model.task.parts if spec.name in self._request.parts]
        if not specs:
            self._run_stage(self._complete)
            return
        for part in [[spec] for spec in specs] if has_free_decoder else [specs]:
            self._submit_stage(self._pipeline.decoders, partial(self._decode, part, len(specs)))

    def _decode(self, part: Sequence[PartSpec], num_all: int) -> None:
        request = self._request
        if self.response.cancelled():  # between the check of `_run_stage` and the line above
            self._end_decoding()
            self._release()
            return
        options, task = request.options, self._model.task
        found = self._pipeline.decoder_pool.decode(
            [EncodedPart(spec, request.parts[spec.name], task.part_options(options, spec)) for spec in part],
            {
                "max_pixels": self._pipeline.max_pixels,
                "intrinsics": task.camera(options),
            },
            deadline=self._deadline,
        )
        with self._lock:
            self._decoded |= zip([spec.name for spec in part], found, strict=True)
            is_last = len(self._decoded) == num_all
        if is_last:
            self._complete()

    def _complete(self) -> None:
        """Have what the request lacks made, where its sensor policy is to synthesize, before its items are queued."""
        images: dict[str, DecodedImage] = {}
        for spec in self._model.task.parts:  # in the model's order: of several bad images it names the first
            result = self._decoded.get(spec.name)
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                images[spec.name] = result
        synthesis = self._model.synthesis_for(self._request.options)
        gap = None if synthesis is None else synthesis.gap(images)
        if synthesis is None or gap is None:
            self._enqueue("decode", images)
            return
        translator = self._model.translator
        assert translator is not None, "it comes with the synthesis"
        item = translator.prepare(gap.inputs)
        self._end_stage("decode")
        making = self._submit_items(translator, [item])[0]

        def fill() -> None:
            self._computing.clear()
            self._enqueue("synthesize", synthesis.filled(images, gap, making.result().result.output))

        # The engine's thread has the next batch to run: what follows takes time.
        making.add_done_callback(lambda _: self._submit_stage(self._pipeline.decoders, fill))

    def _enqueue(self, stage: Stage, images: Mapping[str, DecodedImage]) -> None:
        """Prepare and queue the items of a request; `stage` is the one that this ends."""
        options, model = self._request.options, self._model
        prepared = model.task.prepare(options, images, model.sensor_policy, size_problem=model.backend.size_problem)
        self._end_stage(stage)
        self._submit_items(model, prepared.items)
        self._continue_after(self._computing[-1], prepared)

    def _submit_items(self, model: Model, items: Sequence[Any]) -> list[Future[Finished[Any]]]:
        first: BatchItem = items[0]
        self._computing += self._pipeline.batcher.submit_together(
            (model, first.shape, first.batch_key),
            [(model, item) for item in items],
            deadline=self._deadline,
            urgent=self._request.options.priority == "high",
        )
        self._end_decoding()
        self.response.add_done_callback(partial(_cancel, self._computing))
        return list(self._computing)

    def _end_stage(self, stage: Stage) -> None:
        """Time the stage that began with the request, or with the end of the one before."""
        now = time.monotonic()
        self._timings.append(StageTiming.between(stage, self._started, now))
        self._started = now

    def _continue_after(self, item: Future[Finished[Any]], prepared: PreparedRequest) -> None:
        item.add_done_callback(lambda _: self._run_stage(partial(self._encode_when_computed, prepared)))

    def _encode_when_computed(self, prepared: PreparedRequest) -> None:
        for item in self._computing:  # queued together, they may all the same have run one after the other
            if not item.done():
                self._continue_after(item, prepared)
                return
        finished = [item.result() for item in self._computing]
        self._submit_stage(self._pipeline.encoders, partial(self._encode, prepared, finished))

    def _encode(self, prepared: PreparedRequest, finished: Sequence[Finished[Any]]) -> None:
        first, options = finished[0], self._request.options
        result = self._model.task.encode(options, prepared, [one.result for one in finished])
        self._timings += [
            StageTiming.between("queue", first.arrival, first.started),
            StageTiming.between("compute", first.started, first.ended),
            StageTiming.between("encode", max(one.ended for one in finished), time.monotonic()),
        ]
        response = response_of(
            result,
            model=self._model.reference,
            request_id=options.request_id or new_request_id(),
            timeline=Timeline(stages=tuple(self._timings), batch_size=first.batch_size),
            batch_size=first.batch_size,
            warnings=prepared.warnings,
            sensors=prepared.sensors,
        )
        with suppress(InvalidStateError):  # cancelled in this moment
            self.response.set_result(response)
        self._release()

    def _submit_stage(self, pool: ThreadPoolExecutor, stage: Callable[[], None]) -> None:
        """Run a stage on a pool. A pool that was shut down must not leave anybody waiting."""
        try:
            job = pool.submit(self._run_stage, stage)
        except RuntimeError:
            self._fail(_stopped())
            return
        job.add_done_callback(lambda done: self._fail(_stopped()) if done.cancelled() else None)

    def _run_stage(self, stage: Callable[[], None]) -> None:
        """Run a stage, unless nobody waits for the response any more; what it raises becomes the response."""
        if self.response.done():
            self._end_decoding()
            self._release()
            return
        try:
            stage()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._end_decoding()
        if isinstance(error, GeminiFusionError):
            error = error.with_traceback(None)  # it holds this run; nobody will read more of the error than its text
        with suppress(InvalidStateError):
            self.response.set_exception(error)
        self._release()

    def forget_images(self) -> None:
        """Let go of the images of a request that nobody waits for: a stage may be queued for it for long yet."""
        self._request = TaskRequest(parts={}, options=self._request.options)

    def _release(self) -> None:
        """Break the cycle of futures and their callbacks: its images would wait for the garbage collector."""
        self._computing.clear()
        self._decoded.clear()

    def _end_decoding(self) -> None:
        """Count this request, once, as no longer on its way to the batcher: it has arrived, or never will."""
        with self._lock:
            was_decoding, self._is_decoding = self._is_decoding, False
        if was_decoding:
            self._pipeline.end_decoding()


def batch_of(items: Sequence[Item]) -> Callable[[int], Sequence[Any]]:
    """Stack items of one model and one batch key; returns what runs them on the engine instance of a number."""
    model = items[0][0]  # the key holds the model, so a batch has one
    frames = [item for _, item in items]
    inputs = model.stack(frames)
    return lambda instance: model.run_stacked(frames, inputs, instance)


def _cancel(items: Sequence[Future[Finished[Any]]], response: Future[TaskResponse]) -> None:
    if response.cancelled():
        for item in items:
            item.cancel()


def _stopped() -> NotReadyError:
    return NotReadyError("the server stopped before this request was answered; send it again")


def _forget_if_cancelled(run: weakref.ref[_PipelineRun], response: Future[TaskResponse]) -> None:
    if response.cancelled() and (left := run()) is not None:
        left.forget_images()

"""The only door: every transport hands a request in here and translates what comes out.

admit -> decode and prepare (thread pool) -> batch (a thread for each engine instance) -> encode (thread pool)
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from geminifusion_runtime.batch_plan import BatchPlan
from geminifusion_runtime.batch_size_tuning import LARGEST_BATCH
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.devices import parse_devices, pin_to_cores
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.postprocessing import Prediction
from geminifusion_runtime.preprocessing import check_names
from geminifusion_runtime.types import Priority
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.errors import DeadlineExceededError, NotReadyError
from geminifusion_service.isolation.decoder_pool import ProcessDecoderPool, ThreadDecoderPool
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import DROP_REASONS, Metrics
from geminifusion_service.observability.timeline import STAGES
from geminifusion_service.pipeline.admission import Admission, Ticket
from geminifusion_service.pipeline.future_bridge import LoopMailbox
from geminifusion_service.pipeline.pipeline import BatchKey, Item, Mark, Road, batch_of
from geminifusion_service.pipeline.telemetry import Records
from geminifusion_service.request import SegmentRequest, SegmentResponse
from geminifusion_service.settings import Settings


class State(enum.Enum):
    """Where the service is in its life. Requests are taken while READY and while DRAINING."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Segmenter:
    """Owns the pools, the batcher and the models. Use from one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics, records: Records | None = None) -> None:
        self._settings = settings
        self._records = records or Records(log_requests=False)
        self._metrics = metrics
        self._stage_seconds = {stage: metrics.stage_seconds.labels(stage) for stage in STAGES}
        self._dropped = {reason: metrics.dropped.labels(reason) for reason in DROP_REASONS}
        self._models = ModelRegistry()
        self._state = State.STARTING
        self._devices = parse_devices(settings.devices)
        self._uncalibrated = BatchPlan(most=settings.max_batch or LARGEST_BATCH, most_pixels=settings.max_batch_pixels)
        self._admission = Admission(
            most_requests=settings.queue_size,
            most_bytes=settings.max_inflight_bytes,
            expected_wait_s=lambda count: self._batcher.expected_wait_s(count),
        )
        num_workers = settings.decode_workers or usable_cores()
        self._road = Road(
            num_workers=num_workers,
            readers=ProcessDecoderPool(num_workers) if settings.decode_isolation == "process" else ThreadDecoderPool(),
            max_pixels=settings.max_pixels,
            sensor_policy=settings.sensor_policy,
            batcher_for=self._batcher_for,
        )
        self._batcher = self._road.batcher
        self._mailbox = LoopMailbox()
        metrics.ready.set_function(lambda: self.ready)
        metrics.watch(queue_depth=lambda: self._batcher.depth, in_flight=lambda: self._admission.num_working)

    @property
    def state(self) -> State:
        """Where the service is in its life."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: models verified, warm and sane, engines alive, not stopping."""
        return (
            self._state is State.READY
            and self._batcher.alive
            and not self._models.problems
            and not any(model.problem for model in self._models)
        )

    @property
    def broken(self) -> bool:
        """Whether only a restart can help: the engine's threads have died."""
        return self._state in (State.READY, State.DRAINING) and not self._batcher.alive

    @property
    def models(self) -> ModelRegistry:
        """What is loaded."""
        return self._models

    def open_for(self, models: ModelRegistry) -> None:
        """Become ready with models that were verified and warmed up.

        Raises:
            ValueError: a model is loaded on fewer devices than the settings name.
        """
        self._models = models
        for model in models:
            if model.num_instances < len(self._devices):
                raise ValueError(
                    f"{model.reference} is loaded on {model.num_instances} devices, but the settings name "
                    f"{len(self._devices)}; open it with the same devices"
                )
            self._metrics.model_info.labels(model.metadata.name, model.metadata.version, model.backend.name).set(1)
        self.start_engine()
        self._state = State.READY

    def start_engine(self) -> None:
        """Let `probe` work before the service is ready; `open_for` does it too."""
        if not self._batcher.started:
            self._road.readers.start()
            self._batcher.start()

    def stop_being_ready(self) -> None:
        """Tell load balancers to go elsewhere; requests that come all the same are still served."""
        self._state = State.DRAINING

    async def close(self, timeout_s: float) -> bool:
        """Finish what is queued and stop; whether everything was finished in time."""
        self._state = State.STOPPED
        finished = await asyncio.to_thread(self._batcher.close, timeout_s)
        self._road.close()
        return finished

    def refuse_if_unavailable(
        self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal"
    ) -> None:
        """Refuse before a body is even read.

        Args:
            body_bytes, deadline_ms, priority: what the head of the request says; see `Admission.check`.

        Raises:
            NotReadyError: starting, stopped, or the engine has died.
            DeadlineExceededError: the deadline has passed.
            QueueFullError: as many requests or bytes are being worked on as may be, or the deadline would pass while
                the request is queued.
        """
        if self._state is State.STARTING:
            raise NotReadyError("the model is still being loaded; try again in a moment")
        if self._state is State.STOPPED or not self._batcher.alive:
            raise NotReadyError("this server has stopped serving; send the request to another one")
        self._admission.check(body_bytes=body_bytes, deadline_ms=deadline_ms, priority=priority)

    @contextmanager
    def admit(
        self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal"
    ) -> Iterator[Ticket]:
        """Let a request in on its head and keep its place, from before its body is read until it is answered.

        The ticket is for `segment`, whose deadline and timeline then begin with the head.

        Raises:
            NotReadyError, DeadlineExceededError, QueueFullError: see `refuse_if_unavailable`.
        """
        started, ticket = time.monotonic(), None
        try:
            self.refuse_if_unavailable(body_bytes=body_bytes, deadline_ms=deadline_ms, priority=priority)
            with self._admission.hold(body_bytes=body_bytes) as ticket:
                yield ticket
        except (GeminiFusionError, asyncio.CancelledError) as error:
            if ticket is None or not ticket.recorded:
                self._records.failed(error, started)
            raise

    async def segment(self, request: SegmentRequest, ticket: Ticket | None = None) -> SegmentResponse:
        """Answer one request; cancel the call when nobody waits for the answer any more.

        Args:
            ticket: of `admit`; without one the request is let in, or refused, here.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """
        if ticket is not None:
            return await self._recorded(request, ticket, received=True)
        options = request.options
        with self.admit(deadline_ms=options.deadline_ms, priority=options.priority) as place:
            return await self._recorded(request, place, received=False)

    async def _recorded(self, request: SegmentRequest, ticket: Ticket, *, received: bool) -> SegmentResponse:
        ticket.recorded = True
        try:
            response = await self._work_on(request, ticket, received=received)
        except BaseException as error:
            self._records.failed(error, ticket.arrival, request.options)
            raise
        self._metrics.request_seconds.observe(time.monotonic() - ticket.arrival)
        for span in response.timeline.spans:
            self._stage_seconds[span.stage].observe(span.seconds)
        self._records.answered(request.options, response, ticket.arrival)
        return response

    async def _work_on(self, request: SegmentRequest, ticket: Ticket, *, received: bool) -> SegmentResponse:
        options = request.options
        self._admission.begin(ticket, body_bytes=_num_bytes(request), priority=options.priority)
        try:
            with self._models.lease(options.model) as model:
                check_names(model.metadata, list(request.images))
                return await self._in_time(model, request, ticket.arrival, received=received)
        except asyncio.CancelledError:
            self._dropped["client_gone"].inc()
            raise
        except DeadlineExceededError:
            self._dropped["deadline"].inc()
            raise

    async def probe(self, model: Model, request: SegmentRequest) -> SegmentResponse:
        """Answer one request of the service itself, by a model that clients may not reach yet.

        The road of any other request, but for admission: it counts among nobody's and is never refused as one too many.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """
        return await self._in_time(model, request, time.monotonic(), received=False)

    async def _in_time(
        self, model: Model, request: SegmentRequest, arrival: float, *, received: bool
    ) -> SegmentResponse:
        deadline_ms = request.options.deadline_ms
        marks: list[Mark] = [("receive", arrival, time.monotonic())] if received else []
        if deadline_ms is None:
            return await self._answer(model, request, None, marks)
        deadline = arrival + deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._answer(model, request, deadline, marks)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no answer within deadline_ms={deadline_ms:g}; allow more time or send fewer requests at once"
            ) from None

    async def _answer(
        self, model: Model, request: SegmentRequest, deadline: float | None, marks: Sequence[Mark]
    ) -> SegmentResponse:
        return await self._mailbox.result(self._road.take(model, request, deadline=deadline, marks=marks))

    def _batcher_for(self, more_expected: Callable[[], bool]) -> Batcher[BatchKey, Item, Prediction]:
        return Batcher(
            batch_of,
            max_batch=self._batch_limit,
            max_wait_s=self._settings.max_wait_ms / 1000,
            capacity=2 * self._admission.limit("high"),  # a request is at most two items
            num_instances=len(self._devices),
            on_start=self._keep_to_cores,
            more_expected=more_expected,
            on_batch=self._note_batch,
        )

    def _note_batch(self, size: int, seconds: float) -> None:
        self._metrics.batch_size.observe(size)
        self._metrics.engine_busy_seconds.inc(seconds)

    def _batch_limit(self, key: BatchKey) -> int:
        model, (height, width) = key
        return (model.batch_plan or self._uncalibrated).limit(height, width)

    def _keep_to_cores(self, instance: int) -> None:
        if self._settings.engine_isolation == "thread":  # a process keeps itself
            pin_to_cores(self._devices[instance].cores)


def _num_bytes(request: SegmentRequest) -> int:
    return sum(len(image) if isinstance(image, bytes) else image.nbytes for image in request.images.values())

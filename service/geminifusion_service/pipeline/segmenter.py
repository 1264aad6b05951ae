"""The segmenter: single entry point of every transport, which hands it a request and translates the response.

telemetry -> admission -> lease of the model -> deadline -> executor (this process, or replicas on Ray)
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.types import Priority
from geminifusion_service.errors import DeadlineExceededError, NotReadyError
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.timeline import StageTiming
from geminifusion_service.pipeline.admission import AdmissionControl, Ticket
from geminifusion_service.pipeline.budget import ELEMENT_BYTES, Holding, ResourceBudget
from geminifusion_service.pipeline.executor import STOPPED, Executor
from geminifusion_service.pipeline.pixel_count import count_pixels
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.request import TaskRequest, TaskResponse


class State(enum.Enum):
    """Lifecycle of the service. Requests are taken while READY and while DRAINING."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Segmenter:
    """Admits requests and has them executed. Use from one event loop.

    Args:
        executor: runs what was admitted; the segmenter starts and closes it.
        metrics: get readiness, queue depth and requests in flight.
        max_bytes, max_pixels, max_elements: most that all requests hold together; see `ResourceBudget`. Pixels are
            not limited by default, as where images are decoded by others.
        telemetry: of every request; by default metrics alone.
    """

    def __init__(
        self,
        executor: Executor,
        metrics: Metrics,
        *,
        max_bytes: int,
        max_pixels: int | None = None,
        max_elements: int | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._executor = executor
        self._metrics = metrics
        self._telemetry = telemetry or Telemetry(metrics, log_requests=False)
        self._models = ModelRegistry()
        self._state = State.STARTING
        self._max_pixels = max_pixels
        self._admission = AdmissionControl(
            capacity=executor.capacity,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            max_elements=max_elements,
            expected_wait_s=executor.expected_wait_s,
        )
        metrics.ready.set_function(lambda: self.ready)
        metrics.watch(queue_depth=lambda: executor.queue_depth, in_flight=lambda: self._admission.num_in_flight)

    @property
    def state(self) -> State:
        """Lifecycle of the service."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: executor alive, models verified, warm and sane, not stopping."""
        return (
            self._state is State.READY
            and self._executor.alive
            and not self._models.problems
            and not any(model.problem for model in self._models)
        )

    @property
    def broken(self) -> bool:
        """Whether only a restart can help."""
        return self._state in (State.READY, State.DRAINING) and self._executor.broken

    @property
    def budget(self) -> ResourceBudget:
        """What requests, streams and connections hold together."""
        return self._admission.budget

    @property
    def models(self) -> ModelRegistry:
        """The loaded models."""
        return self._models

    async def start(self) -> None:
        """Start the executor: `probe` works from now on, requests are taken after `mark_ready`."""
        await self._executor.start()

    def mark_ready(self, models: ModelRegistry) -> None:
        """Take requests for models that were verified and warmed up. The segmenter must have been started.

        Raises:
            ValueError: a model is loaded on fewer devices than the executor runs engines on.
        """
        self._models = models
        needed = self._executor.num_instances
        for model in models:
            if model.num_instances < needed:
                raise ValueError(
                    f"{model.reference} is loaded on {model.num_instances} devices, but the settings name "
                    f"{needed}; open it with the same devices"
                )
            self._metrics.model_info.labels(model.metadata.name, model.metadata.version, model.backend.name).set(1)
        self._state = State.READY

    def mark_draining(self) -> None:
        """Tell load balancers to go elsewhere; requests that come all the same are still served."""
        self._state = State.DRAINING

    async def close(self, timeout_s: float) -> bool:
        """Finish what was accepted and stop; whether everything was finished in time."""
        self._state = State.STOPPED
        return await self._executor.close(timeout_s)

    def check_admission(
        self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal"
    ) -> None:
        """Reject a request on its headers, before its body is read.

        Args:
            body_bytes, deadline_ms, priority: what the headers say; see `AdmissionControl.check`.

        Raises:
            NotReadyError: starting, stopped, or the executor takes no requests.
            DeadlineExceededError: the deadline has passed.
            QueueFullError: as many requests or bytes are in flight as may be, or the deadline would pass while the
                request is queued.
        """
        if self._state is State.STOPPED:
            raise NotReadyError(STOPPED)
        if not self._executor.alive:
            raise NotReadyError(self._executor.problem)
        if self._state is State.STARTING:
            raise NotReadyError("the model is still being loaded; try again in a moment")
        self._admission.check(body_bytes=body_bytes, deadline_ms=deadline_ms, priority=priority)

    @contextmanager
    def admit(
        self,
        *,
        body_bytes: int = 0,
        deadline_ms: float | None = None,
        priority: Priority = "normal",
        holding: Holding | None = None,
    ) -> Iterator[Ticket]:
        """Admit a request on its headers and hold its place, from before its body is read until its response.

        The ticket is for `segment`, whose deadline and timeline then begin with the headers.

        Args:
            body_bytes, deadline_ms, priority: what the headers say; see `AdmissionControl.check`.
            holding: see `AdmissionControl.hold`.

        Raises:
            NotReadyError, DeadlineExceededError, QueueFullError: see `check_admission`.
        """
        started, ticket = time.monotonic(), None
        try:
            self.check_admission(body_bytes=body_bytes, deadline_ms=deadline_ms, priority=priority)
            with self._admission.hold(body_bytes=body_bytes, holding=holding) as ticket:
                yield ticket
        except (GeminiFusionError, asyncio.CancelledError) as error:
            if ticket is None or not ticket.recorded:
                self._telemetry.failed(error, started)
            raise

    async def segment(self, request: TaskRequest, ticket: Ticket | None = None) -> TaskResponse:
        """Run one request of any task; cancel the call when nobody waits for the response any more.

        Args:
            ticket: of `admit`; without one the request is admitted, or rejected, here.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """
        options, arrival = request.options, time.monotonic()
        passed: list[StageTiming] = []
        if ticket is not None:
            passed = [StageTiming.between("receive", ticket.arrival, arrival)]
            arrival, ticket.recorded = ticket.arrival, True
        with (
            self._telemetry.request(options, arrival) as record,
            self._place(request, ticket) as place,
            self._models.lease(options.model, options.task) as model,
        ):
            request = _for_model(request, model)
            async with _deadline(options.deadline_ms, arrival) as deadline:
                place.deadline = deadline
                place.holding.take(elements=-(-model.task.array_bytes(request.parts) // ELEMENT_BYTES))
                if self._max_pixels is not None:
                    pixels = count_pixels(_images(request, model), max_pixels=self._max_pixels)
                    await place.holding.take_pixels_when_free(pixels * model.task.pixel_weight(options))
                response = await self._executor.submit(model, request, deadline=deadline, passed=passed)
            place.holding.settle(bytes=response.num_bytes, pixels=0, elements=0)  # of the request nothing is left
            record.response = response
        return response

    async def probe(self, model: Model, request: TaskRequest) -> TaskResponse:
        """Run one request of the service itself, on a model that clients may not reach yet.

        It takes the path of any other request, but without admission and telemetry: it takes up no place and is never
        rejected for the lack of one.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """
        async with _deadline(request.options.deadline_ms, time.monotonic()) as deadline:
            return await self._executor.submit(model, request, deadline=deadline)

    def _place(self, request: TaskRequest, ticket: Ticket | None) -> AbstractContextManager[Ticket]:
        """Place of a request among those in flight: the one its ticket holds, or one that it is admitted to here.

        Raises:
            NotReadyError, DeadlineExceededError, QueueFullError: see `check_admission` and `AdmissionControl.start`.
        """
        options = request.options
        body_bytes = sum(len(image) if isinstance(image, bytes) else image.nbytes for image in request.parts.values())
        if ticket is not None:
            self._admission.start(ticket, body_bytes=body_bytes, priority=options.priority)
            return nullcontext(ticket)  # who admitted it gives the place back
        self.check_admission(deadline_ms=options.deadline_ms, priority=options.priority)
        return self._admission.hold(body_bytes=body_bytes, in_flight=True)


def _for_model(request: TaskRequest, model: Model) -> TaskRequest:
    """The request with its parts under the names of the model's; see `Model.accept`."""
    parts = model.accept(request.options, request.parts)
    return request if parts is request.parts else TaskRequest(parts=parts, options=request.options)


def _images(request: TaskRequest, model: Model) -> Mapping[str, bytes | NDArray[np.generic]]:
    """The parts that are or will be images: a cloud of points counts in another unit."""
    names = {spec.name for spec in model.metadata.modalities}
    synthesis = model.synthesis_for(request.options)
    parts = request.parts if synthesis is None else synthesis.places(request.parts)
    return {name: part for name, part in parts.items() if name in names}


def _deadline(deadline_ms: float | None, arrival: float) -> AbstractAsyncContextManager[float | None]:
    """Deadline of a request, in seconds of `time.monotonic` as `arrival`; None without one.

    Raises:
        DeadlineExceededError: it passed within the block, which was cancelled.
    """
    return nullcontext() if deadline_ms is None else _timeout_at(arrival + deadline_ms / 1000, deadline_ms)


@asynccontextmanager
async def _timeout_at(deadline: float, deadline_ms: float) -> AsyncIterator[float]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield deadline
    except TimeoutError:
        raise DeadlineExceededError(
            f"no response within deadline_ms={deadline_ms:g}; allow more time or send fewer requests at once"
        ) from None

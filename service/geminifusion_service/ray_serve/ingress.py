"""The segmenter of the front: admission and deadlines here, decoding, engine and encoding in a replica."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge

from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.model import Model
from geminifusion_runtime.types import Priority
from geminifusion_service.errors import NotReadyError
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.observability.timeline import Span, Stage, Timeline, nanoseconds
from geminifusion_service.pipeline.admission import Admission
from geminifusion_service.pipeline.segmenter import Segmenter, State
from geminifusion_service.pipeline.telemetry import Records
from geminifusion_service.ray_serve.cluster import Ray, RayError
from geminifusion_service.ray_serve.daemon_executor import LastingThread
from geminifusion_service.ray_serve.deployment import deploy, progress
from geminifusion_service.ray_serve.plan import plan_replicas
from geminifusion_service.ray_serve.replicas import Replicas
from geminifusion_service.request import SegmentRequest, SegmentResponse
from geminifusion_service.settings import Settings

_log = logging.getLogger(__name__)
_REACH_S = 60.0  # longest to wait for Ray
_LOOK_EVERY_S = 0.02  # while the last requests are finished


class RaySegmenter(Segmenter):
    """A segmenter whose work is done by replicas on Ray Serve. Use from one event loop.

    What transports see is inherited; the pools and the engine behind it stay unused, and all that would need them is
    replaced here.
    """

    def __init__(self, settings: Settings, metrics: Metrics, records: Records | None = None) -> None:
        """Raises SettingsError: the settings contradict each other."""
        self._plan = plan_replicas(settings, usable_cores())
        super().__init__(settings, metrics, records)
        self._thread = LastingThread("ray")
        self._ray: asyncio.Future[Ray] | None = None
        self._replicas: Replicas | None = None
        self._request_s = 0.0  # smoothed time of one request in the engine of a replica
        self._admission = _AdmissionTo(
            lambda: self._num_running,
            most_requests=settings.queue_size,
            most_bytes=settings.max_inflight_bytes,
            expected_wait_s=lambda count: count * self._request_s / max(1, self._num_running),
        )
        metrics.ready.set_function(lambda: self.ready)
        metrics.watch(queue_depth=lambda: 0, in_flight=lambda: self._admission.num_working)
        Gauge("geminifusion_replicas", "Replicas on Ray that take requests.", registry=metrics.registry).set_function(
            lambda: self._num_running
        )

    @property
    def _num_running(self) -> int:
        return self._replicas.running if self._replicas is not None else 0

    async def open_replicas(self) -> None:
        """Check the artifacts, start or join Ray, start the replicas, and be ready.

        Raises:
            ArtifactError: an artifact is missing or damaged.
            RayError: Ray or the replicas do not start.
        """
        metadata = [await asyncio.to_thread(open_artifact, folder) for folder in self._settings.artifacts]
        # It cannot be broken off: who stops meanwhile has to wait for it, to be able to end what it started.
        self._ray = self._thread.call(self._reach_ray)
        try:
            await asyncio.wait_for(asyncio.shield(self._ray), _REACH_S)
        except TimeoutError:
            raise RayError(f"Ray did not answer within {_REACH_S:.0f} s; check --ray-address, and its logs") from None
        _take_signals_back()
        handle = await self._thread.call(lambda: deploy(self._plan.settings_of_replica(self._settings), self._plan))
        self._replicas = Replicas(handle, progress)
        await self._replicas.started()
        facts = await handle.describe.remote()
        self._models = ModelRegistry(
            [Model(one, _InReplica(facts[one.reference].backend), facts[one.reference].reason) for one in metadata]
        )
        for model in self._models:
            self._metrics.model_info.labels(model.metadata.name, model.metadata.version, model.backend.name).set(1)
        self._state = State.READY
        _log.info(
            "%d replicas of %d threads run, at most %d will; each takes %d requests at once",
            self._num_running,
            self._plan.threads,
            self._plan.most,
            self._plan.capacity,
        )

    def _reach_ray(self) -> Ray:
        if self._settings.ray_address:
            return Ray.join(self._settings.ray_address)
        return Ray.start(cpus=self._plan.total_cpus, gpus=self._plan.total_gpus)

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: a replica takes requests, and this process is not stopping."""
        return self._state is State.READY and self._num_running > 0

    @property
    def broken(self) -> bool:
        """Whether only a restart can help: there has been no replica for a while."""
        return self._state in (State.READY, State.DRAINING) and self._replicas is not None and self._replicas.out

    def start_engine(self) -> None:
        """Nothing: the engines are in the replicas and run already."""

    async def close(self, timeout_s: float) -> bool:
        """Finish what was accepted, then end the replicas; whether everything was finished in time.

        Ending a private Ray takes some seconds more, which are no part of `timeout_s`.
        """
        self._state = State.STOPPED
        until = time.monotonic() + timeout_s
        while self._admission.num_working and time.monotonic() < until:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LOOK_EVERY_S)
        finished = self._admission.num_working == 0
        if self._replicas is not None:
            self._replicas.close("the server stopped before this request was answered; send it again")
        if self._ray is not None:
            # A Ray of others, that was not reached, needs no end.
            patience_s = 0 if self._settings.ray_address else _REACH_S
            with contextlib.suppress(RayError, TimeoutError):  # who started it was told
                await asyncio.to_thread((await asyncio.wait_for(self._ray, patience_s)).stop)
        return finished

    def refuse_if_unavailable(
        self, *, body_bytes: int = 0, deadline_ms: float | None = None, priority: Priority = "normal"
    ) -> None:
        """Refuse before a body is even read.

        Args:
            body_bytes, deadline_ms, priority: what the head of the request says; see `Admission.check`.

        Raises:
            NotReadyError: starting, stopped, or there is no replica.
            DeadlineExceededError: the deadline has passed.
            QueueFullError: as many requests or bytes are being worked on as the replicas take, or the deadline would
                pass while the request is queued.
        """
        if self._state is State.STARTING:
            raise NotReadyError("the replicas are being started; try again in a moment")
        if self._state is State.STOPPED:
            raise NotReadyError("this server has stopped serving; send the request to another one")
        if not self._num_running:
            raise NotReadyError("there is no replica now; one is being started, try again in a moment")
        self._admission.check(body_bytes=body_bytes, deadline_ms=deadline_ms, priority=priority)

    async def _answer(
        self,
        model: Model,
        request: SegmentRequest,
        deadline: float | None,
        marks: Sequence[tuple[Stage, float, float]],
    ) -> SegmentResponse:
        assert self._replicas is not None, "refused before"
        asked = time.monotonic()
        options = dataclasses.replace(
            request.options,
            request_id=request.options.request_id or new_request_id(),
            # What is left of it, so that the replica drops what nobody waits for here any more.
            deadline_ms=None if deadline is None else max(1000 * (deadline - asked), 0.001),
        )
        response = await self._replicas.answer(dataclasses.replace(request, options=options))
        timeline = _seen_from_here(response.timeline, marks, asked)
        request_s = timeline.seconds("compute") / max(1, timeline.batch_size)
        self._request_s = request_s if self._request_s == 0 else 0.8 * self._request_s + 0.2 * request_s
        return dataclasses.replace(response, timeline=timeline)


class _AdmissionTo(Admission):
    """Lets in as many times more requests as there are replicas."""

    def __init__(self, num_running: Callable[[], int], **limits: object) -> None:
        super().__init__(**limits)  # type: ignore[arg-type]
        self._num_running = num_running

    def limit(self, priority: Priority) -> int:
        """The most requests worked on at once before one of this priority is refused."""
        return super().limit(priority) * max(1, self._num_running())


def _seen_from_here(timeline: Timeline, marks: Sequence[tuple[Stage, float, float]], asked: float) -> Timeline:
    """A replica's timeline behind our own marks; moved, if it comes from the clock of another machine."""
    own = tuple(Span(stage=stage, start_ns=nanoseconds(start), end_ns=nanoseconds(end)) for stage, start, end in marks)
    first_ns = min((span.start_ns for span in timeline.spans), default=0)
    last_ns = max((span.end_ns for span in timeline.spans), default=0)
    asked_ns, now_ns = nanoseconds(asked), time.monotonic_ns()
    shift_ns = 0 if asked_ns <= first_ns and last_ns <= now_ns else now_ns - last_ns
    moved = tuple(
        dataclasses.replace(span, start_ns=span.start_ns + shift_ns, end_ns=span.end_ns + shift_ns)
        for span in timeline.spans
    )
    return Timeline(spans=own + moved, batch_size=timeline.batch_size)


def _take_signals_back() -> None:
    """Let signals reach the handlers of this process alone: Ray's own, which comes first, logs each with a stack."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.getsignal(number))
            signal.siginterrupt(number, False)


class _InReplica:
    """In place of a runtime that is in the replicas."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The runtime the replicas chose."""
        return self._name

    def size_problem(self, height: int, width: int) -> str | None:
        """None; the replica says it."""
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Raises RuntimeError: requests do not come this way."""
        raise RuntimeError("this model runs in the replicas; ask the segmenter")

"""The executor of the ingress: requests are admitted here, and decoded, run and encoded in replicas on Ray Serve."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import Gauge

from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.backends.protocol import DetachedBackend
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.daemon_executor import DaemonExecutor
from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.types import Priority
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.observability.timeline import StageTiming, Timeline, nanoseconds
from geminifusion_service.pipeline.admission import capacity_for
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.ray_serve.cluster import Ray, RayError
from geminifusion_service.ray_serve.deployment import deploy, progress
from geminifusion_service.ray_serve.plan import plan_replicas
from geminifusion_service.ray_serve.replica_pool import ReplicaPool
from geminifusion_service.request import TaskRequest, TaskResponse
from geminifusion_service.settings import Settings

_log = logging.getLogger(__name__)
_REACH_S = 60.0  # longest to wait for Ray
_POLL_S = 0.02  # while the last requests are finished
_ELSEWHERE = "this model runs in the replicas; ask the segmenter"


class RayExecutor:
    """Runs requests in replicas on Ray Serve; see `Executor`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises SettingsError: the settings contradict each other."""
        self._settings = settings
        self._plan = plan_replicas(settings, usable_cores())
        # Ray asks Linux to end its processes with their parent, which to Linux is the thread that started them: they
        # would be killed as soon as that thread ended. Nor may it keep this process from ending while Ray hangs.
        self._thread = DaemonExecutor("ray")
        self._ray: asyncio.Future[Ray] | None = None
        self._replicas: ReplicaPool | None = None
        self._num_in_flight = 0
        self._request_s = 0.0  # smoothed time of one request in the engine of a replica
        self.models: list[Model] = []
        Gauge("geminifusion_replicas", "Replicas on Ray that take requests.", registry=metrics.registry).set_function(
            lambda: self._num_running
        )

    @property
    def _num_running(self) -> int:
        return self._replicas.num_running if self._replicas is not None else 0

    @property
    def alive(self) -> bool:
        """Whether a replica takes requests."""
        return self._num_running > 0

    @property
    def problem(self) -> str:
        """Why it takes no requests, for the client."""
        if self._replicas is None:
            return "the replicas are being started; try again in a moment"
        return "there is no replica now; one is being started, try again in a moment"

    @property
    def broken(self) -> bool:
        """Whether there has been no replica for so long that only a restart can help."""
        return self._replicas is not None and self._replicas.is_lost

    @property
    def num_instances(self) -> int:
        """0: the engines are in the replicas."""
        return 0

    @property
    def queue_depth(self) -> int:
        """0: the queues are in the replicas."""
        return 0

    def capacity(self, priority: Priority) -> int:
        """Capacity of one server without replicas, times the number of replicas."""
        return capacity_for(priority, self._settings.limits.queue_size) * max(1, self._num_running)

    def expected_wait_s(self, num_requests: int) -> float:
        """Seconds until this many requests will have been run, as estimated from recent ones."""
        return num_requests * self._request_s / max(1, self._num_running)

    async def start(self) -> None:
        """Check the artifacts, start or join Ray, start the replicas, and describe their models in `models`.

        Raises:
            ArtifactError: an artifact is missing or damaged.
            RayError: Ray or the replicas do not start.
        """
        models = self._settings.models
        trusted = Path(models.trusted_keys) if models.trusted_keys else None
        metadata = [await asyncio.to_thread(open_artifact, folder, trusted_keys=trusted) for folder in models.artifacts]
        # It cannot be interrupted: whoever stops meanwhile has to wait for it, to be able to end what it started.
        self._ray = asyncio.wrap_future(self._thread.submit(self._reach_ray))
        try:
            await asyncio.wait_for(asyncio.shield(self._ray), _REACH_S)
        except TimeoutError:
            raise RayError(f"Ray did not answer within {_REACH_S:.0f} s; check --ray-address, and its logs") from None
        _restore_signal_handlers()
        of_replica = self._plan.settings_of_replica(self._settings)
        handle = await asyncio.wrap_future(self._thread.submit(deploy, of_replica, self._plan))
        self._replicas = ReplicaPool(handle, progress)
        await self._replicas.wait_started()
        chosen = await handle.backend_choices.remote()
        self.models = [
            Model(one, DetachedBackend(chosen[one.reference].backend, _ELSEWHERE), chosen[one.reference].reason)
            for one in metadata
        ]
        _log.info(
            "%d replicas of %d threads run, at most %d will; each takes %d requests at once",
            self._num_running,
            self._plan.threads,
            self._plan.most,
            self._plan.capacity,
        )

    async def submit(
        self,
        model: Model,
        request: TaskRequest,
        *,
        deadline: float | None = None,
        passed: Sequence[StageTiming] = (),
    ) -> TaskResponse:
        """See `Executor.submit`."""
        assert self._replicas is not None, "no request is admitted before"
        submitted = time.monotonic()
        options: RequestOptions = dataclasses.replace(
            request.options,  # type: ignore[type-var]  # every class of options is a dataclass
            model=model.reference,  # what a request without one means is decided here
            request_id=request.options.request_id or new_request_id(),
            # The rest of it, so that the replica drops what nobody waits for here any more.
            deadline_ms=None if deadline is None else max(1000 * (deadline - submitted), 0.001),
        )
        self._num_in_flight += 1
        try:
            response = await self._replicas.submit(dataclasses.replace(request, options=options))
        finally:
            self._num_in_flight -= 1
        timeline = _continued(passed, response.timeline, submitted)
        request_s = timeline.seconds("compute") / max(1, timeline.batch_size)
        self._request_s = request_s if self._request_s == 0 else 0.8 * self._request_s + 0.2 * request_s
        return dataclasses.replace(response, timeline=timeline)

    async def close(self, timeout_s: float) -> bool:
        """Finish what was submitted, then end the replicas; whether everything was finished in time.

        Ending a private Ray takes some seconds more, which are no part of `timeout_s`.
        """
        until = time.monotonic() + timeout_s
        while self._num_in_flight and time.monotonic() < until:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_POLL_S)
        finished = self._num_in_flight == 0
        if self._replicas is not None:
            self._replicas.close("the server stopped before this request was answered; send it again")
        if self._ray is not None:
            # A Ray of others, that was not reached, needs no end.
            patience_s = 0 if self._settings.ray.ray_address else _REACH_S
            with contextlib.suppress(RayError, TimeoutError):  # who started it was told
                await asyncio.to_thread((await asyncio.wait_for(self._ray, patience_s)).stop)
        return finished

    def _reach_ray(self) -> Ray:
        if self._settings.ray.ray_address:
            return Ray.join(self._settings.ray.ray_address)
        return Ray.start(cpus=self._plan.total_cpus, gpus=self._plan.total_gpus)


async def open_replicas(executor: RayExecutor, segmenter: Segmenter, *, default_model: str = "") -> None:
    """Start the replicas and take requests for their models.

    Args:
        default_model: of requests that name none: a name or `name@version`; "" for the first.

    Raises:
        ArtifactError, RayError: see `RayExecutor.start`.
    """
    await segmenter.start()
    segmenter.mark_ready(ModelRegistry(executor.models, default=default_model or None))


def _continued(passed: Sequence[StageTiming], timeline: Timeline, submitted: float) -> Timeline:
    """A replica's timeline behind the stages that passed here; moved, if the clock is that of another machine."""
    first_ns = min((timing.start_ns for timing in timeline.stages), default=0)
    last_ns = max((timing.end_ns for timing in timeline.stages), default=0)
    submitted_ns, now_ns = nanoseconds(submitted), time.monotonic_ns()
    shift_ns = 0 if submitted_ns <= first_ns and last_ns <= now_ns else now_ns - last_ns
    moved = [
        timing._replace(start_ns=timing.start_ns + shift_ns, end_ns=timing.end_ns + shift_ns)
        for timing in timeline.stages
    ]
    return Timeline(stages=(*passed, *moved), batch_size=timeline.batch_size)


def _restore_signal_handlers() -> None:
    """Let signals reach the handlers of this process alone: Ray's own, which comes first, logs each with a stack."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.getsignal(number))
            signal.siginterrupt(number, False)

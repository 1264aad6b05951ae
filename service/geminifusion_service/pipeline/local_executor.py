"""The executor of this process: one pipeline, with an engine thread on each device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from geminifusion_runtime.batch_plan import BatchPlan
from geminifusion_runtime.batch_size_tuning import LARGEST_BATCH
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.devices import parse_devices, pin_to_cores
from geminifusion_runtime.model import Model
from geminifusion_runtime.types import Priority
from geminifusion_service.batching.batcher import Batcher
from geminifusion_service.isolation.decoder_pool import ProcessDecoderPool, ThreadDecoderPool, decoding_memory
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.timeline import StageTiming
from geminifusion_service.pipeline.admission import capacity_for
from geminifusion_service.pipeline.executor import STOPPED
from geminifusion_service.pipeline.future_bridge import FutureBridge
from geminifusion_service.pipeline.pipeline import BatchKey, Item, Pipeline, batch_of
from geminifusion_service.request import TaskRequest, TaskResponse
from geminifusion_service.settings import Settings


class LocalExecutor:
    """Runs requests in this process; see `Executor`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._devices = parse_devices(settings.runtime.devices)
        batching = settings.batching
        self._untuned = BatchPlan(most=batching.max_batch or LARGEST_BATCH, most_pixels=batching.max_batch_pixels)
        num_workers = settings.decoding.decode_workers or usable_cores()
        self._pipeline = Pipeline(
            num_workers=num_workers,
            decoder_pool=ProcessDecoderPool(
                num_workers,
                max_bytes=decoding_memory(
                    max_pixels=settings.limits.max_pixels, max_body_bytes=settings.limits.max_body_bytes
                ),
            )
            if settings.decoding.decode_isolation == "process"
            else ThreadDecoderPool(),
            max_pixels=settings.limits.max_pixels,
            make_batcher=self._make_batcher,
        )
        self._batcher = self._pipeline.batcher
        self._bridge = FutureBridge()

    @property
    def alive(self) -> bool:
        """Whether its engine threads run."""
        return self._batcher.alive

    @property
    def problem(self) -> str:
        """Why it takes no requests, for the client."""
        return STOPPED if self._batcher.started else "the engine is being started; try again in a moment"

    @property
    def broken(self) -> bool:
        """Whether the engine threads have died."""
        return not self._batcher.alive

    @property
    def num_instances(self) -> int:
        """Number of devices that the settings name."""
        return len(self._devices)

    @property
    def queue_depth(self) -> int:
        """Items waiting for the engine."""
        return self._batcher.depth

    def capacity(self, priority: Priority) -> int:
        """See `capacity_for`."""
        return capacity_for(priority, self._settings.limits.queue_size)

    def expected_wait_s(self, num_requests: int) -> float:
        """See `Batcher.expected_wait_s`."""
        return self._batcher.expected_wait_s(num_requests)

    async def start(self) -> None:
        """Start the decoders and the engine threads."""
        self._pipeline.start()

    async def submit(
        self,
        model: Model,
        request: TaskRequest,
        *,
        deadline: float | None = None,
        passed: Sequence[StageTiming] = (),
    ) -> TaskResponse:
        """See `Executor.submit`."""
        return await self._bridge.result(self._pipeline.submit(model, request, deadline=deadline, passed=passed))

    async def close(self, timeout_s: float) -> bool:
        """Finish what is queued and stop; whether everything was finished in time."""
        finished = await asyncio.to_thread(self._batcher.close, timeout_s)
        self._pipeline.close()
        return finished

    def _make_batcher(self, more_expected: Callable[[], bool]) -> Batcher[BatchKey, Item, Any]:
        return Batcher(
            batch_of,
            max_batch=self._max_batch,
            max_wait_s=self._settings.batching.max_wait_ms / 1000,
            capacity=2 * self.capacity("high"),  # a request is at most two items
            num_instances=self.num_instances,
            on_start=self._pin_to_cores,
            more_expected=more_expected,
            on_batch=self._observe_batch,
        )

    def _max_batch(self, key: BatchKey) -> int:
        model, (height, width), _ = key
        return min((model.batch_plan or self._untuned).limit(height, width), model.task.largest_batch)

    def _observe_batch(self, size: int, seconds: float) -> None:
        self._metrics.batch_size.observe(size)
        self._metrics.engine_busy_seconds.inc(seconds)

    def _pin_to_cores(self, instance: int) -> None:
        if self._settings.runtime.engine_isolation == "thread":  # a process pins itself
            pin_to_cores(self._devices[instance].cores)

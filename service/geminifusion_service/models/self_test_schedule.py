"""When models are self-tested, and what follows from the result; `self_test` compares."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.model import Model
from geminifusion_service.models.loading import LoadResult
from geminifusion_service.models.registry import LoadedModel, ModelRegistry, ModelState, SelfTestResult
from geminifusion_service.models.self_test import Probe, SelfTestFrames, observed_alone, run_self_test
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.request import TaskRequest

_log = logging.getLogger(__name__)

_RETEST_S = 30.0  # longest between two tests of a failing model, so that it is ready again soon after it recovers


class SelfTestSchedule:
    """Tests every loaded model at intervals.

    Args:
        registry: the loaded models; the result of a test decides whether a model is ready.
        metrics: told of every result.
        probe: the serving path.
        interval_s: between two tests of a model.
    """

    def __init__(self, registry: ModelRegistry, metrics: Metrics, probe: Probe, *, interval_s: float) -> None:
        self._registry = registry
        self._metrics = metrics
        self._probe = probe
        self._interval_s = interval_s
        self._frames: dict[int, SelfTestFrames] = {}  # by Model.serial
        self._due: dict[int, float] = {}  # seconds, monotonic

    async def test_before_serving(self, loaded: LoadResult) -> SelfTestResult | None:
        """Test a model that no request reaches yet; None where self-tests are off."""
        if loaded.self_test is None:
            return None
        result = await run_self_test(loaded.model, loaded.self_test, self._probe)
        # A service too busy for its own frames must still be able to change models: then only the runtime is tested.
        return result or await run_self_test(loaded.model, loaded.self_test, _probe_alone)

    def add(self, loaded: LoadedModel, frames: SelfTestFrames | None) -> None:
        """Test a model from now on."""
        if frames is not None:
            self._frames[loaded.model.serial] = frames
            self._due[loaded.model.serial] = time.monotonic() + self._interval(loaded)

    def remove(self, loaded: LoadedModel) -> None:
        """Test a model no more."""
        self._frames.pop(loaded.model.serial, None)
        self._due.pop(loaded.model.serial, None)

    async def run(self) -> None:
        """Test models as they become due, until cancelled."""
        while True:
            now = time.monotonic()
            await asyncio.sleep(
                min([self._interval_s, _RETEST_S, *(max(0.0, due - now) for due in self._due.values())])
            )
            for loaded in self._registry.loaded:
                if time.monotonic() >= self._due.get(loaded.model.serial, float("inf")):
                    try:
                        await self.test(loaded)
                    except Exception:
                        _log.exception("the self-test of %s could not be run", loaded.model.reference)
                    if loaded.model.serial in self._due:
                        self._due[loaded.model.serial] = time.monotonic() + self._interval(loaded)

    async def test(self, loaded: LoadedModel) -> None:
        """Test a loaded model once; the result decides whether it is ready."""
        frames = self._frames.get(loaded.model.serial)
        if frames is None or loaded.retired:
            return
        with self._registry.hold(loaded):
            result = await run_self_test(loaded.model, frames, self._probe)
            if result is not None and not result.passed and loaded.state is ModelState.READY:
                result = await run_self_test(loaded.model, frames, self._probe)  # once may be an accident
        if loaded.retired:
            return
        name, version = loaded.model.metadata.name, loaded.model.metadata.version
        if result is None:
            self._metrics.models.self_tested(name, version, passed=None)
            return
        self._metrics.models.self_tested(name, version, passed=result.passed, agreement=result.agreement)
        before, loaded.self_test = loaded.state, result
        if before is ModelState.READY and not result.passed:
            _log.error("%s fails its self-test and is not ready any more: %s", loaded.model.reference, result.problem)
        if before is ModelState.FAILING and result.passed:
            _log.warning("%s passes its self-test again", loaded.model.reference)

    def _interval(self, loaded: LoadedModel) -> float:
        failing = loaded.state is ModelState.FAILING
        return min(self._interval_s, _RETEST_S) if failing else self._interval_s


async def _probe_alone(model: Model, request: TaskRequest) -> NDArray[np.generic]:
    frame = {name: np.asarray(image) for name, image in request.parts.items()}
    return await asyncio.to_thread(observed_alone, model, frame)

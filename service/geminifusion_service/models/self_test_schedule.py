"""When models are checked, and what follows from the result; what is compared stands in `canary`."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.model import Model
from geminifusion_service.models.loading import LoadedModel
from geminifusion_service.models.registry import CanaryResult, ModelRegistry, ModelState, Slot
from geminifusion_service.models.self_test import CanaryFrames, Probe, answer_alone, check
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.request import SegmentRequest

_log = logging.getLogger(__name__)

_RECHECK_S = 30.0  # a failing model is checked at least this often, so that it comes back


class CanaryRounds:
    """Checks every loaded model at intervals of its own.

    Args:
        probe: the serving path.
        interval_s: between two canaries of a model.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        metrics: Metrics,
        probe: Probe,
        *,
        interval_s: float,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._probe = probe
        self._interval_s = interval_s
        self._frames: dict[int, CanaryFrames] = {}  # by Model.serial
        self._due: dict[int, float] = {}  # seconds, monotonic

    async def first(self, loaded: LoadedModel) -> CanaryResult | None:
        """The canary of a model that no request reaches yet; None where canaries are off."""
        if loaded.canary is None:
            return None
        result = await check(loaded.model, loaded.canary, self._probe)
        # A service that is too busy for its own frames may still change models: then the runtime alone is asked.
        return result or await check(loaded.model, loaded.canary, _alone)

    def adopt(self, slot: Slot, frames: CanaryFrames | None) -> None:
        """Check a model from now on."""
        if frames is not None:
            self._frames[slot.model.serial] = frames
            self._due[slot.model.serial] = time.monotonic() + self._wait(slot)

    def release(self, slot: Slot) -> None:
        """Check a model no more."""
        self._frames.pop(slot.model.serial, None)
        self._due.pop(slot.model.serial, None)

    async def run(self) -> None:
        """Go round for ever."""
        while True:
            now = time.monotonic()
            await asyncio.sleep(
                min([self._interval_s, _RECHECK_S, *(max(0.0, due - now) for due in self._due.values())])
            )
            for slot in self._registry.slots:
                if time.monotonic() >= self._due.get(slot.model.serial, float("inf")):
                    try:
                        await self.check(slot)
                    except Exception:
                        _log.exception("the canary of %s could not be run", slot.model.reference)
                    if slot.model.serial in self._due:
                        self._due[slot.model.serial] = time.monotonic() + self._wait(slot)

    async def check(self, slot: Slot) -> None:
        """Run one canary of a loaded model and let the result decide whether it is ready."""
        frames = self._frames.get(slot.model.serial)
        if frames is None or slot.retired:
            return
        with self._registry.hold(slot):
            result = await check(slot.model, frames, self._probe)
            if result is not None and not result.passed and slot.state is ModelState.READY:
                result = await check(slot.model, frames, self._probe)  # once may be an accident
        if slot.retired:
            return
        name, version = slot.model.metadata.name, slot.model.metadata.version
        if result is None:
            self._metrics.models.canary(name, version, passed=None)
            return
        self._metrics.models.canary(name, version, passed=result.passed, agreement=result.agreement)
        before, slot.canary = slot.state, result
        if before is ModelState.READY and not result.passed:
            _log.error("%s fails its canary and is not ready any more: %s", slot.model.reference, result.problem)
        if before is ModelState.FAILING and result.passed:
            _log.warning("%s passes its canary again", slot.model.reference)

    def _wait(self, slot: Slot) -> float:
        failing = slot.state is ModelState.FAILING
        return min(self._interval_s, _RECHECK_S) if failing else self._interval_s


async def _alone(model: Model, request: SegmentRequest) -> NDArray[np.uint8]:
    frame = {name: np.asarray(image) for name, image in request.images.items()}
    return await asyncio.to_thread(answer_alone, model, frame)

"""How a model comes up and goes down while others serve.

A version is verified, loaded, warmed up and checked before any request can see it; then it becomes what its name means
in one step of the event loop. What goes is out of reach at once, finishes its requests, and gives its memory back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from geminifusion_runtime.artifact import ArtifactError, read_metadata
from geminifusion_service.errors import ModelLoadError, ModelMemoryError
from geminifusion_service.models.loading import LoadedModel, load_model, unload_model
from geminifusion_service.models.memory import MemoryBudget, model_file_bytes
from geminifusion_service.models.registry import CanaryResult, ModelRegistry, ModelState, Slot, Status
from geminifusion_service.models.self_test_schedule import CanaryRounds
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.settings import Settings

_log = logging.getLogger(__name__)
T = TypeVar("T")

_CLOSE_S = 60.0  # longest to wait for the last run of an unloaded model


class Lifecycle:
    """Loads and unloads models of one registry. Use from one event loop.

    Args:
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        registry: ModelRegistry,
        canaries: CanaryRounds,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._registry = registry
        self._canaries = canaries
        self._budget = MemoryBudget(settings.model_memory_mb * 2**20)
        # One load at a time, on a thread of its own: in a shared pool requests would wait behind it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._ending: set[asyncio.Task[None]] = set()
        self.set_aside: set[str] = set()  # references unloaded by request or to make room: not to come back unasked

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what would block the event loop on the thread for models."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def bring_up(self, directory: Path, *, name: str, version: str) -> None:
        """Load a version, check it, and let requests reach it; in place of one of the same name and version, if any.

        Raises:
            ModelLoadError: it cannot be, or its canary fails and others of the name serve; from the error that says
                why, where there is one.
            ModelMemoryError: it does not fit.
        """
        reference = f"{name}@{version}"
        if reference not in self._registry.references:
            self._registry.note(Status(name=name, version=version, state=ModelState.LOADING))
        try:
            metadata = await self.aside(lambda: read_metadata(directory))
            file_bytes = await self.aside(lambda: model_file_bytes(directory, metadata))
            await self._make_room(file_bytes, name=name, reference=reference)
            loaded = await self.aside(lambda: load_model(directory, self._settings, version=version))
        except ModelMemoryError as error:
            self.not_loaded(name, version, str(error), refused=True)
            raise
        except Exception as error:  # runtimes raise whatever they like, and what serves has to go on
            if not isinstance(error, (ArtifactError, OSError, RuntimeError, ValueError)):
                _log.exception("loading %s failed", reference)
            self.not_loaded(name, version, str(error))
            raise ModelLoadError(str(error)) from error
        result = await self._canaries.first(loaded)
        serving = any(other.partition("@")[0] == name for other in self._registry.references)
        if result is not None and not result.passed and serving:
            await self.aside(lambda: unload_model(loaded.model, _CLOSE_S))
            self.not_loaded(name, version, result.problem, refused=True)
            raise ModelLoadError(f"{reference} fails its canary and replaces nothing: {result.problem}")
        self._install(loaded, result)

    def not_loaded(self, name: str, version: str, reason: str, *, refused: bool = False) -> None:
        """Take note that a version could not be loaded; one of the same reference that serves is not touched by it."""
        self._metrics.models.not_loaded(name, "refused" if refused else "failed")
        if f"{name}@{version}" not in self._registry.references:
            self._registry.note(Status(name=name, version=version, state=ModelState.UNAVAILABLE, reason=reason))

    def retire(self, reference: str, reason: str) -> asyncio.Task[None]:
        """Let no new request reach a model, at once; the task ends when the last one is answered and all is given back.

        Raises:
            ModelNotFoundError: it is not loaded.
        """
        slot = self._registry.retire(reference, reason=reason)
        _log.info("unloading %s: %s", reference, reason)
        return self._end(slot)

    async def close(self, timeout_s: float) -> None:
        """Close every model; a run that does not end within `timeout_s` is left behind."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        for slot in [*self._registry.slots, *self._registry.unloading]:
            await asyncio.to_thread(slot.model.close, timeout_s)

    def _install(self, loaded: LoadedModel, result: CanaryResult | None) -> None:
        model = loaded.model
        name, version = model.metadata.name, model.metadata.version
        memory_bytes = self._budget.learn(loaded.file_bytes, loaded.grown_bytes)
        current = self._registry.is_newest(name, version)
        replaced = self._registry.install(model, current=current, memory_bytes=memory_bytes, canary=result)
        self._canaries.adopt(self._registry.slot(model.reference), loaded.canary)
        self._metrics.model_info.labels(name, version, model.backend.name).set(1)
        self._metrics.models.loaded(name, version, memory_bytes, ready=result is None or result.passed)
        if model.batch_plan is not None:
            self._metrics.models.batch_size_tuned(name, version, model.batch_plan.limit(*model.metadata.size.reference))
        if result is not None:
            self._metrics.models.canary(name, version, passed=result.passed, agreement=result.agreement)
            if not result.passed:
                _log.error("%s fails its canary and is not ready: %s", model.reference, result.problem)
        if current:
            _log.info("%s now means %s", name, model.reference)
        if replaced is not None:
            self._end(replaced)

    async def _make_room(self, file_bytes: int, *, name: str, reference: str) -> None:
        """See that a model fits into the budget, where that is allowed by unloading others.

        Raises:
            ModelMemoryError: it does not, with the numbers.
        """
        needed = self._budget.estimate(file_bytes)
        used = sum(slot.memory_bytes or 0 for slot in [*self._registry.slots, *self._registry.unloading])
        short = self._budget.shortage(needed, used)
        if short <= 0:
            return
        leaving: list[Slot] = []
        if self._settings.model_eviction == "lru":
            # Neither the default nor what the new one is to replace, which has to serve until then.
            others = [
                slot
                for slot in self._registry.slots
                if slot.model.metadata.name != name and not self._registry.is_default(slot)
            ]
            for slot in sorted(others, key=lambda slot: slot.last_used):
                if short > 0:
                    leaving.append(slot)
                    short -= slot.memory_bytes or 0
        if short > 0:
            raise ModelMemoryError(
                f"{reference} would take about {needed / 2**20:.0f} MB, and {used / 2**20:.0f} of "
                f"{self._budget.limit_bytes / 2**20:.0f} MB are taken; unload a model, set --model-eviction lru, "
                "or raise --model-memory-mb"
            )
        self.set_aside.update(slot.model.reference for slot in leaving)
        await asyncio.gather(*(self.retire(slot.model.reference, f"it made room for {reference}") for slot in leaving))

    def _end(self, slot: Slot) -> asyncio.Task[None]:
        task = asyncio.create_task(self._finish(slot))
        self._ending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("unloading a model failed", exc_info=error)

    async def _finish(self, slot: Slot) -> None:
        await slot.drained.wait()
        model = slot.model
        name, version, backend = model.metadata.name, model.metadata.version, model.backend.name
        self._canaries.release(slot)
        await self.aside(lambda: unload_model(model, _CLOSE_S))
        self._registry.forget(slot)
        if model.reference not in self._registry.references:
            self._metrics.model_info.remove(name, version, backend)
            self._metrics.models.unloaded(name, version)
        _log.info("unloaded %s", model.reference)

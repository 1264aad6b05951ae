"""Loading and unloading of models while others serve.

A version is verified, loaded, warmed up and self-tested before any request can reach it; then it becomes what its name
means in one step of the event loop. A version that goes is out of reach at once, finishes its requests, and releases
its memory.

    load:    LOADING --ModelLoader, self-test--> READY or FAILING (see `ModelState`), or UNAVAILABLE with the reason
    retire:  READY or FAILING --out of reach--> UNLOADING --last lease ends, unload_model--> UNAVAILABLE
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
from geminifusion_service.models.engine_builds import EngineBuilds
from geminifusion_service.models.loading import LoadResult, ModelLoader, unload_model
from geminifusion_service.models.memory import MemoryBudget, model_file_bytes
from geminifusion_service.models.registry import LoadedModel, ModelRegistry, ModelState, SelfTestResult, Status
from geminifusion_service.models.self_test_schedule import SelfTestSchedule
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.settings import ModelSettings

_log = logging.getLogger(__name__)
T = TypeVar("T")

_CLOSE_S = 60.0  # longest to wait for the last run of an unloaded model


class Lifecycle:
    """Loads and unloads the models of one registry. Use from one event loop.

    Args:
        settings: budget of memory, and whether models may be evicted for it.
        loader: loads what is to be served.
        metrics: told of every load and unload.
        registry: holds what is loaded.
        self_tests: tests every model that is loaded.
        engine_builds: told of every model that may have an engine built; None where none are.

    Attributes:
        kept_unloaded: references that were unloaded by request or evicted, and are not loaded again unasked.
    """

    def __init__(
        self,
        settings: ModelSettings,
        loader: ModelLoader,
        metrics: Metrics,
        registry: ModelRegistry,
        self_tests: SelfTestSchedule,
        engine_builds: EngineBuilds | None = None,
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._metrics = metrics
        self._registry = registry
        self._self_tests = self_tests
        self._engine_builds = engine_builds
        self._budget = MemoryBudget(settings.model_memory_mb * 2**20)
        # One load at a time, on its own thread: in a shared pool requests would wait behind it.
        self._loader_thread = ThreadPoolExecutor(1, thread_name_prefix="model-loader")
        self._unloading: set[asyncio.Task[None]] = set()
        self.kept_unloaded: set[str] = set()

    async def run_in_loader_thread(self, work: Callable[[], T]) -> T:
        """Do on the loader's thread what would block the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._loader_thread, work)

    async def load(self, directory: Path, *, name: str, version: str, engine: str | None = None) -> None:
        """Load a version, test it, and let requests reach it; it replaces one of the same name and version, if any.

        Args:
            engine: see `ModelLoader.load`. It evicts no other model: what it is to speed up serves already.

        Raises:
            ModelLoadError: it cannot be loaded, or its self-test fails and others of the name serve; its cause is the
                error that says why, where there is one.
            ModelMemoryError: it does not fit.
        """
        reference = f"{name}@{version}"
        if reference not in self._registry.references:
            self._registry.record_status(Status(name=name, version=version, state=ModelState.LOADING))
        try:
            metadata = await self.run_in_loader_thread(lambda: read_metadata(directory))
            file_bytes = await self.run_in_loader_thread(lambda: model_file_bytes(directory, metadata))
            await self._make_room(file_bytes, name=name, reference=reference, may_evict=engine is None)
            loaded = await self.run_in_loader_thread(
                lambda: self._loader.load(directory, version=version, engine=engine)
            )
        except ModelMemoryError as error:
            self.record_failure(name, version, str(error), rejected=True)
            raise
        except Exception as error:  # runtimes raise anything, and what serves has to go on
            if not isinstance(error, (ArtifactError, OSError, RuntimeError, ValueError)):
                _log.exception("loading %s failed", reference)
            self.record_failure(name, version, str(error))
            raise ModelLoadError(str(error)) from error
        result = await self._self_tests.test_before_serving(loaded)
        serving = any(other.partition("@")[0] == name for other in self._registry.references)
        if result is not None and not result.passed and serving:
            await self.run_in_loader_thread(lambda: unload_model(loaded.model, _CLOSE_S))
            self.record_failure(name, version, result.problem, rejected=True)
            raise ModelLoadError(f"{reference} fails its self-test and replaces nothing: {result.problem}")
        self._install(loaded, result)
        if self._engine_builds is not None and engine is None:
            self._engine_builds.add(directory, loaded.model)

    def record_failure(self, name: str, version: str, reason: str, *, rejected: bool = False) -> None:
        """Record that a version could not be loaded; one of the same reference that serves is not affected.

        Args:
            rejected: whether it could be loaded but for a limit or its self-test.
        """
        self._metrics.models.not_loaded(name, "refused" if rejected else "failed")
        if f"{name}@{version}" not in self._registry.references:
            self._registry.record_status(
                Status(name=name, version=version, state=ModelState.UNAVAILABLE, reason=reason)
            )

    def retire(self, reference: str, reason: str) -> asyncio.Task[None]:
        """Let no new request reach a model from now on; the task ends once it is drained and its memory released.

        Raises:
            ModelNotFoundError: it is not loaded.
        """
        loaded = self._registry.retire(reference, reason=reason)
        _log.info("unloading %s: %s", reference, reason)
        return self._unload_when_drained(loaded)

    async def close(self, timeout_s: float) -> None:
        """Close every model; a run that does not end within `timeout_s` is left behind."""
        for task in self._unloading:
            task.cancel()
        await asyncio.gather(*self._unloading, return_exceptions=True)
        self._loader_thread.shutdown(wait=False, cancel_futures=True)
        for loaded in [*self._registry.loaded, *self._registry.unloading]:
            await asyncio.to_thread(loaded.model.close, timeout_s)

    def _install(self, loaded: LoadResult, result: SelfTestResult | None) -> None:
        model = loaded.model
        name, version = model.metadata.name, model.metadata.version
        memory_bytes = self._budget.learn(loaded.file_bytes, loaded.grown_bytes)
        current = self._registry.is_newest(name, version)
        replaced = self._registry.install(model, current=current, memory_bytes=memory_bytes, self_test=result)
        self._self_tests.add(self._registry.get(model.reference), loaded.self_test)
        self._metrics.model_info.labels(name, version, model.backend.name).set(1)
        self._metrics.models.loaded(name, version, memory_bytes, ready=result is None or result.passed)
        if model.batch_plan is not None:
            self._metrics.models.batch_size_tuned(name, version, model.batch_plan.limit(*model.metadata.size.reference))
        if result is not None:
            self._metrics.models.self_tested(name, version, passed=result.passed, agreement=result.agreement)
            if not result.passed:
                _log.error("%s fails its self-test and is not ready: %s", model.reference, result.problem)
        if current:
            _log.info("%s now means %s", name, model.reference)
        if replaced is not None:
            self._unload_when_drained(replaced)

    async def _make_room(self, file_bytes: int, *, name: str, reference: str, may_evict: bool) -> None:
        """Unload what has to go so that a model fits into the budget, where that may be and the settings allow it.

        Raises:
            ModelMemoryError: it does not fit, with the numbers.
        """
        needed = self._budget.estimate(file_bytes)
        used = sum(loaded.memory_bytes or 0 for loaded in [*self._registry.loaded, *self._registry.unloading])
        short = self._budget.shortage(needed, used)
        if short <= 0:
            return
        evicted: list[LoadedModel] = []
        if may_evict and self._settings.model_eviction == "lru":
            # Neither the default nor what the new one is to replace, which has to serve until then.
            others = [
                loaded
                for loaded in self._registry.loaded
                if loaded.model.metadata.name != name and not self._registry.is_default(loaded)
            ]
            for loaded in sorted(others, key=lambda loaded: loaded.last_used):
                if short > 0:
                    evicted.append(loaded)
                    short -= loaded.memory_bytes or 0
        if short > 0:
            advice = "set --model-eviction lru, or" if may_evict else "or"
            raise ModelMemoryError(
                f"{reference} would take about {needed / 2**20:.0f} MB, and {used / 2**20:.0f} of "
                f"{self._budget.limit_bytes / 2**20:.0f} MB are taken; unload a model, {advice} raise --model-memory-mb"
            )
        references = [loaded.model.reference for loaded in evicted]
        self.kept_unloaded.update(references)
        await asyncio.gather(*(self.retire(one, f"it made room for {reference}") for one in references))

    def _unload_when_drained(self, loaded: LoadedModel) -> asyncio.Task[None]:
        task = asyncio.create_task(self._unload(loaded))
        self._unloading.add(task)
        task.add_done_callback(self._unloaded)
        return task

    def _unloaded(self, task: asyncio.Task[None]) -> None:
        self._unloading.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("unloading a model failed", exc_info=error)

    async def _unload(self, loaded: LoadedModel) -> None:
        await loaded.drained.wait()
        model = loaded.model
        name, version, backend = model.metadata.name, model.metadata.version, model.backend.name
        self._self_tests.remove(loaded)
        await self.run_in_loader_thread(lambda: unload_model(model, _CLOSE_S))
        self._registry.forget(loaded)
        serving = next((other for other in self._registry if other.reference == model.reference), None)
        if serving is None or serving.backend.name != backend:
            self._metrics.model_info.remove(name, version, backend)
        if serving is None:
            self._metrics.models.unloaded(name, version)
        _log.info("unloaded %s", model.reference)

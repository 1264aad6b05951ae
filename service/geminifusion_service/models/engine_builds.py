"""Engines that are built while models serve, and take over once they are verified.

A model serves from the runtime it was loaded with. Meanwhile a process of its own finds or builds an engine, which is
then loaded like any new version: warmed up, self-tested, and swapped in while requests in flight finish on the old one.
Whatever goes wrong is logged and counted, and changes nothing for requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from geminifusion_runtime.backends.engine_builder import BuildOptions
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.registry import TASKS
from geminifusion_service.errors import ModelLoadError
from geminifusion_service.isolation.engine_cache import EngineRequest
from geminifusion_service.isolation.worker_client import (
    WorkerLostError,
    WorkerProcess,
    WorkerTimeoutError,
    exit_description,
)
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.settings import ModelSettings, RuntimeSettings

_log = logging.getLogger(__name__)

# Loads a directory as a model of this name and version with the runtime of that name.
Swap = Callable[[Path, str, str, str], Awaitable[None]]
_MODULE = "geminifusion_service.isolation.engine_build_process"


class EngineBuildError(Exception):
    """There is no engine; the message says why."""


class _Wanted(NamedTuple):
    directory: Path
    model: Model


class EngineBuilds:
    """Builds the engines of one server, one after the other. Use from one event loop.

    Args:
        models, runtime: where artifacts are trusted, where engines are kept and how they are built.
        registry: a model that is not in it any more needs no engine.
        metrics: told of every outcome.
    """

    def __init__(
        self, models: ModelSettings, runtime: RuntimeSettings, registry: ModelRegistry, metrics: Metrics
    ) -> None:
        self._trusted_keys = Path(models.trusted_keys) if models.trusted_keys else None
        self._plugin = Path(runtime.engine_plugin).absolute() if runtime.engine_plugin else None
        self._runtime = runtime
        self._registry = registry
        self._metrics = metrics
        self._wanted: asyncio.Queue[_Wanted] = asyncio.Queue()

    def add(self, directory: Path, model: Model) -> None:
        """Want an engine for a model that was loaded from a directory, if its task has any and it runs on none yet."""
        if not TASKS[model.metadata.task].takes_engines:
            _log.info(
                "%s serves from %s: no engine is built for %s", model.reference, model.backend.name, model.metadata.task
            )
        elif not model.backend.name.startswith(self._runtime.engine_target):
            self._wanted.put_nowait(_Wanted(directory, model))

    async def run(self, swap: Swap, changing: asyncio.Lock) -> None:
        """Build what is wanted until cancelled, and swap it in while no other change of models is in progress."""
        while True:
            wanted = await self._wanted.get()
            name, reference = wanted.model.metadata.name, wanted.model.reference
            try:
                await self._build(wanted, swap, changing)
            except (EngineBuildError, ModelLoadError) as error:
                self._metrics.models.engine_prepared(name, "failed")
                _log.error(
                    "%s goes on serving from %s, no engine takes over: %s", reference, wanted.model.backend.name, error
                )
            except Exception:  # of one model; the others are still to have theirs
                self._metrics.models.engine_prepared(name, "failed")
                _log.exception("%s goes on serving, no engine takes over", reference)

    async def _build(self, wanted: _Wanted, swap: Swap, changing: asyncio.Lock) -> None:
        model, target = wanted.model, self._runtime.engine_target
        if not self._still_serves(model):
            return
        _log.info("%s serves from %s while its %s engine is prepared", model.reference, model.backend.name, target)
        started = time.perf_counter()
        directory, outcome = await self._prepare(wanted.directory)
        seconds = time.perf_counter() - started
        async with changing:
            if not self._still_serves(model):
                _log.info("the engine of %s is not used: the model was unloaded or replaced", model.reference)
                return
            # The version is the one clients know it by, which may be the repository's.
            await swap(directory, model.metadata.name, model.metadata.version, target)
        self._metrics.models.engine_prepared(model.metadata.name, outcome)
        _log.info("%s now serves from its %s engine, %s in %.1f s", model.reference, target, outcome, seconds)

    def _still_serves(self, model: Model) -> bool:
        return any(loaded is model for loaded in self._registry)

    async def _prepare(self, directory: Path) -> tuple[Path, str]:
        """Find or build an engine in a process; returns its directory in the cache, and `found` or `built`.

        Raises:
            EngineBuildError: there is none.
        """
        runtime = self._runtime
        request = EngineRequest(
            artifact=directory,
            cache=Path(runtime.engine_cache),
            target=runtime.engine_target,
            options=BuildOptions(plugin=self._plugin, device=parse_devices(runtime.devices)[0].index),
            trusted_keys=self._trusted_keys,
        )
        worker = WorkerProcess(_MODULE, timeout_s=runtime.engine_build_s)
        try:
            response, _ = await asyncio.to_thread(worker.request, {"request": request.message()})
        except WorkerTimeoutError:
            raise EngineBuildError(
                f"it was not finished within {runtime.engine_build_s:g} s; raise --engine-build-s"
            ) from None
        except WorkerLostError:
            status = worker.process.wait()
            raise EngineBuildError(
                f"the process that builds it ended with {exit_description(status)}; see the lines before, and whether "
                "there is memory for it"
            ) from None
        finally:
            worker.stop()
        if "failed" in response:
            raise EngineBuildError(response["failed"])
        return Path(response["directory"]), response["outcome"]

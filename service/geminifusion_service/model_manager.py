"""The models of one server: what it starts with, and changes by request while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.model import Model
from geminifusion_service.errors import ForbiddenError, ModelLoadError, ModelNotFoundError
from geminifusion_service.models.engine_builds import EngineBuilds
from geminifusion_service.models.lifecycle import Lifecycle
from geminifusion_service.models.loading import ModelLoader
from geminifusion_service.models.registry import ModelRegistry, ModelState, Status, version_key
from geminifusion_service.models.repository import RepositoryUnreachableError, StoredVersion, misplaced, scan
from geminifusion_service.models.repository_watch import RepositoryWatch, newest_first
from geminifusion_service.models.self_test_schedule import SelfTestSchedule
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest
from geminifusion_service.settings import Settings


class ModelManager:
    """Use from one event loop: `start` once, `close` when no request runs any more.

    Args:
        settings: of the server.
        metrics: told of every load, unload and self-test.
        segmenter: becomes ready in `start`; self-tests take the path of its requests.
    """

    def __init__(self, settings: Settings, metrics: Metrics, segmenter: Segmenter) -> None:
        models = settings.models
        self._settings = models
        self._has_admin_keys = bool(settings.security.api_keys_file)
        self._segmenter = segmenter
        self.registry = ModelRegistry(default=models.default_model or None)
        self._artifacts: dict[str, Path] = {}  # those of --artifact, by reference
        self._self_tests = SelfTestSchedule(self.registry, metrics, self._probe, interval_s=models.self_test_interval_s)
        self._loader = ModelLoader(
            models=models,
            runtime=settings.runtime,
            batching=settings.batching,
            sensor_policy=settings.decoding.sensor_policy,
        )
        self._engine_builds: EngineBuilds | None = None
        if settings.runtime.engine_cache:
            self._engine_builds = EngineBuilds(models, settings.runtime, self.registry, metrics)
        self._lifecycle = Lifecycle(models, self._loader, metrics, self.registry, self._self_tests, self._engine_builds)
        self._translator: Model | None = None
        self._watch: RepositoryWatch | None = None
        if models.model_repository:
            self._watch = RepositoryWatch(
                Path(models.model_repository),
                self.registry,
                self._lifecycle,
                metrics,
                keep=models.model_versions,
                settle_s=models.model_settle_s,
            )
        self._changing = asyncio.Lock()  # one change at a time, so that none sees another in progress
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load what the settings name, let the segmenter take requests, and watch models and repository from then on.

        Raises:
            ArtifactError, RuntimeError, ValueError: an artifact of --artifact cannot be served, or the repository
                cannot be read, or holds nothing that can be served and is not polled.
        """
        settings = self._settings
        await self._segmenter.start()
        async with self._changing:
            self._translator = await self._lifecycle.run_in_loader_thread(lambda: self._loader.translator)
            for directory in settings.artifacts:
                await self._start_artifact(directory)
            if self._watch is not None:
                await self._start_repository(Path(settings.model_repository), self._watch)
        self._check_synthesizer()
        self._segmenter.mark_ready(self.registry)
        if self._watch is not None and settings.model_control == "automatic" and settings.model_poll_s:
            self._start_task(self._watch.run(settings.model_poll_s, self._changing))
        if settings.self_test_interval_s:
            self._start_task(self._self_tests.run())
        if self._engine_builds is not None:
            self._start_task(self._engine_builds.run(self._swap_engine_in, self._changing))

    async def close(self, timeout_s: float = 1.0) -> None:
        """Stop watching and close every model; a run that does not end within `timeout_s` is abandoned."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lifecycle.close(timeout_s)
        if self._translator is not None:
            await asyncio.to_thread(self._translator.close, timeout_s)

    def check_may_change(self) -> None:
        """Reject changes by request, unless an admin key is required or the operator allows everybody.

        Raises:
            ForbiddenError: there are no keys, and models are not under explicit control.
        """
        if self._settings.model_control != "explicit" and not self._has_admin_keys:
            raise ForbiddenError(
                "the models of this server are its operator's; to change them by request, start it with "
                "--api-keys-file and send a key with the role admin, or with --model-control explicit"
            )

    async def load(self, reference: str) -> list[Status]:
        """Load a model, or reload it where its files changed; requests go on meanwhile.

        Args:
            reference: a name, for its newest versions in the repository or the artifact of that name; or
                `name@version`, which then stays loaded until it is unloaded by request.

        Returns:
            State of every version of the name.

        Raises:
            ModelNotFoundError: neither the repository nor an artifact has it.
            ModelLoadError: it cannot be loaded; what was loaded before still serves.
        """
        name, _, version = reference.partition("@")
        async with self._changing:
            stored = await self._stored()
            matching = [one for one in stored.values() if one.name == name and version in ("", one.version)]
            artifacts = [one for one in self._artifacts if reference in (one, one.partition("@")[0])]
            if matching and self._watch is not None:
                await self._watch.load(newest_first(matching)[: self._settings.model_versions], pinned=bool(version))
            elif artifacts:
                for one in artifacts:
                    self._lifecycle.kept_unloaded.discard(one)
                    if one not in self.registry.references:
                        await self._lifecycle.load(self._artifacts[one], name=name, version=one.partition("@")[2])
            else:
                known = ", ".join(sorted({*stored, *self._artifacts})) or "nothing"
                raise ModelNotFoundError(f"there is no model {reference[:200]!r} to load; there is: {known}")
        return self.registry.statuses(name)

    async def unload(self, reference: str) -> list[Status]:
        """Unload a version, or by its name all versions: new requests get 404 at once, accepted ones finish.

        It stays unloaded, whatever the repository holds, until it is loaded by request or its directory is a new one.

        Returns:
            State of every version of the name, once the memory was released.

        Raises:
            ModelNotFoundError: nothing of it is loaded.
        """
        name, _, version = reference.partition("@")
        async with self._changing:
            chosen = [
                model.reference
                for model in self.registry
                if model.metadata.name == name and version in ("", model.metadata.version)
            ]
            if not chosen:
                loaded = ", ".join(sorted(self.registry.references)) or "nothing"
                raise ModelNotFoundError(f"{reference[:200]!r} is not loaded; loaded: {loaded}")
            self._lifecycle.kept_unloaded.update(chosen)
            await asyncio.gather(*(self._lifecycle.retire(one, "it was unloaded by request") for one in chosen))
        return self.registry.statuses(name)

    async def index(self) -> list[Status]:
        """State of every version that is loaded or could be, from repository or artifact; by name, the newest first."""
        offered = [(one.name, one.version) for one in (await self._stored()).values()]
        offered += [(name, version) for name, _, version in (one.partition("@") for one in self._artifacts)]
        known = {status.reference: status for status in self.registry.statuses()}
        for name, version in offered:
            status = Status(name=name, version=version, state=ModelState.UNAVAILABLE, reason="it was not loaded")
            known.setdefault(status.reference, status)
        listed = sorted(known.values(), key=lambda status: version_key(status.version), reverse=True)
        return sorted(listed, key=lambda status: status.name)

    def _check_synthesizer(self) -> None:
        """Refuse one that is of use to none of the models that were loaded at the start."""
        problems = [model.synthesis_problem for model in self.registry]
        if self._translator is not None and problems and all(problems):
            raise ValueError("; ".join(filter(None, problems)))

    async def _start_artifact(self, directory: Path) -> None:
        metadata = await self._lifecycle.run_in_loader_thread(lambda: read_metadata(directory))
        if metadata.reference in self._artifacts:
            raise ValueError(f"two artifacts are both {metadata.reference}; give each its own name or version")
        self._artifacts[metadata.reference] = directory
        try:
            await self._lifecycle.load(directory, name=metadata.name, version=metadata.version)
        except ModelLoadError as error:
            raise error.__cause__ or RuntimeError(str(error)) from None

    async def _start_repository(self, root: Path, watch: RepositoryWatch) -> None:
        try:
            stored = await self._lifecycle.run_in_loader_thread(lambda: scan(root))
        except RepositoryUnreachableError as error:
            raise RuntimeError(f"{error}; give a folder of NAME/VERSION/ with --model-repository") from None
        if lines := await self._lifecycle.run_in_loader_thread(lambda: misplaced(root)):
            raise RuntimeError("; ".join(lines))
        if self._settings.model_control == "explicit":
            return
        if stored:
            # Set before anything is loaded: where this one is broken, no other may take its place.
            self.registry.default_to(min(one.name for one in stored.values()))
        await watch.sync(at_once=True)
        if not self.registry.references and not self._settings.model_poll_s:
            reasons = "; ".join(f"{status.reference}: {status.reason}" for status in self.registry.statuses())
            raise RuntimeError(
                f"no model in {root} can be served ({reasons or 'it holds none'}); put one there as NAME/VERSION/, "
                "or set --model-poll-s to wait for one"
            )

    async def _swap_engine_in(self, directory: Path, name: str, version: str, engine: str) -> None:
        await self._lifecycle.load(directory, name=name, version=version, engine=engine)

    async def _stored(self) -> dict[str, StoredVersion]:
        return {} if self._watch is None else await self._watch.poll()

    async def _probe(self, model: Model, request: TaskRequest) -> NDArray[np.generic]:
        return model.task.observed(await self._segmenter.probe(model, request))

    def _start_task(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

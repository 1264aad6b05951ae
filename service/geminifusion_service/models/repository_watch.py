"""What the repository holds, followed: new versions come up, removed ones go, broken ones change nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactError, ArtifactMetadata
from geminifusion_service.errors import ModelLoadError, ModelMemoryError
from geminifusion_service.models.debounce import Sightings
from geminifusion_service.models.lifecycle import Lifecycle
from geminifusion_service.models.registry import ModelRegistry, ModelState, version_key
from geminifusion_service.models.repository import RepositoryUnreachableError, StoredVersion, read_stored, scan
from geminifusion_service.observability.metrics import Metrics

_log = logging.getLogger(__name__)

_LOOKS_BEFORE_REMOVAL = 2  # in a row without a directory: network folders blink


def newest_first(versions: list[StoredVersion]) -> list[StoredVersion]:
    """In the order of their versions, see `version_key`."""
    return sorted(versions, key=lambda one: version_key(one.version), reverse=True)


class RepositoryWatch:
    """Keeps the newest versions of every name of a repository loaded. Calls must not overlap.

    Args:
        keep: versions of a name, at least 1.
        settle_s: see `Sightings`.
    """

    def __init__(
        self, root: Path, registry: ModelRegistry, lifecycle: Lifecycle, metrics: Metrics, *, keep: int, settle_s: float
    ) -> None:
        self._root = root
        self._registry = registry
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._keep = keep
        self._sightings = Sightings(settle_s=settle_s)
        self._loaded: dict[str, tuple[StoredVersion, ArtifactMetadata]] = {}  # from here, by reference
        self._asked_for: set[str] = set()  # loaded because somebody named just this version
        self._missed: dict[str, int] = {}  # looks in a row that found a loaded version gone
        self.reachable = True

    async def look(self) -> dict[str, StoredVersion]:
        """What there is, by reference; nothing, and `reachable` is False, where that cannot be told."""
        problem = ""
        try:
            seen = await self._lifecycle.aside(lambda: scan(self._root))
        except RepositoryUnreachableError as error:
            seen, problem = {}, str(error)
        if not seen and not problem and self._loaded:
            # An unmounted folder is an empty one; and emptying the folder is no way to ask for an outage.
            problem = f"the model repository {self._root} is empty, as if it were not mounted"
        if problem and self.reachable:
            _log.error("%s; what is loaded goes on serving", problem)
        if not problem and not self.reachable:
            _log.warning("the model repository %s can be read again", self._root)
        self.reachable = not problem
        self._metrics.models.repository_reachable.set(self.reachable)
        return seen

    async def follow(self, *, at_once: bool = False) -> None:
        """Look once and do what follows from it.

        Args:
            at_once: do not wait for a second look before a new directory is tried.
        """
        seen = await self.look()
        if not self.reachable:
            return
        self._sightings.keep(seen)
        for name in sorted({one.name for one in seen.values()}):
            await self._follow_name(newest_first([one for one in seen.values() if one.name == name]), at_once=at_once)
        self._retire_removed(seen)
        for status in self._registry.statuses():
            if status.state is ModelState.UNAVAILABLE and status.reference not in seen:
                self._registry.drop_note(status.reference)
                self._lifecycle.set_aside.discard(status.reference)

    async def load(self, versions: list[StoredVersion], *, asked_for: bool) -> None:
        """Load versions of one name now.

        Args:
            versions: the newest first.
            asked_for: they stay until they are unloaded; otherwise they take the place of the others.

        Raises:
            ModelLoadError: one cannot be loaded; the others before it were.
        """
        for one in versions:
            self._lifecycle.set_aside.discard(one.reference)
            if not await self._is_loaded(one):
                await self._bring_up(one)
            if asked_for:
                self._asked_for.add(one.reference)
        if not asked_for:
            self._retire_surplus(versions[0].name, {one.reference for one in versions})

    async def _follow_name(self, versions: list[StoredVersion], *, at_once: bool) -> None:
        kept: set[str] = set()
        for one in versions:
            if len(kept) == self._keep:
                break
            if one.reference in self._lifecycle.set_aside:
                continue
            if not await self._is_loaded(one) and self._sightings.worth_trying(one, at_once=at_once):
                try:
                    await self._bring_up(one)
                except ModelLoadError as error:
                    self._report(one, error)
            if one.reference in self._registry.references:
                kept.add(one.reference)
        self._retire_surplus(versions[0].name, kept)

    async def _bring_up(self, stored: StoredVersion) -> None:
        try:
            metadata = await self._lifecycle.aside(lambda: read_stored(stored))
        except ArtifactError as error:
            self._lifecycle.not_loaded(stored.name, stored.version, str(error))
            raise ModelLoadError(str(error)) from error
        await self._lifecycle.bring_up(stored.directory, name=stored.name, version=stored.version)
        self._loaded[stored.reference] = stored, metadata
        self._sightings.forget(stored.reference)

    def _report(self, stored: StoredVersion, error: ModelLoadError) -> None:
        """Say that a version cannot be loaded; quietly while it may still be being copied."""
        damaged = isinstance(error.__cause__, ArtifactError)
        settled = self._sightings.settled(stored)
        # What is being copied gets whole, and memory may be given back; nothing else changes by itself.
        for_good = settled if damaged else not isinstance(error, ModelMemoryError)
        news = self._sightings.failed(stored, str(error), for_good=for_good)
        if damaged and not settled:
            _log.info("%s is not whole yet: %s", stored.reference, error)
        elif for_good or news:
            _log.error("%s is not served: %s", stored.reference, error)

    async def _is_loaded(self, stored: StoredVersion) -> bool:
        """Whether just this is loaded: a directory whose metadata changed is another model of the same reference."""
        reference = stored.reference
        if reference not in self._registry.references:
            self._loaded.pop(reference, None)
            return False
        if reference not in self._loaded:
            return True  # an artifact of that name and version, which the operator named
        loaded, metadata = self._loaded[reference]
        if loaded.fingerprint == stored.fingerprint:
            return True
        try:
            if await self._lifecycle.aside(lambda: read_stored(stored)) != metadata:
                return False
        except ArtifactError:
            return True  # damaged since; what is loaded is whole
        self._loaded[reference] = stored, metadata
        return True

    def _retire_surplus(self, name: str, kept: set[str]) -> None:
        """Unload versions of a name beyond those kept, once one of those serves."""
        serving = kept & self._registry.references
        if not serving:
            return
        newest = max(serving, key=lambda reference: version_key(reference.partition("@")[2]))
        for reference in [one for one, (stored, _) in self._loaded.items() if stored.name == name]:
            if reference not in kept | self._asked_for:
                self._retire(reference, f"{newest} took its place")

    def _retire_removed(self, seen: dict[str, StoredVersion]) -> None:
        for reference in list(self._loaded):
            if reference in seen:
                self._missed.pop(reference, None)
                continue
            self._missed[reference] = self._missed.get(reference, 0) + 1
            if self._missed[reference] >= _LOOKS_BEFORE_REMOVAL:
                self._retire(reference, "it was removed from the repository")

    def _retire(self, reference: str, reason: str) -> None:
        self._missed.pop(reference, None)
        self._loaded.pop(reference, None)
        self._asked_for.discard(reference)
        if reference in self._registry.references:
            self._lifecycle.retire(reference, reason)

    async def run(self, interval_s: float, changing: asyncio.Lock) -> None:
        """Follow for ever, whatever goes wrong."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                async with changing:
                    await self.follow()
            except Exception:
                _log.exception("following the model repository failed; trying again in %g s", interval_s)

"""Keeps what is loaded in step with the repository: new versions are loaded, removed ones unloaded.

A poll lists the version directories. A new or changed directory is loaded once two polls found it the same (see
`debounce`), and replaces what its name meant; a directory that two polls in a row miss is unloaded. One that cannot be
loaded changes nothing and is reported once.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactError, ArtifactMetadata
from geminifusion_service.errors import ModelLoadError, ModelMemoryError
from geminifusion_service.models.debounce import DirectoryDebouncer
from geminifusion_service.models.lifecycle import Lifecycle
from geminifusion_service.models.registry import ModelRegistry, ModelState, version_key
from geminifusion_service.models.repository import RepositoryUnreachableError, StoredVersion, read_stored, scan
from geminifusion_service.observability.metrics import Metrics

_log = logging.getLogger(__name__)

_POLLS_BEFORE_REMOVAL = 2  # in a row that miss a directory: network file systems lose one now and then


def newest_first(versions: list[StoredVersion]) -> list[StoredVersion]:
    """Sort by version, the newest first; see `version_key`."""
    return sorted(versions, key=lambda one: version_key(one.version), reverse=True)


class RepositoryWatch:
    """Keeps the newest versions of every name of a repository loaded. Calls must not overlap.

    Args:
        keep: versions of a name, at least 1.
        settle_s: see `DirectoryDebouncer`.
    """

    def __init__(
        self, root: Path, registry: ModelRegistry, lifecycle: Lifecycle, metrics: Metrics, *, keep: int, settle_s: float
    ) -> None:
        self._root = root
        self._registry = registry
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._keep = keep
        self._debouncer = DirectoryDebouncer(settle_s=settle_s)
        self._loaded: dict[str, tuple[StoredVersion, ArtifactMetadata]] = {}  # from here, by reference
        self._pinned: set[str] = set()  # references that were loaded by name and version, and stay
        self._missed: dict[str, int] = {}  # polls in a row that missed a loaded version
        self.reachable = True

    async def poll(self) -> dict[str, StoredVersion]:
        """List the versions in the repository, by reference; empty, with `reachable` False, if it cannot be read."""
        problem = ""
        try:
            seen = await self._lifecycle.run_in_loader_thread(lambda: scan(self._root))
        except RepositoryUnreachableError as error:
            seen, problem = {}, str(error)
        if not seen and not problem and self._loaded:
            # An unmounted folder looks empty; and nobody empties the folder to cause an outage.
            problem = f"the model repository {self._root} is empty, as if it were not mounted"
        if problem and self.reachable:
            _log.error("%s; loaded models go on serving", problem)
        if not problem and not self.reachable:
            _log.warning("the model repository %s can be read again", self._root)
        self.reachable = not problem
        self._metrics.models.repository_reachable.set(self.reachable)
        return seen

    async def sync(self, *, at_once: bool = False) -> None:
        """Poll once, and load and unload accordingly.

        Args:
            at_once: do not wait for a second poll before a new directory is loaded.
        """
        seen = await self.poll()
        if not self.reachable:
            return
        self._debouncer.retain(seen)
        for name in sorted({one.name for one in seen.values()}):
            versions = newest_first([one for one in seen.values() if one.name == name])
            try:
                await self._sync_name(versions, at_once=at_once)
            except Exception:  # of one name; it must not keep the others from their new versions
                _log.exception("%s could not be brought up to date; it is tried again at the next poll", name)
        self._retire_removed(seen)
        for status in self._registry.statuses():
            if status.state is ModelState.UNAVAILABLE and status.reference not in seen:
                self._registry.forget_status(status.reference)
                self._lifecycle.kept_unloaded.discard(status.reference)

    async def load(self, versions: list[StoredVersion], *, pinned: bool) -> None:
        """Load versions of one name now.

        Args:
            versions: the newest first.
            pinned: they stay until they are unloaded by request; otherwise they replace the other versions.

        Raises:
            ModelLoadError: one cannot be loaded; those before it were.
        """
        for one in versions:
            self._lifecycle.kept_unloaded.discard(one.reference)
            if not await self._is_loaded(one):
                await self._load(one)
            if pinned:
                self._pinned.add(one.reference)
        if not pinned:
            self._retire_surplus(versions[0].name, {one.reference for one in versions})

    async def _sync_name(self, versions: list[StoredVersion], *, at_once: bool) -> None:
        kept: set[str] = set()
        for one in versions:
            if len(kept) == self._keep:
                break
            if one.reference in self._lifecycle.kept_unloaded:
                continue
            if not await self._is_loaded(one) and self._debouncer.should_load(one, at_once=at_once):
                try:
                    await self._load(one)
                except ModelLoadError as error:
                    self._report(one, error)
            if one.reference in self._registry.references:
                kept.add(one.reference)
        self._retire_surplus(versions[0].name, kept)

    async def _load(self, stored: StoredVersion) -> None:
        try:
            metadata = await self._lifecycle.run_in_loader_thread(lambda: read_stored(stored))
        except ArtifactError as error:
            self._lifecycle.record_failure(stored.name, stored.version, str(error))
            raise ModelLoadError(str(error)) from error
        await self._lifecycle.load(stored.directory, name=stored.name, version=stored.version)
        self._loaded[stored.reference] = stored, metadata
        self._debouncer.forget(stored.reference)

    def _report(self, stored: StoredVersion, error: ModelLoadError) -> None:
        """Report that a version cannot be loaded; at a lower level while it may still be being copied."""
        damaged = isinstance(error.__cause__, ArtifactError)
        settled = self._debouncer.is_settled(stored)
        # A copy may still be completed, and memory may be released; other causes do not go away by themselves.
        permanent = settled if damaged else not isinstance(error, ModelMemoryError)
        news = self._debouncer.record_failure(stored, str(error), permanent=permanent)
        if damaged and not settled:
            _log.info("%s is not complete yet: %s", stored.reference, error)
        elif permanent or news:
            _log.error("%s is not served: %s", stored.reference, error)

    async def _is_loaded(self, stored: StoredVersion) -> bool:
        """Whether exactly this is loaded: a directory with other metadata is another model of the same reference."""
        reference = stored.reference
        if reference not in self._registry.references:
            self._loaded.pop(reference, None)
            return False
        if reference not in self._loaded:
            return True  # an artifact of that name and version, given with --artifact
        loaded, metadata = self._loaded[reference]
        if loaded.fingerprint == stored.fingerprint:
            return True
        try:
            if await self._lifecycle.run_in_loader_thread(lambda: read_stored(stored)) != metadata:
                return False
        except ArtifactError:
            return True  # damaged since; the loaded model is intact
        self._loaded[reference] = stored, metadata
        return True

    def _retire_surplus(self, name: str, kept: set[str]) -> None:
        """Unload versions of a name other than those kept, once one of those serves."""
        serving = kept & self._registry.references
        if not serving:
            return
        newest = max(serving, key=lambda reference: version_key(reference.partition("@")[2]))
        for reference in [one for one, (stored, _) in self._loaded.items() if stored.name == name]:
            if reference not in kept | self._pinned:
                self._retire(reference, f"{newest} took its place")

    def _retire_removed(self, seen: dict[str, StoredVersion]) -> None:
        for reference in list(self._loaded):
            if reference in seen:
                self._missed.pop(reference, None)
                continue
            self._missed[reference] = self._missed.get(reference, 0) + 1
            if self._missed[reference] >= _POLLS_BEFORE_REMOVAL:
                self._retire(reference, "it was removed from the repository")

    def _retire(self, reference: str, reason: str) -> None:
        self._missed.pop(reference, None)
        self._loaded.pop(reference, None)
        self._pinned.discard(reference)
        if reference in self._registry.references:
            self._lifecycle.retire(reference, reason)

    async def run(self, interval_s: float, changing: asyncio.Lock) -> None:
        """Poll at intervals until cancelled, whatever goes wrong."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                async with changing:
                    await self.sync()
            except Exception:
                _log.exception("polling the model repository failed; trying again in %g s", interval_s)

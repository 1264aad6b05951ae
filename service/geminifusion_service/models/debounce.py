"""Debouncing of version directories: when one of the repository is worth trying to load.

Copying a model takes a while, and a half-copied one looks like a damaged one. So a directory is left alone until two
polls in a row found it the same; if it cannot be loaded then, nothing is reported until it has not changed for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from geminifusion_service.models.repository import Fingerprint, StoredVersion


@dataclass(kw_only=True)
class _Observation:
    fingerprint: Fingerprint
    since: float
    retry_at: float = 0.0  # infinity once it is given up until it changes
    reported: str = ""


class DirectoryDebouncer:
    """Observations of each directory that is not loaded.

    Args:
        settle_s: how long a directory that cannot be loaded may stay unchanged before that is reported.
        clock: seconds, monotonic.
    """

    def __init__(self, *, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._observed: dict[str, _Observation] = {}

    def should_load(self, stored: StoredVersion, *, at_once: bool = False) -> bool:
        """Whether to try and load a directory now; `at_once` does not wait for a second poll."""
        known = self._observed.get(stored.reference)
        if known is None or known.fingerprint != stored.fingerprint:
            self._observed[stored.reference] = _Observation(fingerprint=stored.fingerprint, since=self._clock())
            return at_once
        return at_once or self._clock() >= known.retry_at

    def is_settled(self, stored: StoredVersion) -> bool:
        """Whether a directory has been unchanged for so long that nobody can be copying into it any more."""
        known = self._observed.get(stored.reference)
        return known is not None and self._clock() - known.since >= self._settle_s

    def record_failure(self, stored: StoredVersion, reason: str, *, permanent: bool) -> bool:
        """Remember a failed try, which is repeated once the directory changes or, unless `permanent`, has settled.

        Returns:
            Whether the reason is another than the last one.
        """
        known = self._observed.setdefault(
            stored.reference, _Observation(fingerprint=stored.fingerprint, since=self._clock())
        )
        known.retry_at = float("inf") if permanent else self._clock() + self._settle_s
        news = known.reported != reason
        known.reported = reason
        return news

    def forget(self, reference: str) -> None:
        """Forget a directory that was loaded."""
        self._observed.pop(reference, None)

    def retain(self, references: Collection[str]) -> None:
        """Forget every directory but those that are still there."""
        self._observed = {reference: known for reference, known in self._observed.items() if reference in references}

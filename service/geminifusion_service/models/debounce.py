"""When a version directory of the repository is worth trying to load.

Copying a model takes a while, and a half-copied one looks like a damaged one. So a directory is left alone until two
looks in a row found it the same; if it cannot be loaded then, that is kept quiet until it has not changed for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from geminifusion_service.models.repository import Fingerprint, StoredVersion


@dataclass(kw_only=True)
class _Sighting:
    fingerprint: Fingerprint
    since: float
    retry_at: float = 0.0  # infinity once it is given up until it changes
    reported: str = ""


class Sightings:
    """What is known of each directory that is not loaded.

    Args:
        settle_s: how long a directory that cannot be loaded may stay as it is before that is reported.
        clock: seconds, monotonic.
    """

    def __init__(self, *, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._seen: dict[str, _Sighting] = {}

    def worth_trying(self, stored: StoredVersion, *, at_once: bool = False) -> bool:
        """Whether to try and load a directory now; `at_once` does not wait for a second look."""
        known = self._seen.get(stored.reference)
        if known is None or known.fingerprint != stored.fingerprint:
            self._seen[stored.reference] = _Sighting(fingerprint=stored.fingerprint, since=self._clock())
            return at_once
        return at_once or self._clock() >= known.retry_at

    def settled(self, stored: StoredVersion) -> bool:
        """Whether a directory has been as it is for so long that nobody can be copying into it any more."""
        known = self._seen.get(stored.reference)
        return known is not None and self._clock() - known.since >= self._settle_s

    def failed(self, stored: StoredVersion, reason: str, *, for_good: bool) -> bool:
        """Remember a failed try, which is repeated once the directory changes or, unless `for_good`, has settled.

        Returns:
            Whether the reason is news.
        """
        known = self._seen.setdefault(stored.reference, _Sighting(fingerprint=stored.fingerprint, since=self._clock()))
        known.retry_at = float("inf") if for_good else self._clock() + self._settle_s
        news = known.reported != reason
        known.reported = reason
        return news

    def forget(self, reference: str) -> None:
        """It was loaded."""
        self._seen.pop(reference, None)

    def keep(self, references: Collection[str]) -> None:
        """Forget all that is not there any more."""
        self._seen = {reference: seen for reference, seen in self._seen.items() if reference in references}

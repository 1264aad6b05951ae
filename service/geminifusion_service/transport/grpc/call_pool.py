"""Calls that stay open: a bounded number at once, of which one ends for each that comes beyond it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from geminifusion_service.errors import QueueFullError


@dataclass(eq=False)
class _Place:
    peer: str
    limit: asyncio.Timeout
    is_taken: bool = False


class CallPool:
    """Places for calls. Use from one event loop.

    Args:
        size: calls at once.
        what: the calls, for the message to a client whose call ends.
    """

    def __init__(self, size: int, what: str) -> None:
        self._size = size
        self._what = what
        self._places: dict[_Place, None] = {}  # oldest first

    @asynccontextmanager
    async def place(self, peer: str) -> AsyncIterator[None]:
        """Run the block as one of the calls, for which another may have to end.

        Raises:
            QueueFullError: this call had to end for another one.
        """
        if len(self._places) >= self._size:
            self._end_one()
        place = None
        try:
            async with asyncio.timeout(None) as limit:
                place = _Place(peer, limit)
                self._places[place] = None
                yield
        except TimeoutError:
            if place is None or not place.is_taken:
                raise
            raise QueueFullError(
                f"this server takes {self._size} {self._what} at once and others came; try again in 1 s"
            ) from None
        finally:
            if place is not None:
                self._places.pop(place, None)

    def _end_one(self) -> None:
        """End the oldest call of the connection that has the most."""
        ((peer, _),) = Counter(place.peer for place in self._places).most_common(1)
        oldest = next(place for place in self._places if place.peer == peer)
        del self._places[oldest]
        oldest.is_taken = True
        oldest.limit.reschedule(asyncio.get_running_loop().time())

"""Calls that stay open: a bounded number at once, of which one ends for each that comes beyond it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from geminifusion_service.errors import QueueFullError

End = Callable[[QueueFullError], None]


@dataclass(eq=False, slots=True)
class _Place:
    peer: str
    end: End


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

    @contextmanager
    def place(self, peer: str, end: End) -> Iterator[None]:
        """Hold a place during the block, for which another call may have to end.

        Args:
            peer: as gRPC names it.
            end: has the block end with this error, for another call.
        """
        if len(self._places) >= self._size:
            self._end_one()
        place = _Place(peer, end)
        self._places[place] = None
        try:
            yield
        finally:
            self._places.pop(place, None)

    @asynccontextmanager
    async def interruptible_place(self, peer: str) -> AsyncIterator[None]:
        """`place` for a block that is cancelled where it has to end.

        Raises:
            QueueFullError: it had to.
        """
        ended: list[QueueFullError] = []
        limit = asyncio.timeout(None)

        def end(error: QueueFullError) -> None:
            ended.append(error)
            limit.reschedule(asyncio.get_running_loop().time())

        try:
            async with limit:
                with self.place(peer, end):
                    yield
        except TimeoutError:
            if not ended:
                raise
            raise ended.pop() from None

    def _end_one(self) -> None:
        """End the oldest call of the connection that has the most."""
        ((peer, _),) = Counter(place.peer for place in self._places).most_common(1)
        oldest = next(place for place in self._places if place.peer == peer)
        del self._places[oldest]
        oldest.end(
            QueueFullError(f"this server takes {self._size} {self._what} at once and others came; try again in 1 s")
        )

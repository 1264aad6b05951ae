"""Colour images and the depth that was taken nearest to each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Colour images that wait for later depth, which may be written late; so many frames are in memory.
_MOST_WAITING = 32
_MOST_DEPTHS = 64


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """A message and when its image was taken, in nanoseconds."""

    stamp_ns: int
    content: Any


@dataclass(frozen=True, kw_only=True)
class StampedPair:
    """A colour image and the depth nearest to it; None where none is near enough.

    Attributes:
        number: of the colour image, counted from 0.
    """

    number: int
    color: Stamped
    depth: Stamped | None

    @property
    def offset_ns(self) -> int:
        """How much later the depth was taken."""
        return 0 if self.depth is None else self.depth.stamp_ns - self.color.stamp_ns


def pair_by_stamp(images: Iterable[tuple[bool, Stamped]], max_offset_ns: int) -> Iterator[StampedPair]:
    """Pair every colour image with the depth nearest in time; one depth may serve several.

    Args:
        images: whether it is the colour image, and the image, as they were recorded; the stamps of each kind grow.
        max_offset_ns: longest time between the two.
    """
    waiting: deque[tuple[int, Stamped]] = deque()
    depths: deque[Stamped] = deque(maxlen=_MOST_DEPTHS)
    number = 0
    for is_color, image in images:
        if is_color:
            waiting.append((number, image))
            number += 1
        else:
            depths.append(image)
        newest = depths[-1].stamp_ns if depths else None
        while waiting and (len(waiting) > _MOST_WAITING or (newest is not None and newest >= waiting[0][1].stamp_ns)):
            yield _pair(*waiting.popleft(), depths, max_offset_ns)
    while waiting:
        yield _pair(*waiting.popleft(), depths, max_offset_ns)


def _pair(number: int, color: Stamped, depths: deque[Stamped], max_offset_ns: int) -> StampedPair:
    nearest = min(depths, key=lambda depth: abs(depth.stamp_ns - color.stamp_ns), default=None)
    if nearest is not None and abs(nearest.stamp_ns - color.stamp_ns) > max_offset_ns:
        nearest = None
    while len(depths) > 1 and depths[1].stamp_ns <= color.stamp_ns:  # too old for any colour image to come
        depths.popleft()
    return StampedPair(number=number, color=color, depth=nearest)

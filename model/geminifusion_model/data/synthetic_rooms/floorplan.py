"""The free floor and wall of a room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from geminifusion_model.data.synthetic_rooms.builder import Builder
from geminifusion_model.data.synthetic_rooms.shapes import Frame


class Footprint(NamedTuple):
    """Floor taken by something, metres, and its height."""

    x0: float
    y0: float
    x1: float
    y1: float
    height: float


@dataclass
class Floor:
    """Free floor and free wall of the room being furnished."""

    b: Builder
    size: tuple[float, float, float]
    taken: list[Footprint] = field(default_factory=list)
    # Per wall: from, to, bottom, top of what hides it.
    hidden: list[list[tuple[float, float, float, float]]] = field(default_factory=lambda: [[], [], [], []])

    def wall(self, number: int) -> Frame:
        """The wall's frame: x along it, y into the room."""
        w, d, _ = self.size
        corner = [(0, 0), (w, 0), (w, d), (0, d)][number]
        return Frame(np.array([*corner, 0], np.float32)).turned(number * np.pi / 2)

    def length(self, number: int) -> float:
        """Length of the wall, metres."""
        return self.size[number % 2]

    def along_wall(
        self,
        width: float,
        depth: float,
        height: float,
        *,
        wall: int | None = None,
        bottom: float = 0.0,
        near: float | None = None,
    ) -> tuple[Frame, int, float] | None:
        """A free place on a wall for a thing of this size: its frame, the wall, and the place along it."""
        for _ in range(14):
            number = int(self.b.rng.integers(4)) if wall is None else wall
            spare = self.length(number) - width
            if spare <= 0.02:
                continue
            x = self.b.between(width / 2, self.length(number) - width / 2)
            if near is not None:
                x = float(np.clip(near + self.b.rng.normal(0, 0.25), width / 2, self.length(number) - width / 2))
            elif bottom == 0 and self.b.chance(0.35):
                x = width / 2 + 0.02 if self.b.chance(0.5) else self.length(number) - width / 2 - 0.02
            span = (x - width / 2, x + width / 2, bottom, bottom + height)
            if any(span[0] < q and p < span[1] and span[2] < s and r < span[3] for p, q, r, s in self.hidden[number]):
                continue
            frame = self.wall(number).moved(x, 0.005, bottom)
            footprint = _footprint(frame, width, (0, depth), bottom + height)
            if bottom < 1.3 and depth > 0.15 and not self.is_free(footprint, 0.02):
                continue
            self.hidden[number].append(span)
            if depth > 0.15 and bottom < 1.3:
                self.taken.append(footprint)
            return frame, number, x
        return None

    def on_floor(self, frame: Frame, width: float, y: tuple[float, float], height: float, margin: float = 0.05) -> bool:
        """Occupy this place if nothing stands there and it is inside the room."""
        footprint = _footprint(frame, width, y, height)
        inside = (
            min(footprint.x0, footprint.y0) > 0.05
            and footprint.x1 < self.size[0] - 0.05
            and footprint.y1 < self.size[1] - 0.05
        )
        if not inside or not self.is_free(footprint, margin):
            return False
        self.taken.append(footprint)
        return True

    def somewhere(self, width: float, depth: float, height: float, margin: float = 0.1) -> Frame | None:
        """A free place away from the walls, turned by a quarter or two."""
        for _ in range(12):
            at = Frame(np.array([self.b.between(0, self.size[0]), self.b.between(0, self.size[1]), 0], np.float32))
            at = at.turned(float(self.b.rng.integers(4)) * np.pi / 2 + self.b.rng.normal(0, 0.08))
            if self.on_floor(at, width, (-depth / 2, depth / 2), height, margin):
                return at
        return None

    def is_free(self, wanted: Footprint, margin: float) -> bool:
        """True if nothing else stands there."""
        return not any(
            wanted.x0 < other.x1 + margin
            and other.x0 < wanted.x1 + margin
            and wanted.y0 < other.y1 + margin
            and other.y0 < wanted.y1 + margin
            for other in self.taken
        )


def _footprint(frame: Frame, width: float, y: tuple[float, float], height: float) -> Footprint:
    corners = np.array([(x, v, 0) for x in (-width / 2, width / 2) for v in y], np.float32)
    world = frame.origin + corners @ frame.axes.T
    low, high = world.min(0), world.max(0)
    return Footprint(float(low[0]), float(low[1]), float(high[0]), float(high[1]), height)

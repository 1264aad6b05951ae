"""Collects the shapes of a scene, the surfaces on which things can be placed, and the lamps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from geminifusion_model.data.nyuv2 import CLASSES_13
from geminifusion_model.data.synthetic_rooms.materials import Array, Material, Painter
from geminifusion_model.data.synthetic_rooms.shapes import Frame, Shape, Triple, box, frustum, rounded

(
    BED, BOOKS, CEILING, CHAIR, FLOOR, FURNITURE, OBJECTS, PICTURE, SOFA, TABLE, TV, WALL, WINDOW,
) = range(len(CLASSES_13))  # fmt: skip


class Surface(NamedTuple):
    """A level place to put things: from -x to x and from 0 to y in its frame, metres, with room above."""

    frame: Frame
    half_x: float
    y: float
    headroom: float


class Lamp(NamedTuple):
    """A light: where (world, metres), color of its light, power."""

    position: Array
    color: Array
    power: float


@dataclass
class Builder:
    """Collects a scene.

    Args:
        rng: the scene's random generator.
        paint: its materials.
    """

    rng: np.random.Generator
    paint: Painter
    shapes: list[Shape] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Rooms are furnished in sets: most wooden things share one of two woods, most cloth one of two cloths.
        self._sets = {stuff: [self.paint.material(stuff) for _ in range(2)] for stuff in ("wood", "fabric", "hard")}

    def stuff(self, name: str, gloss: float = 0.0) -> Material:
        """A material of the room's sets, or sometimes a new one."""
        if name in self._sets and gloss == 0 and self.chance(0.6):
            return self.paint.shifted(self._sets[name][int(self.rng.integers(2))])
        return self.paint.material(name, gloss=gloss)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """A uniform random number in the range."""
        return float(self.rng.uniform(low, high))

    def box(self, frame: Frame, low: Triple, high: Triple, label: int, material: Material) -> None:
        """Add a box."""
        self.shapes.append(box(frame, low, high, label, material))

    def cushion(
        self,
        frame: Frame,
        low: Triple,
        high: Triple,
        label: int,
        material: Material,
        powers: tuple[int, int, int] = (6, 6, 6),
    ) -> None:
        """Add a rounded box or an egg."""
        self.shapes.append(rounded(frame, low, high, label, material, powers))

    def round(
        self,
        frame: Frame,
        bottom: Triple,
        height: float,
        radii: tuple[float, float],
        label: int,
        material: Material,
    ) -> None:
        """Add a cylinder or a cone cut off."""
        self.shapes.append(frustum(frame, bottom, height, radii, label, material))

    def legs(
        self,
        frame: Frame,
        half_x: float,
        y: tuple[float, float],
        height: float,
        thick: float,
        label: int,
        material: Material,
    ) -> None:
        """Four legs under the corners."""
        for x in (-half_x + thick, half_x - thick):
            for depth in (y[0] + thick, y[1] - thick):
                self.box(
                    frame,
                    (x - thick / 2, depth - thick / 2, 0),
                    (x + thick / 2, depth + thick / 2, height),
                    label,
                    material,
                )

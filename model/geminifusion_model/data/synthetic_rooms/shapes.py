"""The three convex solids everything is built of, and where a ray enters them.

A solid is the image of a body inside the cube [-1, 1]³ under `world = center + axes · (half * local)`. Axes of a frame:
x along, y out of the wall, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.synthetic_rooms.materials import Material

Array = NDArray[np.float32]
Triple = tuple[float, float, float]

BOX, ROUNDED, FRUSTUM = 0, 1, 2
_NEWTON_STEPS = 7


@dataclass(frozen=True)
class Shape:
    """One solid.

    Args:
        kind: `BOX`; `ROUNDED`, |x|^p + |y|^q + |z|^r ≤ 1; or `FRUSTUM`, a cone cut off, its wide end of radius 1.
        center: `3` metres.
        axes: `3 3`, columns are the local axes in the world.
        half: `3` metres, half the extent along each local axis.
        label: class index.
        material: of its surface.
        powers: p, q, r of `ROUNDED`, even.
        radii: of `FRUSTUM` at the bottom and the top, the larger is 1.
        casts_shadow: lamps do not shade their own light.
    """

    kind: int
    center: Array
    axes: Array
    half: Array
    label: int
    material: Material
    powers: tuple[int, int, int] = (2, 2, 2)
    radii: tuple[float, float] = (1.0, 1.0)
    casts_shadow: bool = True


@dataclass(frozen=True)
class Frame:
    """A place to build at: an origin and three axes.

    Args:
        origin: `3` metres in the world.
        axes: `3 3`, columns are the local axes in the world.
    """

    origin: Array = field(default_factory=lambda: np.zeros(3, np.float32))
    axes: Array = field(default_factory=lambda: np.eye(3, dtype=np.float32))

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Frame:
        """The frame shifted along its own axes, metres."""
        return Frame(self.origin + self.axes @ np.array([x, y, z], np.float32), self.axes)

    def turned(self, angle: float, axis: int = 2) -> Frame:
        """The frame turned about its own x, y or z, radians."""
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.eye(3, dtype=np.float32)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn[i, i] = turn[j, j] = cosine
        turn[i, j], turn[j, i] = -sine, sine
        return Frame(self.origin, self.axes @ turn)


def box(frame: Frame, low: Triple, high: Triple, label: int, material: Material, casts_shadow: bool = True) -> Shape:
    """A box between two corners given in the frame, metres."""
    center, half = _span(frame, low, high)
    return Shape(BOX, center, frame.axes, half, label, material, casts_shadow=casts_shadow)


def rounded(
    frame: Frame,
    low: Triple,
    high: Triple,
    label: int,
    material: Material,
    powers: tuple[int, int, int] = (6, 6, 6),
) -> Shape:
    """A cushion (high powers), an egg (2, 2, 2) or anything between, inside the box between two corners."""
    center, half = _span(frame, low, high)
    return Shape(ROUNDED, center, frame.axes, half, label, material, powers=powers)


def frustum(
    frame: Frame,
    bottom: Triple,
    height: float,
    radii: tuple[float, float],
    label: int,
    material: Material,
    casts_shadow: bool = True,
) -> Shape:
    """A round upright thing: leg, bottle, shade; `radii` at the bottom and the top, metres."""
    wide = max(radii)
    x, y, z = bottom
    center, half = _span(frame, (x - wide, y - wide, z), (x + wide, y + wide, z + height))
    unit = (radii[0] / wide, radii[1] / wide)
    return Shape(FRUSTUM, center, frame.axes, half, label, material, radii=unit, casts_shadow=casts_shadow)


def _span(frame: Frame, low: Triple, high: Triple) -> tuple[Array, Array]:
    a, b = np.array(low, np.float32), np.array(high, np.float32)
    center = frame.origin + frame.axes @ ((a + b) / 2)
    half = np.maximum(np.abs(b - a) / 2, np.float32(1e-3))
    return center.astype(np.float32), half.astype(np.float32)


def outside(shape: Shape, p: Array) -> Array:
    """A convex function of local points `3 …`: positive outside the body, zero on its side."""
    if shape.kind == ROUNDED:
        value = np.full(p.shape[1:], -1, np.float32)
        for coordinate, power in zip(p, shape.powers, strict=True):
            value += _power(coordinate, power)
        return value
    middle, slope = _cone(shape)
    return np.asarray(np.sqrt(p[0] ** 2 + p[1] ** 2) - (middle + slope * p[2]), np.float32)


def gradient(shape: Shape, p: Array) -> Array:
    """Gradient of `outside`, `3 …`; on the flat ends of a frustum their normal."""
    if shape.kind == ROUNDED:
        return np.stack([np.float32(k) * c * _power(c, k - 2) for c, k in zip(p, shape.powers, strict=True)])
    _, slope = _cone(shape)
    radius = np.maximum(np.sqrt(p[0] ** 2 + p[1] ** 2), np.float32(1e-6))
    return np.stack([p[0] / radius, p[1] / radius, np.full_like(radius, -slope)])


def surface_normal(shape: Shape, p: Array) -> Array:
    """Outward direction in local coordinates at points on the surface, `3 …`, of no particular length."""
    normal = gradient(shape, p)
    if shape.kind == FRUSTUM:
        on_end = np.abs(p[2]) - 1 > outside(shape, p)
        normal = np.where(on_end, np.stack([0 * p[0], 0 * p[1], np.sign(p[2])]), normal)
    return normal


def enter(shape: Shape, origin: Array, direction: Array, near: Array, far: Array) -> Array:
    """Enter the body along rays: distances as multiples of `direction`, infinite where rays miss.

    Newton's method from the entry into the enclosing cube: along a ray `outside` is convex, so the steps
    approach the first root and never pass it.

    Args:
        origin: `3`, local.
        direction: `3 N`, local.
        near, far: `N`, where the rays enter and leave the cube.
    """
    t = near.copy()
    for _ in range(_NEWTON_STEPS):
        point = origin[:, None] + t * direction
        value = outside(shape, point)
        slope = (gradient(shape, point) * direction).sum(0)
        falling = (value > 0) & (slope < 0)
        t -= np.where(falling, value / np.where(falling, slope, 1), 0)
    missed = (outside(shape, origin[:, None] + t * direction) > 0.02) | (t > far)
    return np.where(missed, np.float32(np.inf), t)


def _power(values: Array, power: int) -> Array:
    """values ** power for the even powers in use, much faster than numpy's general one."""
    if power == 0:
        return np.ones_like(values)
    square = values * values
    result = square
    for _ in range(power // 2 - 1):
        result = result * square
    return result


def _cone(shape: Shape) -> tuple[np.float32, np.float32]:
    bottom, top = shape.radii
    return np.float32((bottom + top) / 2), np.float32((top - bottom) / 2)

"""What stands in a street: objects that are labeled, their doubles that are not, and scenery, each made of parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.data.streets.parts import SCENERY, Parts

# (share along, share up) from … to of length and height, and the share of the width
_CAR_BODY = ((0.0, 1.0), (0.16, 0.62), 1.0)
_CAR_CABIN = ((0.08, 0.68), (0.62, 1.0), 0.88)
_CAR_BELOW = ((0.06, 0.94), (0.0, 0.16), 0.9)
_PERSON = (((0.2, 0.8), (0.0, 0.47), 0.7), ((0.0, 1.0), (0.47, 0.86), 1.0), ((0.3, 0.7), (0.86, 1.0), 0.45))
_CYCLE = (((0.0, 1.0), (0.0, 0.5), 0.3), ((0.3, 0.65), (0.45, 0.86), 1.0), ((0.38, 0.57), (0.86, 1.0), 0.5))

_DARK = (0.06, 0.06, 0.07)
_GLASS = (0.11, 0.14, 0.2)
_SKIN = (0.78, 0.56, 0.44)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something with a box, in axes of the road: x along it, y to the left, z up from the ground.

    Attributes:
        kind: KITTI's type of a labeled object; empty for a double or scenery.
        place: x and y of the middle in metres.
        size: length, width and height in metres.
        yaw: radians.
        colors: of its parts, from below: see `parts_of`.
        shape: `car`, `heap` (a car's, without lights), `person`, `cycle`, `house` or `box`.
        reflectance: of its main part.
    """

    kind: str
    place: tuple[float, float]
    size: tuple[float, float, float]
    yaw: float
    colors: tuple[tuple[float, float, float], ...]
    shape: str
    reflectance: float = 0.3


def car(rng: np.random.Generator, place: tuple[float, float], yaw: float, *, double: bool = False) -> Thing:
    """A car, or a heap of rubble or hay of the same shape: of one dull color, without windows, lights or wheels."""
    size = (rng.normal(3.9, 0.3), rng.normal(1.63, 0.08), rng.normal(1.53, 0.1))
    if double:
        dull = tuple((np.array([0.33, 0.27, 0.17]) * rng.uniform(0.7, 1.3)).tolist())
        return Thing(kind="", place=place, size=size, yaw=yaw, colors=(dull, dull, dull), shape="heap")
    return Thing(kind="Car", place=place, size=size, yaw=yaw, colors=(_DARK, _paint(rng), _GLASS), shape="car")


def large_vehicle(rng: np.random.Generator, place: tuple[float, float], yaw: float) -> Thing:
    """A van, or now and then a truck."""
    if rng.random() < 0.15:
        kind, size = "Truck", (rng.normal(8.5, 1), rng.normal(2.5, 0.1), rng.normal(3.2, 0.2))
    else:
        kind, size = "Van", (rng.normal(5.0, 0.4), rng.normal(1.9, 0.1), rng.normal(2.2, 0.15))
    return Thing(kind=kind, place=place, size=size, yaw=yaw, colors=(_DARK, _paint(rng), _GLASS), shape="car")


def person(rng: np.random.Generator, place: tuple[float, float], yaw: float, *, double: bool = False) -> Thing:
    """A pedestrian, or a post of the same shape: gray from the ground to its top."""
    size = (rng.normal(0.8, 0.1), rng.normal(0.62, 0.07), rng.normal(1.74, 0.1))
    if double:
        return Thing(kind="", place=place, size=size, yaw=yaw, colors=_gray(rng), shape="person")
    colors = (_cloth(rng, 0.35), _cloth(rng, 0.75), _SKIN)
    return Thing(kind="Pedestrian", place=place, size=size, yaw=yaw, colors=colors, shape="person")


def cyclist(rng: np.random.Generator, place: tuple[float, float], yaw: float, *, double: bool = False) -> Thing:
    """A cyclist, or a stand of the same shape, gray all over."""
    size = (rng.normal(1.76, 0.1), rng.normal(0.6, 0.05), rng.normal(1.74, 0.09))
    if double:
        return Thing(kind="", place=place, size=size, yaw=yaw, colors=_gray(rng), shape="cycle")
    colors = (_DARK, _cloth(rng, 0.8), _SKIN)
    return Thing(kind="Cyclist", place=place, size=size, yaw=yaw, colors=colors, shape="cycle")


def scenery(
    place: tuple[float, float],
    size: tuple[float, float, float],
    color: tuple[float, float, float],
    *,
    shape: str = "box",
) -> Thing:
    """A house, a trunk or a hedge."""
    return Thing(kind="", place=place, size=size, yaw=0.0, colors=(color, color, color), shape=shape, reflectance=0.25)


def parts_of(things: list[Thing], heights: list[float], ground: float) -> Parts:
    """The parts of all things, whose owners are their indices where they are labeled.

    Args:
        heights: of the bottom of each above the ground.
        ground: z of the ground.
    """
    rows: list[tuple[NDArray[np.float32], int]] = []
    for index, (thing, bottom) in enumerate(zip(things, heights, strict=True)):
        for place, (along, up, across) in enumerate(_shape(thing)):
            length, width, height = thing.size
            ahead = (sum(along) / 2 - 0.5) * length
            x = thing.place[0] + ahead * math.cos(thing.yaw)
            y = thing.place[1] + ahead * math.sin(thing.yaw)
            z = ground + bottom + sum(up) / 2 * height
            halves = (along[1] - along[0]) * length / 2, across * width / 2, (up[1] - up[0]) * height / 2
            is_body = thing.shape == "car" and place == 1
            numbers = (x, y, z, *halves, thing.yaw, *thing.colors[place], thing.reflectance, is_body)
            rows.append((np.array(numbers, np.float32), index))
    table = np.stack([numbers for numbers, _ in rows])
    owner = np.array([index if things[index].kind else SCENERY for _, index in rows], np.int64)
    return Parts(
        centers=table[:, :3],
        halves=table[:, 3:6],
        yaws=table[:, 6],
        colors=table[:, 7:10],
        reflectances=table[:, 10],
        owners=owner,
        lit=table[:, 11] > 0,
        windows=np.array([things[index].shape == "house" for _, index in rows], bool),
    )


_Part = tuple[tuple[float, float], tuple[float, float], float]


def _shape(thing: Thing) -> tuple[_Part, ...]:
    if thing.shape == "person":
        return _PERSON
    if thing.shape == "cycle":
        return _CYCLE
    if thing.shape in ("car", "heap"):
        return (_CAR_BELOW, _CAR_BODY, _CAR_CABIN)
    return (((0.0, 1.0), (0.0, 1.0), 1.0),)


def _paint(rng: np.random.Generator) -> tuple[float, float, float]:
    if rng.random() < 0.5:
        gray = float(rng.choice([0.08, 0.45, 0.62, 0.85]))
        return gray, gray, gray * 1.03
    return _hue(rng, 0.55, 0.6)


def _cloth(rng: np.random.Generator, brightness: float) -> tuple[float, float, float]:
    return _hue(rng, brightness * rng.uniform(0.7, 1.1), 0.75)


def _gray(rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    gray = float(rng.uniform(0.3, 0.6))
    return ((gray, gray, gray),) * 3


def _hue(rng: np.random.Generator, brightness: float, saturation: float) -> tuple[float, float, float]:
    phase = rng.uniform(0, 2 * math.pi)
    channels = [brightness * (1 - saturation / 2 + saturation / 2 * math.cos(phase + turn)) for turn in (0, 2.1, 4.2)]
    return channels[0], channels[1], channels[2]

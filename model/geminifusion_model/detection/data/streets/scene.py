"""What stands where in a street: a straight road with pavements, houses, traffic, and people on them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geminifusion_model.detection.data.streets.parts import Parts
from geminifusion_model.detection.data.streets.things import (
    Thing,
    car,
    cyclist,
    large_vehicle,
    parts_of,
    person,
    scenery,
)
from geminifusion_runtime.detection.overlaps import footprint_intersections

GROUND_M = -1.73  # z of the ground in LiDAR axes, as KITTI's car carries it
_NEAREST_M, _REACH_M = 5.0, 70.0
_PEOPLE_REACH_M = 50.0  # as far as they are high enough in KITTI's image to count
_GAP_M = 0.3  # between things
_TRIES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A street around the sensors, in LiDAR axes.

    Attributes:
        things: in axes of the road.
        parts: of all of them.
        half_road, half_street: metres from the middle of the road to its edge, and to the pavement's.
        heading: radians of the road in LiDAR axes; `offset`: metres from the middle of the road to the sensors.
        cloudiness: 0…1.
    """

    things: tuple[Thing, ...]
    parts: Parts
    half_road: float
    half_street: float
    heading: float
    offset: float
    cloudiness: float

    @property
    def labeled(self) -> list[int]:
        """Indices of the things that have a label."""
        return [index for index, thing in enumerate(self.things) if thing.kind]

    def box(self, index: int) -> list[float]:
        """The box of a thing: x, y, z of the bottom, dx, dy, dz, yaw in LiDAR axes."""
        thing = self.things[index]
        cosine, sine = math.cos(self.heading), math.sin(self.heading)
        x, y = thing.place[0], thing.place[1] - self.offset
        return [x * cosine - y * sine, x * sine + y * cosine, GROUND_M, *thing.size, thing.yaw + self.heading]


class _Maker(Protocol):
    """`person` or `cyclist`."""

    def __call__(
        self, rng: np.random.Generator, place: tuple[float, float], yaw: float, *, double: bool = False
    ) -> Thing: ...


class _Builder:
    def __init__(self, rng: np.random.Generator, offset: float) -> None:
        self.rng, self.offset = rng, offset
        self.things: list[Thing] = []
        self.bottoms: list[float] = []

    def put(self, thing: Thing, bottom: float = 0.0, *, free: bool = True) -> bool:
        """Add a thing, unless it has to stand free and does not."""
        if free and not self._is_free(thing):
            return False
        self.things.append(thing)
        self.bottoms.append(bottom)
        return True

    def _is_free(self, thing: Thing) -> bool:
        x, y = thing.place[0], thing.place[1] - self.offset
        if math.hypot(x, y) < _NEAREST_M:
            return False
        others = [_footprint(each) for each in self.things]
        if not others:
            return True
        grown = dataclasses.replace(thing, size=(thing.size[0] + _GAP_M, thing.size[1] + _GAP_M, thing.size[2]))
        return not footprint_intersections(np.array([_footprint(grown)]), np.array(others)).any()


def street(rng: np.random.Generator) -> Scene:
    """A random street."""
    half_road = float(rng.uniform(3.6, 5.6))
    half_street = half_road + float(rng.uniform(2.2, 4.0))
    offset = float(rng.uniform(-half_road / 2, 0.0))
    builder = _Builder(rng, offset)
    _houses(builder, half_street)
    _parked(builder, half_road)
    _traffic(builder, half_road)
    for number, make in ((rng.integers(3, 10), person), (rng.integers(1, 6), cyclist)):
        _people(builder, half_road, half_street, int(number), make)
    heading = float(rng.normal(0, 0.05))
    parts = parts_of(builder.things, builder.bottoms, GROUND_M)
    return Scene(
        things=tuple(builder.things),
        parts=_turned(parts, heading, offset),
        half_road=half_road,
        half_street=half_street,
        heading=heading,
        offset=offset,
        cloudiness=float(rng.random()),
    )


def _houses(builder: _Builder, half_street: float) -> None:
    rng = builder.rng
    for side in (-1, 1):
        x = float(rng.uniform(-8, 6))
        while x < _REACH_M + 20:
            length, depth, height = rng.uniform(8, 18), rng.uniform(6, 10), rng.uniform(4, 12)
            away = half_street + rng.uniform(0.5, 5)
            color = tuple(rng.uniform(0.25, 0.75, 3).tolist())
            place = (x + length / 2, side * (away + depth / 2))
            builder.put(scenery(place, (length, depth, height), color, shape="house"), free=False)
            x += length + rng.uniform(0.5, 12)
        for _ in range(int(rng.integers(1, 6))):
            x, y = float(rng.uniform(4, _REACH_M)), side * (half_street - 0.5)
            crown, trunk = float(rng.uniform(1.6, 3.2)), float(rng.uniform(1.8, 2.6))
            if builder.put(scenery((x, y), (0.3, 0.3, trunk), (0.28, 0.2, 0.13))):
                green = (0.12, float(rng.uniform(0.25, 0.45)), 0.12)
                builder.put(scenery((x, y), (crown, crown, crown), green), trunk, free=False)


def _parked(builder: _Builder, half_road: float) -> None:
    rng = builder.rng
    for side in (-1, 1):
        density = rng.uniform(0.2, 0.8)
        x = float(rng.uniform(4, 10))
        while x < _REACH_M:
            if rng.random() < density:
                yaw = rng.normal(0, 0.03) + (math.pi if rng.random() < 0.5 else 0)
                place = (x, side * (half_road - 1.1))
                draw = rng.random()
                if draw < 0.15:
                    builder.put(large_vehicle(rng, place, yaw))
                else:
                    builder.put(car(rng, place, yaw, double=draw > 0.82))
            x += rng.uniform(5.5, 9)


def _traffic(builder: _Builder, half_road: float) -> None:
    rng = builder.rng
    for _ in range(int(rng.integers(2, 7))):
        side = 1 if rng.random() < 0.5 else -1  # those on the left come towards us
        place = (float(rng.uniform(8, _REACH_M)), side * half_road / 3 + rng.normal(0, 0.2))
        yaw = rng.normal(0, 0.06) + (math.pi if side > 0 else 0)
        if rng.random() < 0.12:
            yaw, place = yaw + math.pi / 2, (place[0], float(rng.uniform(-half_road, half_road)))
        builder.put(large_vehicle(rng, place, yaw) if rng.random() < 0.12 else car(rng, place, yaw))


def _people(builder: _Builder, half_road: float, half_street: float, number: int, make: _Maker) -> None:
    """So many people, most of them on the pavement, and on average as many doubles."""
    rng = builder.rng
    doubles = int(rng.integers(0, 2 * number + 1))
    for index in range(number + doubles):
        for _ in range(_TRIES):
            x = float(rng.uniform(_NEAREST_M, _PEOPLE_REACH_M))
            on_road = rng.random() < 0.15
            away = rng.uniform(0, half_road) if on_road else rng.uniform(half_road, half_street)
            place = (x, float(away * (1 if rng.random() < 0.5 else -1)))
            thing = make(rng, place, rng.uniform(-math.pi, math.pi), double=index >= number)
            if builder.put(thing):
                break


def _footprint(thing: Thing) -> tuple[float, ...]:
    return (*thing.place, 0.0, *thing.size, thing.yaw)


def _turned(parts: Parts, heading: float, offset: float) -> Parts:
    """Parts of the road's axes in LiDAR axes."""
    cosine, sine = math.cos(heading), math.sin(heading)
    centers = parts.centers.copy()
    x, y = parts.centers[:, 0], parts.centers[:, 1] - np.float32(offset)
    centers[:, 0], centers[:, 1] = x * cosine - y * sine, x * sine + y * cosine
    return dataclasses.replace(parts, centers=centers, yaws=parts.yaws + np.float32(heading))

"""A furnished room: its sides, furniture, fixtures and clutter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geminifusion_model.data.synthetic_rooms import cabinets, clutter, fixtures
from geminifusion_model.data.synthetic_rooms.builder import CEILING, FLOOR, WALL, Builder, Lamp
from geminifusion_model.data.synthetic_rooms.floorplan import Floor, Footprint
from geminifusion_model.data.synthetic_rooms.interiors import FURNISH
from geminifusion_model.data.synthetic_rooms.materials import Array, Painter
from geminifusion_model.data.synthetic_rooms.shapes import Frame, Shape
from geminifusion_model.data.synthetic_rooms.textures import PatternBank

_KINDS = {"bedroom": 0.28, "living": 0.24, "kitchen": 0.14, "dining": 0.13, "office": 0.14, "bathroom": 0.07}


@dataclass(frozen=True)
class Scene:
    """A furnished room.

    Args:
        kind: bedroom, living, kitchen, dining, office or bathroom.
        size: `3` metres; the room is [0, size]³, z up.
        shapes: all shapes of the room, its six sides first.
        lamps: lights, the one that casts shadows first.
        footprints: the occupied floor.
    """

    kind: str
    size: Array
    shapes: tuple[Shape, ...]
    lamps: tuple[Lamp, ...]
    footprints: tuple[Footprint, ...]


def furnished_room(rng: np.random.Generator, bank: PatternBank) -> Scene:
    """A random room with all that is in it."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    b = Builder(rng, Painter(rng, bank))
    small = kind in {"bathroom", "kitchen"}
    size = (
        b.between(2.4, 3.8) if small else b.between(3.0, 5.2),
        b.between(2.8, 4.4) if small else b.between(3.2, 6.0),
        b.between(2.35, 2.9),
    )
    _sides(b, size)
    floor = Floor(b, size)
    if b.chance(0.3):
        _chimney_or_pillar(floor)
    entrance = floor.along_wall(1.0, 0.1, 2.1)
    if entrance is not None:
        fixtures.door(b, entrance[0], b.between(0.75, 0.9), b.between(1.98, 2.08))
    middle = Frame(np.array([size[0] / 2, size[1] / 2, size[2]], np.float32))
    fixtures.ceiling_light(b, middle.moved(b.between(-0.6, 0.6), b.between(-0.6, 0.6)))
    if b.chance(0.08):
        fixtures.beams(b, size)
    FURNISH[kind](floor)
    _walls(floor, kind)
    _floor_things(floor, kind)
    for surface in b.surfaces:
        area = 2 * surface.half_x * surface.y
        clutter.furnish(b, surface, min(9, int(rng.poisson(0.6 + 6.0 * area))))
    for number in range(4):
        fixtures.mouldings(b, floor.wall(number), floor.length(number), size[2])
    return Scene(kind, np.array(size, np.float32), tuple(b.shapes), tuple(b.lamps), tuple(floor.taken))


def _sides(b: Builder, size: tuple[float, float, float]) -> None:
    w, d, h = size
    wall = b.paint.material("wall")
    walls = [wall, wall, wall, b.paint.material("wall") if b.chance(0.3) else wall]
    at = Frame()
    t = 0.1
    b.box(at, (-t, 0, 0), (0, d, h), WALL, walls[0])
    b.box(at, (w, 0, 0), (w + t, d, h), WALL, walls[1])
    b.box(at, (0, -t, 0), (w, 0, h), WALL, walls[2])
    b.box(at, (0, d, 0), (w, d + t, h), WALL, walls[3])
    b.box(at, (0, 0, -t), (w, d, 0), FLOOR, b.paint.material("floor", gloss=b.between(0, 0.35)))
    b.box(at, (0, 0, h), (w, d, h + t), CEILING, b.paint.material("hard" if b.chance(0.85) else "floor"))


def _chimney_or_pillar(floor: Floor) -> None:
    """Let part of a wall stand out, so that not every room is a plain box."""
    b, height = floor.b, floor.size[2]
    wide, deep = b.between(0.4, 1.4), b.between(0.2, 0.6)
    place = floor.along_wall(wide, deep, height)
    if place is not None:
        b.box(place[0], (-wide / 2, -0.02, 0), (wide / 2, deep, height), WALL, b.shapes[0].material)


def _walls(floor: Floor, kind: str) -> None:
    """Add windows first, the largest; then pictures and shelves where there is space."""
    b, height = floor.b, floor.size[2]
    for _ in range(int(b.rng.choice([0, 1, 2], p=[0.15, 0.55, 0.3]))):
        wide = b.between(0.7, 2.2)
        drop = b.between(0.05, 0.3) if b.chance(0.15) else b.between(0.75, 1.1)
        tall = min(b.between(1.0, 1.5) + max(0.0, 0.7 - drop), height - drop - 0.3)
        place = floor.along_wall(wide + 0.45, 0.14, tall, bottom=drop)
        if place is not None:
            fixtures.window(b, place[0], wide, tall, drop)
            if drop > 0.7 and b.chance(0.25):
                below = floor.along_wall(wide, 0.16, 0.6, wall=place[1], near=place[2])
                if below is not None:
                    cabinets.radiator(b, below[0], wide)
    for _ in range(int(b.rng.integers(2, 8))):
        wide = b.between(0.35, 1.2)
        tall = wide * b.between(0.6, 1.4)
        place = floor.along_wall(wide + 0.06, 0.05, tall, bottom=b.between(1.1, 1.5))
        if place is not None and place[0].origin[2] + tall < height - 0.1:
            fixtures.picture(b, place[0], wide, tall)
    if b.chance(0.3) and kind != "bathroom":
        wide = b.between(0.6, 1.2)
        place = floor.along_wall(wide, 0.22, 0.7, bottom=b.between(1.3, 1.6))
        if place is not None:
            cabinets.wall_shelf(b, place[0], wide)


def _floor_things(floor: Floor, kind: str) -> None:
    b = floor.b
    if kind not in {"living", "kitchen"} and b.chance(0.3):
        middle = Frame(
            np.array([floor.size[0] * b.between(0.3, 0.7), floor.size[1] * b.between(0.3, 0.7), 0], np.float32)
        )
        fixtures.rug(b, middle.turned(b.rng.normal(0, 0.1)), b.between(1.0, 2.4), b.between(0.7, 1.6))
    for _ in range(int(b.rng.integers(2, 7))):
        if b.chance(0.6):
            place = floor.along_wall(0.5, 0.5, 0.7)
            at = None if place is None else place[0].moved(y=0.28)
        else:
            at = floor.somewhere(0.5, 0.5, 0.5, margin=0.05)
        if at is not None:
            clutter.floor_thing(b, at)

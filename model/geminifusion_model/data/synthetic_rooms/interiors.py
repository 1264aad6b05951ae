"""Furniture of each kind of room and its arrangement: chairs face tables, sofas the set, night stands flank beds."""

from __future__ import annotations

import numpy as np

from geminifusion_model.data.synthetic_rooms import cabinets, clutter, fixtures, seating
from geminifusion_model.data.synthetic_rooms.floorplan import Floor
from geminifusion_model.data.synthetic_rooms.shapes import Frame


def _cabinets(floor: Floor, count: int, heights: tuple[float, ...] = (0.5, 0.8, 1.0, 1.9)) -> None:
    b = floor.b
    for _ in range(count):
        height = float(b.rng.choice(heights)) * b.between(0.9, 1.1)
        width, depth = b.between(0.45, 1.6), b.between(0.35, 0.6)
        place = floor.along_wall(width, depth, height)
        if place is not None:
            cabinets.cabinet(b, place[0], width, depth, height)


def _bookshelves(floor: Floor, count: int) -> None:
    b = floor.b
    for _ in range(count):
        height, width, depth = b.between(0.8, 2.2), b.between(0.6, 1.3), b.between(0.25, 0.36)
        place = floor.along_wall(width, depth, height)
        if place is not None:
            cabinets.bookshelf(b, place[0], width, depth, height)


def _desk(floor: Floor) -> None:
    b = floor.b
    width, depth = b.between(1.0, 1.7), b.between(0.55, 0.75)
    place = floor.along_wall(width, depth, 0.9)
    if place is None:
        return
    seating.table(b, place[0], width, depth, b.between(0.7, 0.76))
    if b.chance(0.75):
        clutter.machine(b, place[0].moved(b.between(-0.2, 0.2), 0.28, 0.76))
    seat = place[0].moved(b.between(-0.3, 0.3), depth + b.between(0.05, 0.35)).turned(np.pi + b.between(-0.7, 0.7))
    if floor.on_floor(seat, 0.5, (-0.25, 0.25), 0.9, margin=-0.2):
        seating.chair(b, seat, int(b.rng.choice([0, 1, 1, 2])))


def _chairs_around(floor: Floor, table: Frame, width: float, depth: float) -> None:
    """Chairs facing the table, some pulled out, some missing; the frame is the middle of the table's back."""
    b = floor.b
    style = int(b.rng.choice([0, 0, 2]))
    sides = [
        (0.0, depth, np.pi),
        (0.0, 0.0, 0.0),
        (-width / 2, depth / 2, -np.pi / 2),
        (width / 2, depth / 2, np.pi / 2),
    ]
    for x, y, angle in sides:
        across = width if y in (0.0, depth) else depth
        seats = max(1, int(across / 0.65))
        for number in range(seats):
            shift = (number - (seats - 1) / 2) * 0.65
            seat = table.moved(x, y).turned(angle).moved(shift, -b.between(-0.05, 0.3)).turned(b.rng.normal(0, 0.15))
            if b.chance(0.92) and floor.on_floor(seat, 0.44, (-0.25, 0.1), 0.9, margin=-0.14):
                seating.chair(b, seat, style)


def bedroom(floor: Floor) -> None:
    """Furnish a bedroom."""
    b = floor.b
    width, depth = float(b.rng.choice([0.95, 1.4, 1.6, 1.8])), b.between(1.95, 2.1)
    place = floor.along_wall(width, depth, 1.2)
    if place is not None:
        seating.bed(b, place[0], width, depth)
        for side in (-1, 1):
            stand = place[0].moved(side * (width / 2 + 0.35))
            if b.chance(0.75) and floor.on_floor(stand.moved(y=0.06), 0.48, (0, 0.4), 0.6, margin=0.0):
                cabinets.cabinet(b, stand, 0.48, 0.4, b.between(0.45, 0.65))
                if b.chance(0.6):
                    clutter.table_lamp(b, stand.moved(0, 0.2, 0.62))
    _cabinets(floor, int(b.rng.integers(2, 5)), (0.8, 1.0, 1.9, 2.0))
    if b.chance(0.35):
        _bookshelves(floor, 1)
    if b.chance(0.4):
        _desk(floor)
    if b.chance(0.3):
        seat = floor.somewhere(0.85, 0.8, 0.9)
        if seat is not None:
            seating.chair(b, seat, 3)
    if b.chance(0.6):
        _television(floor, None)


def _television(floor: Floor, facing: tuple[int, float] | None) -> None:
    """A set on a low cabinet or on the wall, opposite what it faces (wall, place along it) if there is room."""
    b = floor.b
    wide = b.between(0.7, 1.25)
    wall = None if facing is None else (facing[0] + 2) % 4
    near = None if facing is None or wall is None else floor.length(wall) - facing[1]
    if b.chance(0.75):
        height, depth, width = b.between(0.4, 0.9), b.between(0.38, 0.5), wide + b.between(0.1, 0.6)
        place = floor.along_wall(width, depth, height + 0.75, wall=wall, near=near)
        place = place or floor.along_wall(width, depth, height + 0.75)
        if place is not None:
            before = len(b.surfaces)
            cabinets.cabinet(b, place[0], width, depth, height)
            fixtures.television(b, place[0].moved(0, depth * 0.5, height), wide, on_foot=True)
            del b.surfaces[before:]  # what stands before the screen would hide it
    else:
        place = floor.along_wall(wide, 0.1, wide * 0.6, wall=wall, near=near, bottom=b.between(1.0, 1.3))
        if place is not None:
            fixtures.television(b, place[0], wide, on_foot=False)


def living(floor: Floor) -> None:
    """Furnish a living room."""
    b = floor.b
    width, depth = b.between(1.4, 2.3), b.between(0.8, 0.95)
    place = floor.along_wall(width, depth, 0.95)
    if place is not None:
        frame, wall, x = place
        seating.sofa(b, frame, width, depth)
        if b.chance(0.85):
            _television(floor, (wall, x))
        wide, deep, gap = b.between(0.6, 1.2), b.between(0.5, 0.7), b.between(0.3, 0.5)
        table = frame.moved(b.between(-0.2, 0.2), depth + gap)
        if b.chance(0.75) and floor.on_floor(table, wide, (0, deep), 0.42):
            seating.table(b, table, wide, deep, b.between(0.36, 0.46))
        if b.chance(0.55):
            fixtures.rug(b, frame.moved(0, depth + 0.6), b.between(1.6, 2.6), b.between(1.1, 1.8))
        for side in (-1, 1):
            end = frame.moved(side * (width / 2 + 0.3), 0.1)
            if b.chance(0.4) and floor.on_floor(end.moved(y=0.05), 0.45, (0, 0.45), 0.55, margin=0.0):
                seating.table(b, end, 0.45, 0.45, 0.55)
                if b.chance(0.5):
                    clutter.table_lamp(b, end.moved(0, 0.22, 0.55))
        aside = frame.moved((width / 2 + 0.5) * (1 if b.chance(0.5) else -1), depth + 0.9)
        if b.chance(0.5) and floor.on_floor(aside, 0.85, (-0.4, 0.4), 0.95):
            seating.chair(b, aside.turned(np.pi + b.between(-1.2, 1.2)), 3)
    if b.chance(0.35):
        again = floor.along_wall(1.5, 0.85, 0.9)
        if again is not None:
            seating.sofa(b, again[0], 1.5, 0.85)
    if b.chance(0.2):
        hearth = floor.along_wall(1.4, 0.4, 1.3)
        if hearth is not None:
            cabinets.fireplace(b, hearth[0], 1.25)
    _bookshelves(floor, int(b.rng.integers(0, 2)))
    _cabinets(floor, int(b.rng.integers(1, 4)))


def kitchen(floor: Floor) -> None:
    """Furnish a kitchen."""
    b = floor.b
    hang = b.between(1.35, 1.5)
    for number in b.rng.permutation(4)[: int(b.rng.integers(2, 4))]:
        wall = int(number)
        width = min(floor.length(wall) - 0.8, b.between(1.4, 2.8))
        place = floor.along_wall(width, 0.62, 0.95, wall=wall)
        if place is None:
            continue
        cabinets.counter(b, place[0], width, 0.62)
        if b.chance(0.75):
            part = width * b.between(0.5, 1.0)
            above = floor.along_wall(part, 0.34, 0.7, wall=wall, bottom=hang, near=place[2])
            if above is not None:
                cabinets.hanging_cabinet(b, above[0], part, 0.7)
    for width, height, how_often in ((0.75, 1.75, 0.7), (0.6, 0.9, 0.7), (0.6, 0.85, 0.3)):
        place = floor.along_wall(width, 0.65, height)
        if place is not None and b.chance(how_often):
            cabinets.appliance(b, place[0], width, 0.65, height)
    if b.chance(0.45):
        _dining_table(floor, b.between(0.8, 1.2), b.between(0.75, 0.85))
    elif b.chance(0.4):
        island = floor.somewhere(1.3, 0.7, 0.92)
        if island is not None:
            cabinets.counter(b, island.moved(y=-0.35), 1.3, 0.7)


def _dining_table(floor: Floor, width: float, depth: float) -> None:
    at = floor.somewhere(width, depth, 0.76, margin=0.3)
    if at is not None:
        back = at.moved(y=-depth / 2)
        seating.table(floor.b, back, width, depth, floor.b.between(0.7, 0.78))
        _chairs_around(floor, back, width, depth)


def dining(floor: Floor) -> None:
    """Furnish a dining room."""
    b = floor.b
    _dining_table(floor, b.between(1.0, 2.0), b.between(0.8, 1.05))
    _cabinets(floor, int(b.rng.integers(2, 5)), (0.85, 1.0, 1.9))
    _bookshelves(floor, int(b.rng.integers(0, 2)))
    if b.chance(0.3):
        place = floor.along_wall(1.6, 0.85, 0.9)
        if place is not None:
            seating.sofa(b, place[0], 1.6, 0.85)


def office(floor: Floor) -> None:
    """Furnish an office."""
    b = floor.b
    for _ in range(int(b.rng.integers(1, 4))):
        _desk(floor)
    _bookshelves(floor, int(b.rng.integers(1, 3)))
    _cabinets(floor, int(b.rng.integers(1, 4)), (0.7, 1.3, 1.9))
    if b.chance(0.35):
        _dining_table(floor, b.between(1.0, 1.6), b.between(0.75, 0.9))
    if b.chance(0.15):
        place = floor.along_wall(1.5, 0.85, 0.9)
        if place is not None:
            seating.sofa(b, place[0], 1.5, 0.85)


def bathroom(floor: Floor) -> None:
    """Furnish a bathroom."""
    b = floor.b
    width = b.between(0.8, 1.5)
    place = floor.along_wall(1.6, 0.75, 0.6)
    if place is not None:
        clutter.bathtub(b, place[0], 1.6, 0.75)
    place = floor.along_wall(0.6, 0.7, 0.8)
    if place is not None:
        clutter.toilet(b, place[0])
    if b.chance(0.6):
        place = floor.along_wall(width, 0.52, 0.9)
        if place is not None:
            cabinets.counter(b, place[0], width, 0.52)
    else:
        place = floor.along_wall(0.6, 0.5, 0.9)
        if place is not None:
            clutter.basin(b, place[0])
    _cabinets(floor, int(b.rng.integers(1, 3)), (0.8, 1.8))


FURNISH = {
    "bedroom": bedroom,
    "living": living,
    "kitchen": kitchen,
    "dining": dining,
    "office": office,
    "bathroom": bathroom,
}

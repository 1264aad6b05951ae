"""Furniture that stands along walls: cabinets, shelves, counters, stoves. Frames as in `seating`."""

from __future__ import annotations

from geminifusion_model.data.synthetic_rooms.builder import FURNITURE, OBJECTS, Builder, Surface
from geminifusion_model.data.synthetic_rooms.clutter import bowl, row_of_books, sink, thing
from geminifusion_model.data.synthetic_rooms.materials import Material
from geminifusion_model.data.synthetic_rooms.shapes import Frame


def cabinet(b: Builder, at: Frame, width: float, depth: float, height: float) -> None:
    """A chest, night stand, sideboard or wardrobe with doors or drawers."""
    wood = b.stuff("wood")
    half = width / 2
    foot = b.between(0.0, 0.12)
    b.box(at, (-half, 0, foot), (half, depth - 0.02, height - 0.03), FURNITURE, wood)
    b.box(
        at,
        (-half - 0.015, 0, height - 0.03),
        (half + 0.015, depth, height),
        FURNITURE,
        wood if b.chance(0.8) else b.stuff("worktop"),
    )
    if foot > 0.03:
        b.legs(at, half, (0, depth - 0.03), foot, 0.05, FURNITURE, wood)
    columns = max(1, round(width / b.between(0.4, 0.7)))
    rows = 1 if height > 1.3 or b.chance(0.35) else max(2, round((height - foot) / 0.22))
    _fronts(b, at, (-half, half), (foot, height - 0.03), depth - 0.02, columns, rows, wood)
    if height < 1.5:
        b.surfaces.append(Surface(at.moved(0, 0.04, height), half - 0.06, depth - 0.1, 0.9))


def _fronts(
    b: Builder,
    at: Frame,
    x: tuple[float, float],
    z: tuple[float, float],
    y: float,
    columns: int,
    rows: int,
    wood: Material,
) -> None:
    """Doors or drawers with handles, standing out a little so that their edges show."""
    wide, high = (x[1] - x[0]) / columns, (z[1] - z[0]) / rows
    handle = b.stuff("hard", gloss=0.6)
    knob = b.chance(0.5)
    for column in range(columns):
        for row in range(rows):
            left, bottom = x[0] + column * wide, z[0] + row * high
            front = b.paint.shifted(wood)
            b.box(
                at,
                (left + 0.012, y, bottom + 0.012),
                (left + wide - 0.012, y + 0.018, bottom + high - 0.012),
                FURNITURE,
                front,
            )
            center_x = left + wide / 2
            center_z = bottom + high / 2
            if rows == 1:
                center_x = left + (wide - 0.06 if column % 2 == 0 else 0.06)
            if knob:
                b.cushion(
                    at,
                    (center_x - 0.018, y + 0.015, center_z - 0.018),
                    (center_x + 0.018, y + 0.05, center_z + 0.018),
                    FURNITURE,
                    handle,
                    (2, 2, 2),
                )
            elif rows == 1:
                b.box(
                    at,
                    (center_x - 0.01, y + 0.015, center_z - 0.1),
                    (center_x + 0.01, y + 0.04, center_z + 0.1),
                    FURNITURE,
                    handle,
                )
            else:
                b.box(
                    at,
                    (center_x - 0.08, y + 0.015, center_z - 0.01),
                    (center_x + 0.08, y + 0.04, center_z + 0.01),
                    FURNITURE,
                    handle,
                )


def bookshelf(b: Builder, at: Frame, width: float, depth: float, height: float) -> None:
    """Open shelves with books, things and gaps."""
    wood = b.stuff("wood")
    half, board = width / 2, 0.025
    for x in (-half, half - board):
        b.box(at, (x, 0, 0), (x + board, depth, height), FURNITURE, wood)
    b.box(at, (-half, 0, 0), (half, 0.015, height), FURNITURE, b.paint.shifted(wood))
    levels = max(2, round(height / b.between(0.3, 0.42)))
    step = (height - board) / levels
    for level in range(levels + 1):
        z = level * step
        b.box(at, (-half, 0, z), (half, depth, z + board), FURNITURE, wood)
        if level == levels:
            break
        shelf = at.moved(0, 0.02, z + board)
        room = step - board
        draw = b.rng.random()
        if draw < 0.24:
            row_of_books(b, shelf, half - board, depth - 0.04, room)
        elif draw < 0.75:
            for _ in range(int(b.rng.integers(1, 4))):
                x = b.between(-half + 0.12, half - 0.12)
                thing(b, shelf.moved(x, depth / 2), min(room * 0.85, 0.3))
    if height < 1.7:
        b.surfaces.append(Surface(at.moved(0, 0.03, height), half - 0.06, depth - 0.06, 0.5))


def wall_shelf(b: Builder, at: Frame, width: float) -> None:
    """One or two boards on the wall; the frame's origin is on the wall at the lower board."""
    wood = b.stuff("wood")
    half = width / 2
    for level in range(int(b.rng.integers(1, 3))):
        shelf = at.moved(0, 0, 0.36 * level)
        b.box(shelf, (-half, 0, 0), (half, 0.22, 0.025), FURNITURE, wood)
        if b.chance(0.5):
            row_of_books(b, shelf.moved(0, 0.01, 0.025), half - 0.05, 0.2, 0.3)
        else:
            b.surfaces.append(Surface(shelf.moved(0, 0.03, 0.025), half - 0.06, 0.16, 0.28))


def counter(b: Builder, at: Frame, width: float, depth: float) -> None:
    """A kitchen or bathroom counter with a worktop, perhaps a sink, and things on it."""
    half, height = width / 2, b.between(0.84, 0.94)
    front, top = b.stuff("wood"), b.stuff("worktop", gloss=0.3)
    b.box(at, (-half, 0, 0.08), (half, depth - 0.04, height - 0.04), FURNITURE, front)
    b.box(at, (-half, 0, 0), (half, depth - 0.1, 0.08), FURNITURE, b.stuff("hard"))
    b.box(at, (-half, 0, height - 0.04), (half, depth, height), FURNITURE, top)
    if b.chance(0.6):
        b.box(at, (-half, 0, height), (half, 0.02, height + 0.1), FURNITURE, top)
    rows = 1 if b.chance(0.6) else 3
    _fronts(b, at, (-half, half), (0.1, height - 0.05), depth - 0.04, max(1, round(width / 0.5)), rows, front)
    if width > 1 and b.chance(0.7):
        sink(b, at.moved(b.between(-half + 0.4, half - 0.4), depth / 2, height))
    b.surfaces.append(Surface(at.moved(0, 0.05, height), half - 0.06, depth - 0.12, 0.45))


def hanging_cabinet(b: Builder, at: Frame, width: float, height: float) -> None:
    """A cupboard on the wall; the frame's origin is on the wall at its lower edge."""
    wood = b.stuff("wood")
    half = width / 2
    b.box(at, (-half, 0, 0), (half, 0.32, height), FURNITURE, wood)
    _fronts(b, at, (-half, half), (0, height), 0.32, max(1, round(width / 0.45)), 1, wood)


def appliance(b: Builder, at: Frame, width: float, depth: float, height: float) -> None:
    """A refrigerator, washing machine or stove."""
    shell = b.stuff("hard", gloss=0.5)
    half = width / 2
    b.box(at, (-half, 0.02, 0.03), (half, depth - 0.04, height), FURNITURE, shell)
    handle = b.stuff("hard", gloss=0.7)
    if height > 1.2:
        split = height * b.between(0.3, 0.7)
        for low, high in ((0.05, split), (split, height)):
            b.box(at, (-half, depth - 0.04, low + 0.006), (half, depth, high - 0.006), FURNITURE, shell)
            b.box(
                at,
                (half - 0.08, depth, low + 0.06),
                (half - 0.05, depth + 0.04, min(high - 0.06, low + 0.5)),
                FURNITURE,
                handle,
            )
        return
    door = b.paint.material("hard", gloss=0.6, dark=b.chance(0.7))
    b.box(at, (-half + 0.05, depth - 0.04, 0.15), (half - 0.05, depth - 0.01, height - 0.2), FURNITURE, door)
    b.box(
        at,
        (-half + 0.06, depth - 0.01, height - 0.18),
        (half - 0.06, depth + 0.03, height - 0.15),
        FURNITURE,
        handle,
    )
    for number in range(4):
        plate = at.moved((number % 2 - 0.5) * width / 2, depth * (0.3 + 0.4 * (number // 2)), height)
        b.round(plate, (0, 0, 0), 0.015, (0.09, 0.09), FURNITURE, b.stuff("hard"))
        if b.chance(0.2):
            bowl(b, plate.moved(z=0.015), b.between(0.1, 0.2))


def radiator(b: Builder, at: Frame, width: float) -> None:
    """Ribs under a window."""
    ribs = b.stuff("blind")
    b.box(at, (-width / 2, 0.04, 0.12), (width / 2, 0.13, b.between(0.5, 0.75)), OBJECTS, ribs)


def fireplace(b: Builder, at: Frame, width: float) -> None:
    """A surround with a dark opening and a mantel."""
    stone = b.paint.material("wall")
    half, height = width / 2, b.between(1.05, 1.3)
    opening = half * 0.55
    for low, high in ((-half, -opening), (opening, half)):
        b.box(at, (low, 0, 0), (high, 0.3, height), FURNITURE, stone)
    b.box(at, (-half, 0, height * 0.62), (half, 0.3, height), FURNITURE, stone)
    b.box(
        at,
        (-opening, 0, 0),
        (opening, 0.03, height * 0.62),
        FURNITURE,
        b.paint.material("hard", dark=True, infrared=0.7),
    )
    b.box(at, (-half - 0.08, 0, height), (half + 0.08, 0.36, height + 0.06), FURNITURE, b.stuff("wood"))
    b.surfaces.append(Surface(at.moved(0, 0.05, height + 0.06), half - 0.05, 0.24, 0.5))

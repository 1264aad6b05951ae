"""Fixtures of walls, ceiling and floor: windows, doors, pictures, mouldings, lights, rugs.

Wall frames have their origin on the wall at the fixture's lower middle, y towards the room.
"""

from __future__ import annotations

import numpy as np

from geminifusion_model.data.synthetic_rooms.builder import (
    CEILING,
    FLOOR,
    OBJECTS,
    PICTURE,
    TV,
    WALL,
    WINDOW,
    Builder,
    Lamp,
)
from geminifusion_model.data.synthetic_rooms.materials import Material
from geminifusion_model.data.synthetic_rooms.shapes import Frame, box, frustum


def window(b: Builder, at: Frame, width: float, height: float, drop: float) -> None:
    """A window with panes, and often curtains or blinds.

    Args:
        b: the scene.
        at: lower middle of the pane, on the wall.
        width, height: of the opening, metres.
        drop: how far the window's foot is above the floor, for long curtains.
    """
    half = width / 2
    frame, rim = b.stuff("hard"), b.between(0.03, 0.08)
    day = b.between(0.9, 3.0) if b.chance(0.75) else b.between(0.0, 0.15)
    pane = b.paint.material("outdoors", gloss=0.4, emission=day, infrared=b.between(0.5, 1.0))
    b.box(at, (-half, 0.0, 0), (half, 0.012, height), WINDOW, pane)
    for low, high in (
        ((-half - rim, 0, -rim), (half + rim, 0.05, 0)),
        ((-half - rim, 0, height), (half + rim, 0.05, height + rim)),
    ):
        b.box(at, low, high, WINDOW, frame)
    for x in (-half - rim, half):
        b.box(at, (x, 0, 0), (x + rim, 0.05, height), WINDOW, frame)
    for x in np.linspace(-half, half, int(b.rng.integers(2, 5)))[1:-1]:
        b.box(at, (float(x) - 0.02, 0, 0), (float(x) + 0.02, 0.03, height), WINDOW, frame)
    if b.chance(0.4):
        b.box(at, (-half, 0, height / 2 - 0.02), (half, 0.03, height / 2 + 0.02), WINDOW, frame)
    if b.chance(0.4):
        b.box(at, (-half - 0.1, 0, -rim - 0.04), (half + 0.1, 0.16, -rim), WINDOW, frame)
    dressing = b.rng.random()
    if dressing < 0.3:
        blind = b.paint.material("blind", emission=b.between(0, 0.35) * min(day, 1))
        b.box(
            at,
            (-half - 0.02, 0.05, height * b.between(0, 0.6)),
            (half + 0.02, 0.08, height + 0.02),
            WINDOW,
            blind,
        )
    elif dressing < 0.8:
        cloth = b.stuff("curtain")
        foot = -b.between(0.1, 0.3) if b.chance(0.5) else -max(drop - 0.05, 0.1)
        open_to = b.between(0.1, 0.85)
        for side in (-1, 1):
            outer, inner = side * (half + 0.22), side * half * open_to
            _curtain(b, at, min(outer, inner), max(outer, inner), foot, height + 0.12, cloth)
        rod = b.stuff("hard")
        b.box(at, (-half - 0.3, 0.08, height + 0.1), (half + 0.3, 0.11, height + 0.13), WINDOW, rod)


def _curtain(b: Builder, at: Frame, low: float, high: float, foot: float, top: float, cloth: Material) -> None:
    """Folds as a row of flattened columns."""
    folds = max(2, round((high - low) / 0.13))
    step = (high - low) / folds
    for number in range(folds):
        x = low + number * step
        y = 0.07 + 0.02 * (number % 2)
        b.cushion(
            at,
            (x - 0.01, y, foot),
            (x + step + 0.01, y + 0.07, top),
            WINDOW,
            b.paint.shifted(cloth),
            (2, 2, 8),
        )


def door(b: Builder, at: Frame, width: float, height: float) -> None:
    """A closed door, its frame and handle; part of the wall in this class list."""
    leaf, frame = b.stuff("wood"), b.stuff("hard")
    half = width / 2
    b.box(at, (-half, 0, 0), (half, 0.025, height), WALL, leaf)
    for x in (-half - 0.07, half):
        b.box(at, (x, 0, 0), (x + 0.07, 0.045, height + 0.07), WALL, frame)
    b.box(at, (-half, 0, height), (half, 0.045, height + 0.07), WALL, frame)
    if b.chance(0.6):
        for low, high in ((0.12, 0.45), (0.55, 0.92)):
            b.box(
                at,
                (-half + 0.12, 0.025, low * height),
                (half - 0.12, 0.033, high * height),
                WALL,
                b.paint.shifted(leaf),
            )
    b.cushion(at, (half - 0.1, 0.025, 0.98), (half - 0.05, 0.09, 1.03), WALL, b.stuff("hard", gloss=0.8), (2, 2, 2))


def picture(b: Builder, at: Frame, width: float, height: float) -> None:
    """A framed picture, or a mirror or board, which are objects."""
    half, rim = width / 2, b.between(0.01, 0.06)
    label = PICTURE if b.chance(0.88) else OBJECTS
    art = b.stuff("art", gloss=0.2) if label == PICTURE else b.paint.material("hard", gloss=0.8, infrared=0.3)
    b.box(at, (-half, 0, 0), (half, 0.025, height), label, b.stuff("wood"))
    if b.chance(0.4):
        mat = b.paint.material("hard")
        b.box(at, (-half + rim, 0, rim), (half - rim, 0.027, height - rim), label, mat)
        rim += 0.15 * min(width, height)
    b.box(at, (-half + rim, 0, rim), (half - rim, 0.03, height - rim), label, art)


def television(b: Builder, at: Frame, width: float, on_foot: bool) -> None:
    """A flat screen, on the wall or on a foot, or an old deep one."""
    half, height = width / 2, width * 0.58
    shell = b.paint.material("hard", gloss=0.4, dark=b.chance(0.7))
    if b.chance(0.5):
        screen = b.paint.material("screen", gloss=0.4, emission=b.between(0.4, 1.2), infrared=0.6)
    else:
        screen = b.paint.material("hard", gloss=0.8, dark=True, infrared=0.85)
    if on_foot and b.chance(0.3):
        half *= 0.75
        b.box(at, (-half, -0.22, 0), (half, 0.1, 1.5 * half), TV, shell)
        b.cushion(at, (-half * 0.9, 0.0, 0.12 * half), (half * 0.9, 0.125, 1.38 * half), TV, screen, (8, 2, 8))
        return
    lift = 0.08 if on_foot else 0.0
    if on_foot:
        b.round(at, (0, 0.03, 0), 0.02, (width * 0.2, width * 0.18), TV, shell)
        b.box(at, (-0.04, 0.0, 0), (0.04, 0.03, lift + 0.05), TV, shell)
    b.box(at, (-half, 0.0, lift), (half, 0.05, lift + height), TV, shell)
    b.box(at, (-half + 0.02, 0.05, lift + 0.025), (half - 0.02, 0.053, lift + height - 0.02), TV, screen)


def mouldings(b: Builder, at: Frame, length: float, room_height: float) -> None:
    """Skirting board and cornice along a wall; the frame's origin is the wall's first corner on the floor."""
    if b.chance(0.8):
        b.box(at, (0, 0, 0), (length, 0.015, b.between(0.06, 0.14)), WALL, b.stuff("hard"))
    if b.chance(0.25):
        b.box(at, (0, 0, room_height - 0.1), (length, 0.06, room_height), WALL, b.stuff("hard"))


def rug(b: Builder, at: Frame, width: float, depth: float) -> None:
    """A rug; in this class list it is floor."""
    cloth = b.paint.material("rug")
    if b.chance(0.2):
        b.round(at, (0, 0, 0), 0.012, (width / 2, width / 2), FLOOR, cloth)
    else:
        b.box(at, (-width / 2, -depth / 2, 0), (width / 2, depth / 2, 0.012), FLOOR, cloth)


def ceiling_light(b: Builder, at: Frame) -> None:
    """The room's main light, hanging or flush; the frame's origin is on the ceiling."""
    warm = b.rng.random()
    color = np.array([1.0, 1 - 0.16 * warm, 1 - 0.4 * warm], np.float32)
    glow = b.paint.material("hard", emission=b.between(1.5, 3))
    if b.chance(0.35):
        drop = b.between(0.3, 0.7)
        cord = b.stuff("hard")
        b.shapes.append(frustum(at, (0, 0, -drop), drop, (0.01, 0.01), OBJECTS, cord, casts_shadow=False))
        b.shapes.append(frustum(at, (0, 0, -drop - 0.18), 0.2, (0.2, 0.1), OBJECTS, glow, casts_shadow=False))
    elif b.chance(0.5):
        b.shapes.append(frustum(at, (0, 0, -0.1), 0.1, (0.15, 0.19), OBJECTS, glow, casts_shadow=False))
    else:
        b.shapes.append(box(at, (-0.6, -0.15, -0.06), (0.6, 0.15, 0.0), OBJECTS, glow, casts_shadow=False))
    b.lamps.insert(0, Lamp(at.moved(z=-0.12).origin, color, b.between(1.6, 2.6)))


def beams(b: Builder, size: tuple[float, float, float]) -> None:
    """Beams across the ceiling."""
    wood = b.stuff("wood")
    for y in np.arange(0.5, size[1], b.between(0.8, 1.4)):
        b.box(Frame(), (0, float(y), size[2] - 0.16), (size[0], float(y) + 0.12, size[2]), CEILING, wood)

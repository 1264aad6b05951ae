"""Beds, sofas, chairs and tables. A frame's origin is on the floor in the middle of the back, y towards the room."""

from __future__ import annotations

import numpy as np

from geminifusion_model.data.synthetic_rooms.builder import BED, CHAIR, OBJECTS, SOFA, TABLE, Builder, Surface
from geminifusion_model.data.synthetic_rooms.shapes import Frame


def bed(b: Builder, at: Frame, width: float, depth: float) -> None:
    """A bed with its head at the wall."""
    half = width / 2
    wood, sheet, cover = b.stuff("wood"), b.stuff("fabric"), b.stuff("fabric")
    top = b.between(0.42, 0.62)
    b.box(at, (-half, 0.04, 0.08), (half, depth, top - 0.2), BED, wood if b.chance(0.6) else cover)
    b.cushion(at, (-half + 0.02, 0.06, top - 0.24), (half - 0.02, depth - 0.01, top), BED, sheet, (8, 8, 4))
    fold = b.between(0.5, 0.9)
    b.cushion(
        at,
        (-half - 0.03, fold, top - b.between(0.2, 0.42)),
        (half + 0.03, depth + 0.03, top + 0.05),
        BED,
        cover,
        (8, 8, 6),
    )
    if b.chance(0.4):
        throw = b.stuff("fabric")
        start = b.between(1.2, 1.5)
        b.cushion(
            at,
            (-half - 0.04, start, top - 0.3),
            (half + 0.04, start + 0.5, top + 0.065),
            BED,
            throw,
            (8, 8, 8),
        )
    if b.chance(0.75):
        head = b.stuff("wood") if b.chance(0.6) else b.stuff("fabric")
        b.box(at, (-half - 0.03, 0, 0), (half + 0.03, 0.05, top + b.between(0.35, 0.75)), BED, head)
    if b.chance(0.2):
        b.box(at, (-half, depth, 0), (half, depth + 0.05, top + b.between(0.1, 0.3)), BED, wood)
    count = 1 if width < 1.1 else 2
    for row in range(1 if b.chance(0.5) else 2):
        material = b.stuff("fabric")
        for number in range(count):
            x = (number - (count - 1) / 2) * width / 2 + b.between(-0.05, 0.05)
            pillow = (
                at.moved(x, 0.3 + 0.2 * row, top + 0.09).turned(b.between(0.2, 1.0), 0).turned(b.between(-0.15, 0.15))
            )
            b.cushion(pillow, (-0.32, -0.22, -0.08), (0.32, 0.22, 0.08), OBJECTS, material, (4, 4, 2))
    b.surfaces.append(Surface(at.moved(0, 1.0, top + 0.06), half - 0.2, depth - 1.3, 0.4))


def sofa(b: Builder, at: Frame, width: float, depth: float) -> None:
    """A sofa or love seat with arms, cushions and perhaps throw pillows."""
    half = width / 2
    cloth = b.stuff("fabric")
    arm = b.between(0.12, 0.26)
    seat, back, arm_top = b.between(0.38, 0.46), b.between(0.72, 0.95), b.between(0.52, 0.66)
    lifted = b.between(0.02, 0.12)
    b.box(at, (-half + 0.02, 0.05, lifted), (half - 0.02, depth - 0.04, seat - 0.12), SOFA, cloth)
    b.cushion(
        at.turned(b.between(-0.08, 0.0), 0),
        (-half + arm * 0.6, 0, lifted),
        (half - arm * 0.6, 0.28, back),
        SOFA,
        cloth,
        (8, 6, 6),
    )
    for side in (-1, 1):
        inner, outer = side * (half - arm), side * half
        b.cushion(at, (min(inner, outer), 0.03, lifted), (max(inner, outer), depth, arm_top), SOFA, cloth, (6, 8, 6))
    cushions = max(1, round((width - 2 * arm) / 0.65))
    step = (width - 2 * arm) / cushions
    cover = cloth if b.chance(0.75) else b.stuff("fabric")
    for number in range(cushions):
        left = -half + arm + number * step
        material = b.paint.shifted(cover)
        b.cushion(at, (left, 0.2, seat - 0.14), (left + step, depth + 0.01, seat + 0.03), SOFA, material, (8, 8, 4))
        leaning = at.moved(left + step / 2, 0.3, seat + 0.22).turned(-0.2, 0)
        b.cushion(
            leaning,
            (-step / 2, -0.09, -0.22),
            (step / 2, 0.09, b.between(0.18, 0.26)),
            SOFA,
            material,
            (6, 4, 4),
        )
    for _ in range(int(b.rng.integers(0, 4))):
        size = b.between(0.17, 0.24)
        place = at.moved(b.between(-half + arm + 0.2, half - arm - 0.2), 0.46, seat + size * 0.9)
        tilted = place.turned(b.between(-0.5, 0.5)).turned(-0.35, 0).turned(b.between(-0.5, 0.5), 1)
        b.cushion(tilted, (-size, -0.08, -size), (size, 0.08, size), OBJECTS, b.stuff("fabric"), (4, 2, 4))
    if width < 1.2:
        return
    b.surfaces.append(Surface(at.moved(0, 0.35, seat + 0.03), half - arm - 0.15, 0.4, 0.5))


def chair(b: Builder, at: Frame, style: int) -> None:
    """One of four chairs; the frame is under the middle of the seat, y where the sitter looks."""
    seat = b.between(0.42, 0.48)
    if style == 0:
        _wooden_chair(b, at, seat)
    elif style == 1:
        _office_chair(b, at, seat)
    elif style == 2:
        _padded_chair(b, at, seat)
    else:
        _arm_chair(b, at)


def _wooden_chair(b: Builder, at: Frame, seat: float) -> None:
    wood = b.stuff("wood")
    pad = b.stuff("fabric") if b.chance(0.4) else wood
    half = b.between(0.19, 0.23)
    b.legs(at, half, (-half, half), seat, 0.04, CHAIR, wood)
    b.box(at, (-half, -half, seat - 0.03), (half, half, seat + 0.01), CHAIR, pad)
    height = b.between(0.38, 0.55)
    back = at.moved(0, -half + 0.02, seat).turned(b.between(0.05, 0.2), 0)
    for x in (-half + 0.02, half - 0.02):
        b.box(back, (x - 0.02, -0.02, 0), (x + 0.02, 0.02, height), CHAIR, wood)
    if b.chance(0.5):
        slats = int(b.rng.integers(2, 5))
        for number in range(slats):
            z = 0.12 + (height - 0.12) * (number + 0.5) / slats
            b.box(back, (-half, -0.012, z - 0.025), (half, 0.012, z + 0.035), CHAIR, wood)
    else:
        for x in np.linspace(-half, half, int(b.rng.integers(4, 7)))[1:-1]:
            b.box(back, (float(x) - 0.015, -0.01, 0.05), (float(x) + 0.015, 0.01, height - 0.03), CHAIR, wood)
        b.box(back, (-half, -0.015, height - 0.07), (half, 0.015, height), CHAIR, wood)


def _office_chair(b: Builder, at: Frame, seat: float) -> None:
    cloth, frame = b.stuff("fabric"), b.stuff("hard", gloss=0.3)
    for number in range(5):
        spoke = at.turned(number * 2 * np.pi / 5 + 0.3)
        b.box(spoke, (-0.025, 0, 0.05), (0.025, 0.3, 0.09), CHAIR, frame)
        b.cushion(spoke, (-0.03, 0.26, 0), (0.03, 0.32, 0.06), CHAIR, frame, (2, 2, 2))
    b.round(at, (0, 0, 0.06), seat - 0.08, (0.035, 0.03), CHAIR, frame)
    b.cushion(at, (-0.25, -0.24, seat - 0.05), (0.25, 0.25, seat + 0.05), CHAIR, cloth, (4, 4, 4))
    back = at.moved(0, -0.24, seat).turned(b.between(0.05, 0.2), 0)
    b.box(back, (-0.03, -0.03, 0), (0.03, 0, 0.3), CHAIR, frame)
    b.cushion(back, (-0.23, -0.04, 0.12), (0.23, 0.04, b.between(0.5, 0.75)), CHAIR, cloth, (4, 4, 6))
    if b.chance(0.6):
        for x in (-0.27, 0.27):
            b.box(at, (x - 0.02, -0.05, seat), (x + 0.02, 0, seat + 0.2), CHAIR, frame)
            b.cushion(at, (x - 0.04, -0.17, seat + 0.18), (x + 0.04, 0.14, seat + 0.22), CHAIR, frame)


def _padded_chair(b: Builder, at: Frame, seat: float) -> None:
    cloth, wood = b.stuff("fabric"), b.stuff("wood")
    b.legs(at, 0.23, (-0.23, 0.23), seat - 0.1, 0.045, CHAIR, wood)
    b.cushion(at, (-0.24, -0.24, seat - 0.12), (0.24, 0.25, seat + 0.03), CHAIR, cloth, (8, 8, 4))
    back = at.moved(0, -0.2, seat - 0.08).turned(b.between(0.05, 0.15), 0)
    b.cushion(back, (-0.23, -0.05, 0), (0.23, 0.05, b.between(0.5, 0.68)), CHAIR, cloth, (6, 4, 6))


def _arm_chair(b: Builder, at: Frame) -> None:
    cloth = b.stuff("fabric")
    b.cushion(at, (-0.32, -0.3, 0.1), (0.32, 0.36, 0.44), CHAIR, cloth, (6, 6, 4))
    b.cushion(
        at.moved(0, -0.3).turned(0.15, 0),
        (-0.36, -0.1, 0.12),
        (0.36, 0.1, b.between(0.8, 1.05)),
        CHAIR,
        cloth,
        (6, 4, 6),
    )
    for x in (-0.36, 0.36):
        b.cushion(at, (x - 0.08, -0.32, 0.08), (x + 0.08, 0.34, b.between(0.56, 0.64)), CHAIR, cloth, (4, 6, 6))
    if b.chance(0.4):
        pillow = at.moved(0, -0.1, 0.62).turned(-0.3, 0)
        b.cushion(pillow, (-0.2, -0.07, -0.2), (0.2, 0.07, 0.2), OBJECTS, b.stuff("fabric"), (4, 2, 4))


def table(b: Builder, at: Frame, width: float, depth: float, height: float) -> None:
    """A table or desk with legs, panels, a pedestal or a drawer unit; some are round."""
    half = width / 2
    wood = b.stuff("wood") if b.chance(0.8) else b.stuff("worktop", gloss=0.3)
    legs = wood if b.chance(0.7) else b.stuff("hard", gloss=0.3)
    thick = b.between(0.02, 0.06)
    if abs(width - depth) < 0.15 and b.chance(0.6):
        middle = at.moved(0, depth / 2)
        b.round(middle, (0, 0, height - thick), thick, (half, half), TABLE, wood)
        b.round(middle, (0, 0, 0.03), height - thick, (0.06, 0.045), TABLE, legs)
        b.round(middle, (0, 0, 0), 0.04, (half * 0.55, half * 0.45), TABLE, legs)
        b.surfaces.append(Surface(at.moved(0, 0.25 * depth, height), half * 0.6, depth * 0.5, 0.7))
        return
    b.box(at, (-half, 0, height - thick), (half, depth, height), TABLE, wood)
    style = b.rng.integers(3)
    if style == 0 or height < 0.55:
        b.legs(at, half, (0, depth), height - thick, b.between(0.03, 0.08), TABLE, legs)
        if b.chance(0.5):
            b.box(
                at,
                (-half + 0.05, 0.05, height - thick - 0.09),
                (half - 0.05, depth - 0.05, height - thick),
                TABLE,
                wood,
            )
        elif height < 0.55:
            b.box(at, (-half + 0.05, 0.06, 0.12), (half - 0.05, depth - 0.06, 0.15), TABLE, wood)
    elif style == 1:
        for x in (-half + 0.02, half - 0.04):
            b.box(at, (x, 0.03, 0), (x + 0.03, depth - 0.03, height - thick), TABLE, legs)
        b.box(at, (-half + 0.03, 0.05, height * 0.45), (half - 0.03, 0.07, height - thick), TABLE, legs)
    else:
        side = 1 if b.chance(0.5) else -1
        inner, outer = side * (half - 0.4), side * (half - 0.02)
        low, high = min(inner, outer), max(inner, outer)
        b.box(at, (low, 0.03, 0.03), (high, depth - 0.03, height - thick), TABLE, wood)
        for number in range(3):
            z = 0.06 + number * (height - thick - 0.06) / 3
            b.box(
                at,
                (low + 0.02, depth - 0.03, z),
                (high - 0.02, depth - 0.01, z + (height - 0.1) / 3 - 0.03),
                TABLE,
                b.paint.shifted(wood),
            )
        for depth_at in (0.05, depth - 0.05):
            x = -side * (half - 0.04)
            b.box(at, (x - 0.02, depth_at - 0.02, 0), (x + 0.02, depth_at + 0.02, height - thick), TABLE, legs)
    b.surfaces.append(Surface(at.moved(0, 0.05, height), half - 0.08, depth - 0.1, 0.8))

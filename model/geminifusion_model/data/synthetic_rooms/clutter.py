"""Small things that lie on surfaces and stand about: books, bottles, lamps, plants. Origins are below them."""

from __future__ import annotations

import numpy as np

from geminifusion_model.data.synthetic_rooms.builder import BOOKS, OBJECTS, Builder, Lamp, Surface
from geminifusion_model.data.synthetic_rooms.materials import Array, Material
from geminifusion_model.data.synthetic_rooms.shapes import Frame, frustum


def thing(b: Builder, at: Frame, height: float) -> None:
    """A small thing, no higher than `height` metres."""
    makers = (
        _bottle,
        _carton,
        _cup,
        bowl,
        _ball,
        _vase,
        _frame_stand,
        _stack_of_books,
        _heap,
        _standing_books,
    )
    weights = np.array([3, 4, 2, 2, 1, 2, 1, 3, 2, 2], float)
    makers[int(b.rng.choice(len(makers), p=weights / weights.sum()))](b, at.turned(b.between(-0.6, 0.6)), height)


def furnish(b: Builder, surface: Surface, count: int) -> None:
    """Spread things over a surface."""
    for _ in range(count):
        if surface.half_x <= 0.03 or surface.y <= 0.02:
            return
        at = surface.frame.moved(b.between(-surface.half_x, surface.half_x), b.between(0.02, surface.y))
        if surface.headroom > 0.45 and surface.half_x > 0.15 and b.chance(0.12):
            table_lamp(b, at)
        elif surface.headroom > 0.4 and surface.half_x > 0.3 and b.chance(0.14):
            machine(b, at.turned(b.between(-0.3, 0.3)))
        elif surface.headroom > 0.5 and b.chance(0.07):
            plant(b, at, b.between(0.25, 0.5))
        else:
            thing(b, at, min(surface.headroom * 0.85, 0.36))


def _bottle(b: Builder, at: Frame, height: float) -> None:
    tall = min(height, b.between(0.12, 0.32))
    radius = tall * b.between(0.12, 0.2)
    glass = b.stuff("small", gloss=0.6)
    b.round(at, (0, 0, 0), tall * 0.65, (radius, radius), OBJECTS, glass)
    b.round(at, (0, 0, tall * 0.65), tall * 0.15, (radius, radius * 0.4), OBJECTS, glass)
    b.round(at, (0, 0, tall * 0.8), tall * 0.2, (radius * 0.4, radius * 0.4), OBJECTS, b.stuff("small"))


def _carton(b: Builder, at: Frame, height: float) -> None:
    x, y = b.between(0.05, 0.16), b.between(0.04, 0.12)
    tall = min(height, b.between(0.06, 0.34))
    b.box(at, (-x, -y, 0), (x, y, tall), OBJECTS, b.stuff("small"))


def _cup(b: Builder, at: Frame, height: float) -> None:
    radius = b.between(0.03, 0.05)
    tall = min(height, b.between(0.08, 0.13))
    b.round(at, (0, 0, 0), tall, (radius * b.between(0.7, 1), radius), OBJECTS, b.stuff("small", gloss=0.4))


def bowl(b: Builder, at: Frame, height: float) -> None:
    """A bowl or pot, sometimes with fruit."""
    radius = b.between(0.08, 0.15)
    tall = min(height, b.between(0.06, 0.16))
    b.round(at, (0, 0, 0), tall, (radius * 0.7, radius), OBJECTS, b.stuff("hard", gloss=0.5))
    for _ in range(int(b.rng.integers(0, 5))):
        x, y, r = b.between(-0.05, 0.05), b.between(-0.05, 0.05), b.between(0.03, 0.045)
        b.cushion(at, (x - r, y - r, tall - r), (x + r, y + r, tall + r), OBJECTS, b.stuff("small"), (2, 2, 2))


def _ball(b: Builder, at: Frame, height: float) -> None:
    radius = min(height / 2, b.between(0.05, 0.13))
    b.cushion(
        at,
        (-radius, -radius, 0),
        (radius, radius, 2 * radius),
        OBJECTS,
        b.stuff("small", gloss=0.2),
        (2, 2, 2),
    )


def _vase(b: Builder, at: Frame, height: float) -> None:
    tall = min(height, b.between(0.15, 0.34))
    clay = b.stuff("small", gloss=0.3)
    b.cushion(at, (-tall * 0.3, -tall * 0.3, 0), (tall * 0.3, tall * 0.3, tall * 0.75), OBJECTS, clay, (2, 2, 2))
    b.round(at, (0, 0, tall * 0.65), tall * 0.35, (tall * 0.12, tall * 0.2), OBJECTS, clay)


def _frame_stand(b: Builder, at: Frame, height: float) -> None:
    tall = min(height, b.between(0.12, 0.25))
    x = tall * b.between(0.35, 0.6)
    leaning = at.turned(0.2, 0)
    b.box(leaning, (-x, -0.01, 0), (x, 0.01, tall), OBJECTS, b.stuff("wood"))
    b.box(leaning, (-x * 0.8, 0.01, tall * 0.12), (x * 0.8, 0.013, tall * 0.88), OBJECTS, b.stuff("art"))


def _heap(b: Builder, at: Frame, height: float) -> None:
    """A bag, towel or piece of clothing."""
    x, y = b.between(0.08, 0.2), b.between(0.08, 0.16)
    b.cushion(at, (-x, -y, -0.02), (x, y, min(height, b.between(0.08, 0.26))), OBJECTS, b.stuff("fabric"), (4, 2, 2))


def _stack_of_books(b: Builder, at: Frame, height: float) -> None:
    z = 0.0
    for _ in range(int(b.rng.integers(1, 6))):
        thick = b.between(0.015, 0.05)
        if z + thick > height:
            return
        x, y = b.between(0.09, 0.14), b.between(0.07, 0.11)
        b.box(at.turned(b.between(-0.25, 0.25)), (-x, -y, z), (x, y, z + thick), BOOKS, b.stuff("small"))
        z += thick


def _standing_books(b: Builder, at: Frame, height: float) -> None:
    tall = min(height, b.between(0.18, 0.28))
    x = b.between(0.05, 0.15)
    b.box(at, (-x, -0.08, 0), (x, 0.08, tall), BOOKS, b.stuff("spines"))


def row_of_books(b: Builder, shelf: Frame, half_x: float, depth: float, room: float) -> None:
    """Books standing on a shelf in groups of one height, with a gap here and a leaning one there."""
    x = -half_x
    while x < half_x - 0.06:
        wide = min(b.between(0.06, 0.3), half_x - x)
        tall = room * b.between(0.6, 0.95)
        if b.chance(0.16):
            thing(b, shelf.moved(x + wide / 2, depth / 2), room * 0.85)
        elif b.chance(0.88):
            inset = b.between(0, 0.05)
            group = (
                shelf
                if b.chance(0.85)
                else shelf.moved(x + wide, 0).turned(b.between(0.0, 0.06), 1).moved(-x - wide, 0)
            )
            b.box(group, (x, 0, 0), (x + wide, depth - inset, tall), BOOKS, b.stuff("spines"))
        x += wide + 0.003


def _glow(b: Builder) -> Array:
    return np.array([1.0, b.between(0.75, 0.9), b.between(0.45, 0.75)], np.float32)


def _shade(b: Builder, at: Frame, radius: float, height: float) -> None:
    lit = b.chance(0.5)
    cloth = b.paint.material("fabric", emission=b.between(0.7, 2.0) if lit else 0.0)
    radii = (radius, radius * b.between(0.5, 1))
    b.shapes.append(frustum(at, (0, 0, 0), height, radii, OBJECTS, cloth, casts_shadow=False))
    if lit:
        b.lamps.append(Lamp(at.moved(z=height / 2).origin, _glow(b), b.between(0.1, 0.4)))


def table_lamp(b: Builder, at: Frame) -> None:
    """Foot, stem and shade."""
    stem = b.between(0.18, 0.32)
    foot = b.stuff("small", gloss=0.4)
    if b.chance(0.5):
        b.cushion(at, (-0.08, -0.08, 0), (0.08, 0.08, stem), OBJECTS, foot, (2, 2, 2))
    else:
        b.round(at, (0, 0, 0), 0.03, (0.08, 0.07), OBJECTS, foot)
        b.round(at, (0, 0, 0), stem, (0.015, 0.015), OBJECTS, foot)
    _shade(b, at.moved(z=stem), b.between(0.12, 0.2), b.between(0.14, 0.24))


def floor_lamp(b: Builder, at: Frame) -> None:
    """A tall lamp beside a sofa."""
    tall = b.between(1.2, 1.55)
    metal = b.stuff("hard", gloss=0.4)
    b.round(at, (0, 0, 0), 0.03, (0.14, 0.13), OBJECTS, metal)
    b.round(at, (0, 0, 0), tall, (0.015, 0.012), OBJECTS, metal)
    _shade(b, at.moved(z=tall - 0.05), b.between(0.16, 0.26), b.between(0.18, 0.3))


def plant(b: Builder, at: Frame, height: float) -> None:
    """A pot and a dozen leaves."""
    pot = height * 0.35
    b.round(at, (0, 0, 0), pot, (pot * 0.38, pot * 0.5), OBJECTS, b.stuff("small"))
    leaf = b.paint.material("small")
    for _ in range(int(b.rng.integers(8, 15))):
        twig = at.moved(z=pot).turned(b.between(0, 2 * np.pi)).turned(b.between(-1.2, -0.15), 0)
        size = height * b.between(0.3, 0.65)
        wide = size * b.between(0.07, 0.18)
        b.cushion(twig, (-wide, -0.012, size * 0.1), (wide, 0.012, size), OBJECTS, leaf, (2, 2, 2))


def machine(b: Builder, at: Frame) -> None:
    """A monitor, laptop, microwave or printer, and what belongs to it. NYU's TV class holds none of these."""
    kind = b.rng.integers(4)
    shell = b.stuff("hard", gloss=0.3)
    if kind == 0:
        x, tall = b.between(0.2, 0.3), b.between(0.26, 0.36)
        b.round(at, (0, 0, 0), 0.02, (0.12, 0.11), OBJECTS, shell)
        b.box(at, (-0.03, -0.03, 0), (0.03, 0, 0.2), OBJECTS, shell)
        b.box(at, (-x, -0.02, 0.1), (x, 0.02, 0.1 + tall), OBJECTS, shell)
        b.box(at, (-x + 0.015, 0.02, 0.115), (x - 0.015, 0.022, 0.085 + tall), OBJECTS, _panel(b))
        b.box(at, (-0.2, 0.14, 0), (0.2, 0.28, 0.02), OBJECTS, b.stuff("paper"))
    elif kind == 1:
        b.box(at, (-0.17, -0.12, 0), (0.17, 0.12, 0.018), OBJECTS, shell)
        lid = at.moved(0, -0.12, 0.018).turned(b.between(0.1, 0.4), 0)
        b.box(lid, (-0.17, -0.008, 0), (0.17, 0, 0.23), OBJECTS, shell)
        b.box(lid, (-0.16, 0, 0.012), (0.16, 0.002, 0.22), OBJECTS, _panel(b))
    elif kind == 2:
        b.box(at, (-0.25, -0.16, 0), (0.25, 0.16, 0.28), OBJECTS, shell)
        b.box(
            at,
            (-0.22, 0.16, 0.03),
            (0.11, 0.165, 0.25),
            OBJECTS,
            b.paint.material("hard", gloss=0.6, dark=True, infrared=0.3),
        )
    else:
        b.cushion(at, (-0.22, -0.18, 0), (0.22, 0.18, b.between(0.15, 0.24)), OBJECTS, shell, (8, 8, 6))
        b.box(at, (-0.15, 0.02, 0.1), (0.15, 0.24, 0.12), OBJECTS, b.stuff("paper"))


def _panel(b: Builder) -> Material:
    if b.chance(0.5):
        return b.paint.material("screen", gloss=0.5, emission=b.between(0.4, 1.0), infrared=0.5)
    return b.paint.material("hard", gloss=0.7, dark=True, infrared=0.7)


def sink(b: Builder, at: Frame) -> None:
    """A basin let into a counter: rim, dark inside, tap."""
    rim = b.stuff("hard", gloss=0.7)
    b.box(at, (-0.27, -0.2, 0), (0.27, 0.2, 0.012), OBJECTS, rim)
    b.box(
        at,
        (-0.23, -0.16, 0.012),
        (0.23, 0.16, 0.014),
        OBJECTS,
        b.paint.material("hard", gloss=0.5, dark=b.chance(0.5)),
    )
    b.round(at, (0, -0.2, 0), 0.2, (0.015, 0.012), OBJECTS, rim)
    b.box(at, (-0.01, -0.2, 0.19), (0.01, -0.02, 0.21), OBJECTS, rim)


def basin(b: Builder, at: Frame) -> None:
    """A wash basin on a foot, back to the wall."""
    ceramic = b.stuff("hard", gloss=0.7)
    b.round(at, (0, 0.2, 0), 0.72, (0.1, 0.08), OBJECTS, ceramic)
    b.cushion(at, (-0.28, 0, 0.7), (0.28, 0.46, 0.86), OBJECTS, ceramic, (4, 4, 6))
    b.round(at, (0, 0.06, 0.84), 0.16, (0.02, 0.015), OBJECTS, b.stuff("hard", gloss=0.8))


def toilet(b: Builder, at: Frame) -> None:
    """Cistern, bowl and lid, back to the wall."""
    ceramic = b.stuff("hard", gloss=0.7)
    b.cushion(at, (-0.2, 0, 0.38), (0.2, 0.2, 0.8), OBJECTS, ceramic, (8, 6, 8))
    b.round(at, (0, 0.42, 0), 0.4, (0.13, 0.19), OBJECTS, ceramic)
    b.cushion(at, (-0.2, 0.18, 0.38), (0.2, 0.68, 0.44), OBJECTS, ceramic, (2, 2, 6))


def bathtub(b: Builder, at: Frame, width: float, depth: float) -> None:
    """Four sides round a floor, and perhaps a curtain (objects, in this class list) before it."""
    ceramic = b.stuff("hard", gloss=0.6)
    half, tall = width / 2, b.between(0.45, 0.6)
    b.box(at, (-half, 0, 0), (half, 0.1, tall), OBJECTS, ceramic)
    b.box(at, (-half, depth - 0.1, 0), (half, depth, tall), OBJECTS, ceramic)
    b.box(at, (-half, 0, 0), (-half + 0.12, depth, tall), OBJECTS, ceramic)
    b.box(at, (half - 0.12, 0, 0), (half, depth, tall), OBJECTS, ceramic)
    b.box(at, (-half, 0, 0), (half, depth, 0.12), OBJECTS, ceramic)
    if b.chance(0.6):
        start = -half + (0 if b.chance(0.5) else half)
        b.box(
            at,
            (start, depth + 0.01, 0.2),
            (start + half * b.between(0.5, 1.1), depth + 0.04, 2.0),
            OBJECTS,
            b.stuff("curtain"),
        )


def floor_thing(b: Builder, at: Frame) -> None:
    """A thing that stands or lies on the floor: bin, carton, bag, plant, lamp, basket, stool, toy."""
    kind = b.rng.integers(7)
    if kind == 0:
        radius = b.between(0.11, 0.18)
        b.round(at, (0, 0, 0), b.between(0.25, 0.45), (radius * 0.8, radius), OBJECTS, b.stuff("hard"))
    elif kind == 1:
        x, y, z = b.between(0.15, 0.32), b.between(0.12, 0.25), b.between(0.15, 0.45)
        b.box(at, (-x, -y, 0), (x, y, z), OBJECTS, b.stuff("small"))
        if b.chance(0.4):
            b.box(
                at.turned(0.3),
                (-x * 0.7, -y * 0.7, z),
                (x * 0.7, y * 0.7, z + b.between(0.1, 0.25)),
                OBJECTS,
                b.stuff("small"),
            )
    elif kind == 2:
        b.cushion(at, (-0.22, -0.15, 0), (0.22, 0.15, b.between(0.22, 0.45)), OBJECTS, b.stuff("fabric"), (4, 4, 2))
    elif kind == 3:
        plant(b, at, b.between(0.6, 1.3))
    elif kind == 4:
        floor_lamp(b, at)
    elif kind == 5:
        for _ in range(int(b.rng.integers(2, 5))):
            thing(b, at.moved(b.between(-0.25, 0.25), b.between(-0.25, 0.25)), 0.3)
    else:
        radius = b.between(0.09, 0.3)
        b.cushion(at, (-radius, -radius, 0), (radius, radius, 2 * radius), OBJECTS, b.stuff("fabric"), (2, 2, 2))

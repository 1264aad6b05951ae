"""Patterns of surfaces: a bank of tiles that say how to mix four colors, whichever they are.

A tile is `256 256 3`, weights 0…1 of a material's second, third and fourth color; what is left is its first. Tiles
repeat without a seam except those of the groups that show one whole thing (a picture, a view, a screen).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_Weights = NDArray[np.floating[Any]] | float

TILE = 256
GUTTER = 2  # repeated texels around each tile, so that bilinear lookups never see the neighbor
_COLUMNS = 10

_X, _Y = np.meshgrid(np.arange(TILE, dtype=np.float32) / TILE, np.arange(TILE, dtype=np.float32) / TILE)


@dataclass(frozen=True)
class PatternBank:
    """All tiles in one image.

    Args:
        atlas: `R C 3` uint8 weights.
        corners: `T 2`, x and y of each tile's first texel.
        means: `T 3`, the mean weights, for surfaces too far away to resolve.
        groups: tile numbers by the name of their group.
    """

    atlas: NDArray[np.uint8]
    corners: Array
    means: Array
    groups: dict[str, tuple[int, ...]]


def _noise(rng: np.random.Generator, across: int, down: int) -> Array:
    """Smooth noise 0…1 with so many cells across and down; wraps around."""
    cells = rng.random((down, across), np.float32)
    padded = np.pad(cells, 2, mode="wrap")
    x = np.asarray(_X * across + 2, np.float32)
    y = np.asarray(_Y * down + 2, np.float32)
    noise = cv2.remap(padded, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return np.clip(noise, 0, 1).astype(np.float32)


def _fractal(rng: np.random.Generator, across: int, down: int, octaves: int = 4) -> Array:
    total = np.zeros((TILE, TILE), np.float32)
    weight = 0.0
    for octave in range(octaves):
        factor = 2**octave
        if max(across, down) * factor > TILE:
            break
        total += _noise(rng, across * factor, down * factor) / factor
        weight += 1 / factor
    return total / np.float32(weight)


def _mix(first: _Weights = 0.0, second: _Weights = 0.0, third: _Weights = 0.0) -> Array:
    """Stack three weights; where they add up to more than one the later win."""
    a, b, c = (np.broadcast_to(np.asarray(v, np.float32), (TILE, TILE)) for v in (first, second, third))
    c = np.clip(c, 0, 1)
    b = np.clip(b, 0, 1) * (1 - c)
    a = np.clip(a, 0, 1) * (1 - b - c)
    return np.stack([a, b, c], axis=-1).astype(np.float32)


def _edge(values: NDArray[np.floating[Any]], at: float, softness: float) -> Array:
    """A soft step from 0 to 1 where values pass `at`; downwards if `softness` is negative."""
    return np.clip((values - at) / softness + 0.5, 0, 1).astype(np.float32)


def _plain(rng: np.random.Generator) -> Array:
    mottle = _fractal(rng, 3, 3, 5)
    return _mix(third=0.35 * mottle * rng.uniform(0.2, 1.0) + 0.1 * rng.random((TILE, TILE), np.float32))


def _carpet(rng: np.random.Generator) -> Array:
    pile = rng.random((TILE, TILE), np.float32)
    worn = _fractal(rng, 4, 4, 3)
    return _mix(first=0.5 * _edge(worn, 0.55, 0.3), third=0.75 * pile * (0.4 + 0.6 * _noise(rng, 64, 64)))


def _grain(rng: np.random.Generator) -> Array:
    stretch = int(rng.integers(10, 30))
    rings = _fractal(rng, 2, stretch, 3) * rng.uniform(3, 9)
    fibre = _noise(rng, 6, 128)
    ring = (0.5 + 0.5 * np.sin(2 * np.pi * rings)).astype(np.float32)
    return _mix(first=0.6 * ring, third=0.35 * fibre + 0.2 * ring**4)


def _planks(rng: np.random.Generator) -> Array:
    rows = int(rng.choice([4, 6, 8]))
    row = np.floor(_Y * rows).astype(int)
    shift = rng.random(rows).astype(np.float32)[row]
    per_row = 2
    along = (_X + shift) % 1 * per_row
    board = rng.random((rows, per_row)).astype(np.float32)[row, along.astype(int)]
    wood = _grain(rng)
    near = np.minimum(np.abs((_Y * rows) % 1 - 0.5), 1)
    gap = np.maximum(_edge(near, 0.48, 0.03), _edge(np.abs(along % 1 - 0.5), 0.492, 0.01))
    return _mix(0.45 * wood[..., 0] + 0.5 * board, 0.25 * (1 - board), 0.5 * wood[..., 2] + 0.8 * gap)


def _parquet(rng: np.random.Generator) -> Array:
    cells = int(rng.choice([4, 6]))
    turned = (np.floor(_X * cells) + np.floor(_Y * cells)) % 2 > 0
    strips = np.where(turned, (_X * cells * 4) % 1, (_Y * cells * 4) % 1)
    wood = _grain(rng)[..., 0]
    wood = np.where(turned, wood.T, wood)
    return _mix(0.6 * wood + 0.3 * turned, 0.0, 0.7 * _edge(np.abs(strips - 0.5), 0.46, 0.06))


def _bricks(rng: np.random.Generator) -> Array:
    rows = int(rng.choice([8, 12, 16]))
    row = np.floor(_Y * rows).astype(int)
    per_row = rows // 2 if rng.random() < 0.7 else rows
    along = (_X * per_row + 0.5 * (row % 2)) % per_row
    brick = rng.random((rows, per_row)).astype(np.float32)[row, along.astype(int)]
    joint = np.maximum(
        _edge(np.abs((_Y * rows) % 1 - 0.5), 0.44, 0.06),
        _edge(np.abs(along % 1 - 0.5), 0.5 - 0.06 * per_row / rows, 0.06 * per_row / rows),
    )
    return _mix(0.7 * brick, 0.9 * joint, 0.4 * _fractal(rng, 16, 16, 3))


def _tiles(rng: np.random.Generator) -> Array:
    cells = int(rng.choice([2, 4, 6, 8]))
    column, row = np.floor(_X * cells).astype(int), np.floor(_Y * cells).astype(int)
    tone = rng.random((cells, cells)).astype(np.float32)[row, column]
    checked = ((column + row) % 2).astype(np.float32) * float(rng.random() < 0.4)
    joint = np.maximum(np.abs((_X * cells) % 1 - 0.5), np.abs((_Y * cells) % 1 - 0.5))
    width = 0.006 * cells
    return _mix(0.9 * checked + 0.25 * tone, _edge(joint, 0.5 - width, width), 0.3 * _fractal(rng, 6, 6, 4))


def _speckle(rng: np.random.Generator) -> Array:
    size = int(rng.choice([32, 64, 128]))
    return _mix(
        _edge(_noise(rng, size, size), 0.62, 0.15),
        _edge(_noise(rng, size, size), 0.74, 0.1),
        0.8 * _edge(_fractal(rng, size // 2, size // 2, 3), 0.6, 0.15),
    )


def _marble(rng: np.random.Generator) -> Array:
    warp = _fractal(rng, 3, 3, 5)
    vein = 1 - np.abs(np.sin(2 * np.pi * (warp * rng.uniform(1.5, 4) + _X)))
    return _mix(0.5 * _fractal(rng, 4, 4), 0.8 * _edge(vein.astype(np.float32), 0.9, 0.25), 0.15)


def _stripes(rng: np.random.Generator) -> Array:
    count = int(rng.choice([3, 5, 8, 12]))
    axis = _X if rng.random() < 0.5 else _Y
    phase = (axis * count) % 1
    second = _edge(np.abs(phase - rng.uniform(0.2, 0.8)), rng.uniform(0.05, 0.2), -0.02)
    weave = 0.25 * rng.random((TILE, TILE), np.float32)
    return _mix(_edge(phase, rng.uniform(0.3, 0.7), 0.02), second * float(rng.random() < 0.6), weave)


def _plaid(rng: np.random.Generator) -> Array:
    count = int(rng.choice([2, 4, 6]))
    across = _edge(np.abs((_X * count) % 1 - 0.5), rng.uniform(0.1, 0.3), 0.02)
    down = _edge(np.abs((_Y * count) % 1 - 0.5), rng.uniform(0.1, 0.3), 0.02)
    thread = _edge(np.abs((_X * count + 0.2) % 1 - 0.5), 0.03, -0.02)
    return _mix(0.5 * across + 0.5 * down, 0.8 * thread, 0.3 * rng.random((TILE, TILE), np.float32))


def _flowers(rng: np.random.Generator) -> Array:
    cells = int(rng.choice([3, 5, 8]))
    petals = int(rng.integers(4, 8))
    row = np.floor(_Y * cells)
    x = (_X * cells + 0.5 * (row % 2) * float(cells % 2 == 0)) % 1 - 0.5
    y = (_Y * cells) % 1 - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    petal = _edge(radius - 0.1 * np.cos(petals * angle), rng.uniform(0.2, 0.32), -0.05)
    leaves = 0.7 * _edge(_fractal(rng, 6, 6, 3), 0.6, 0.06)
    return _mix(leaves, petal, 0.25 * _noise(rng, 32, 32) + 0.7 * _edge(radius, 0.08, -0.04))


def _swirls(rng: np.random.Generator) -> Array:
    warp = _fractal(rng, 4, 4, 2)
    bands = np.sin(2 * np.pi * warp * rng.uniform(3, 7)).astype(np.float32)
    return _mix(_edge(bands, 0.2, 0.3), _edge(bands, -0.8, -0.2), 0.15 * rng.random((TILE, TILE), np.float32))


def _weave(rng: np.random.Generator) -> Array:
    count = int(rng.choice([24, 32, 48]))
    over = np.sin(np.pi * _X * 2 * count) * np.sin(np.pi * _Y * 2 * count)
    return _mix(0.4 * _fractal(rng, 5, 5, 3), 0.0, 0.35 + 0.35 * over.astype(np.float32))


def _rug(rng: np.random.Generator) -> Array:
    ring = np.maximum(np.abs(_X - 0.5), np.abs(_Y - 0.5)) * 2
    bands = np.zeros((TILE, TILE), np.float32)
    for edge in sorted(rng.uniform(0.3, 0.95, int(rng.integers(1, 5)))):
        bands = np.where(ring > edge, 1 - bands, bands)
    inner = [_plain, _flowers, _swirls, _stripes, _plaid][int(rng.integers(5))](rng)
    return _mix(
        0.8 * bands + 0.6 * inner[..., 0],
        inner[..., 1] * (1 - bands),
        0.5 * rng.random((TILE, TILE), np.float32),
    )


def _landscape(rng: np.random.Generator) -> Array:
    horizon = rng.uniform(0.35, 0.7)
    ridge = horizon + 0.25 * (_fractal(rng, 3, 1, 5)[:1] - 0.5)
    ground = _edge(_Y - ridge, 0, 0.02)
    near = _edge(_Y - (ridge + rng.uniform(0.08, 0.25) + 0.1 * _fractal(rng, 5, 1, 4)[:1]), 0, 0.03)
    cloud = 0.8 * _edge(_fractal(rng, 3, 6, 4), 0.55, 0.25) * (1 - ground)
    trees = ground * _edge(_fractal(rng, 12, 12, 4), 0.5, 0.2)
    return _mix(0.9 * ground + 0.5 * cloud, 0.6 * near + cloud * 0.3, 0.7 * trees)


def _abstract(rng: np.random.Generator) -> Array:
    layers = [np.zeros((TILE, TILE), np.float32) for _ in range(3)]
    for _ in range(int(rng.integers(5, 16))):
        x, y, r = rng.random(3)
        angle = rng.uniform(0, np.pi)
        u = (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle)
        v = (_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle)
        if rng.random() < 0.5:
            patch = _edge(np.hypot(u, v), 0.05 + 0.25 * r, -0.01)
        else:
            patch = _edge(np.maximum(np.abs(u), 4 * np.abs(v) * rng.uniform(0.2, 1)), 0.1 + 0.25 * r, -0.01)
        chosen = int(rng.integers(4))
        for number, layer in enumerate(layers):
            layer += (float(number == chosen) - layer) * patch
    return _mix(*layers)


def _portrait(rng: np.random.Generator) -> Array:
    x = _X - rng.uniform(0.4, 0.6)
    face = _edge(np.hypot(x, (_Y - 0.4) * 0.75), rng.uniform(0.12, 0.18), -0.03)
    hair = _edge(np.hypot(x, (_Y - 0.36) * 0.8), rng.uniform(0.18, 0.26), -0.05)
    body = _edge(np.hypot(x * 0.8, _Y - 1.05), 0.4, -0.03)
    return _mix(0.4 * _fractal(rng, 4, 4) + body, face, 0.9 * np.maximum(hair - face, 0) + 0.3 * _fractal(rng, 8, 8))


def _print(rng: np.random.Generator) -> Array:
    """A page or poster: a block or two and lines of writing."""
    lines = int(rng.choice([14, 20, 28]))
    writing = _edge(_noise(rng, 60, 128), 0.5, 0.2) * _edge(np.abs((_Y * lines) % 1 - 0.5), 0.25, -0.1)
    margin = (np.maximum(np.abs(_X - 0.5), np.abs(_Y - 0.5)) < 0.42).astype(np.float32)
    x, y = rng.uniform(0.1, 0.5, 2)
    w, h = rng.uniform(0.2, 0.5, 2)
    block = ((x < _X) & (x + w > _X) & (y < _Y) & (y + h > _Y)).astype(np.float32)
    return _mix(block, block * _fractal(rng, 4, 4), 0.9 * writing * margin * (1 - block))


def _spines(rng: np.random.Generator) -> Array:
    """Backs of books: slices of uneven width, each with its own mixture, a title and bands."""
    widths = rng.uniform(0.5, 1.8, int(rng.integers(14, 30)))
    ends = np.cumsum(widths) / widths.sum()
    book = np.minimum(np.searchsorted(ends, _X[0]), len(ends) - 1)
    mixture = rng.dirichlet([0.35] * 4, len(ends)).astype(np.float32)[book][None, :, 1:]
    start = np.concatenate([[0.0], ends[:-1]])[book]
    inside = (_X[0] - start) / (widths / widths.sum())[book]
    joint = _edge(np.abs(inside - 0.5).astype(np.float32), 0.42, 0.1)[None]
    title_at = rng.uniform(0.2, 0.5, len(ends))[book]
    title = (np.abs(_Y - title_at) < 0.12) & (np.abs(inside - 0.5) < 0.2)[None]
    band = (np.abs(_Y - rng.uniform(0.75, 0.95, len(ends))[book]) < 0.03) & (rng.random(len(ends)) < 0.5)[book]
    mark = (title * _edge(_noise(rng, 128, 40), 0.4, 0.2) + band).astype(np.float32)
    weights = np.broadcast_to(mixture, (TILE, TILE, 3)) * (1 - 0.7 * mark[..., None])
    return _mix(weights[..., 0], weights[..., 1], np.maximum(weights[..., 2], 0.85 * joint))


def _outdoors(rng: np.random.Generator) -> Array:
    """The view out of a window, for the colors sky, leaves, walls, shade."""
    kind = rng.integers(3)
    tops = 0.15 + 0.7 * _fractal(rng, 4, 1, 4)[:1]
    leaves = _edge(_Y - tops, 0, 0.05) * _edge(_fractal(rng, 10, 10, 4), 0.35 if kind else 0.6, 0.2)
    columns = int(rng.integers(3, 6))
    height = rng.uniform(0.2, 0.9, columns).astype(np.float32)[np.floor(_X * columns).astype(int)]
    house = (height < _Y).astype(np.float32) * float(kind != 1)
    panes = house * (np.abs((_X * columns * 4) % 1 - 0.5) < 0.25) * (np.abs((_Y * 14) % 1 - 0.5) < 0.25)
    return _mix(leaves, house, 0.8 * panes + 0.4 * leaves * _noise(rng, 32, 32))


def _slats(rng: np.random.Generator) -> Array:
    """Blinds and radiators: curved bars, light on one side."""
    count = int(rng.choice([12, 16, 24]))
    phase = (_Y * count) % 1
    return _mix(0.3 * _edge(phase, 0.6, 0.5), 0.0, 0.75 * phase**2)


def _folds(rng: np.random.Generator) -> Array:
    """Hanging cloth: soft vertical waves under some pattern."""
    wave = _noise(rng, int(rng.integers(6, 14)), 1)
    pattern = [_plain, _flowers, _stripes, _swirls, _weave][int(rng.integers(5))](rng)
    return _mix(pattern[..., 0], pattern[..., 1], 0.75 * wave + 0.3 * pattern[..., 2])


def _screen(rng: np.random.Generator) -> Array:
    if rng.random() < 0.5:
        return _landscape(rng) if rng.random() < 0.5 else _abstract(rng)
    bar = (_Y < 0.08).astype(np.float32)
    return _mix(bar + _abstract(rng)[..., 0] * 0.6, _print(rng)[..., 2], 0.1)


_GROUPS: dict[str, tuple[Callable[[np.random.Generator], Array], int]] = {
    "plain": (_plain, 5), "carpet": (_carpet, 4), "grain": (_grain, 6), "planks": (_planks, 5),
    "parquet": (_parquet, 2), "bricks": (_bricks, 3), "tiles": (_tiles, 5), "speckle": (_speckle, 3),
    "marble": (_marble, 3), "stripes": (_stripes, 5), "plaid": (_plaid, 3), "flowers": (_flowers, 4),
    "swirls": (_swirls, 3), "weave": (_weave, 3), "rug": (_rug, 5), "landscape": (_landscape, 5),
    "abstract": (_abstract, 5), "portrait": (_portrait, 3), "print": (_print, 4), "spines": (_spines, 6),
    "outdoors": (_outdoors, 5), "slats": (_slats, 3), "folds": (_folds, 5), "screen": (_screen, 4),
}  # fmt: skip


@lru_cache(maxsize=2)
def pattern_bank(seed: int) -> PatternBank:
    """All patterns of a data set; a few tenths of a second the first time, then cached."""
    rng = np.random.default_rng([seed, 0x7E07])
    tiles: list[Array] = []
    groups: dict[str, tuple[int, ...]] = {}
    for name, (draw, count) in _GROUPS.items():
        groups[name] = tuple(range(len(tiles), len(tiles) + count))
        tiles.extend(draw(rng) for _ in range(count))
    pitch = TILE + 2 * GUTTER
    rows = -(-len(tiles) // _COLUMNS)
    atlas = np.zeros((rows * pitch, _COLUMNS * pitch, 3), np.uint8)
    corners = np.zeros((len(tiles), 2), np.float32)
    for number, tile in enumerate(tiles):
        y, x = (number // _COLUMNS) * pitch, (number % _COLUMNS) * pitch
        padded = np.pad(tile, ((GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="wrap")
        atlas[y : y + pitch, x : x + pitch] = np.rint(255 * np.clip(padded, 0, 1))
        corners[number] = x + GUTTER, y + GUTTER
    means = np.stack([tile.mean((0, 1)) for tile in tiles]).astype(np.float32)
    return PatternBank(atlas=atlas, corners=corners, means=means, groups=groups)

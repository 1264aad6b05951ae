"""The light each surface sends to the camera: patterns, lamps, soft shadows, darker corners.

H W: rays. A lamp's light falls off with distance; the main lamp's shadows come from a variance shadow map (Donnelly and
Lauritzen, I3D 2006), which blurs like light from something larger than a point.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.synthetic_rooms.layout import Scene
from geminifusion_model.data.synthetic_rooms.raycast import Surfaces, View, cast
from geminifusion_model.data.synthetic_rooms.textures import TILE, PatternBank

Array = NDArray[np.float32]

_SHADOW_RAYS = 160
_GRID_M = 0.06  # of the map of what stands on the floor
_SHADOW_REACH = 2.6  # tangent of half the angle under which the lamp looks down


def shade(scene: Scene, bank: PatternBank, seen: Surfaces, view: View, rng: np.random.Generator) -> Array:
    """Linear light, `H W 3`."""
    ambient = np.array([1.0, 0.98, 0.95]) * rng.uniform(0.15, 0.5) + rng.normal(0, 0.015, 3)
    sky = rng.uniform(0.05, 0.35)
    nx, ny, nz = seen.normal
    to_eye = [view.origin[i] - seen.point[i] for i in range(3)]
    reach = np.sqrt(to_eye[0] ** 2 + to_eye[1] ** 2 + to_eye[2] ** 2) + np.float32(1e-6)
    bias = rng.normal(0, 0.12, 2)  # one side of a room is always lighter than the other
    base = np.float32(1) + np.float32(sky) * nz + np.float32(bias[0]) * nx + np.float32(bias[1]) * ny
    base *= _corner_darkening(scene, seen) * _crevice_darkening(seen.depth) * _floor_darkening(scene, seen)
    light = [base * np.float32(channel) for channel in ambient]
    gloss = np.array([shape.material.gloss for shape in scene.shapes], np.float32).take(seen.shape)
    highlight = np.zeros_like(seen.depth)
    for number, lamp in enumerate(scene.lamps[:4]):
        to_lamp = [lamp.position[i] - seen.point[i] for i in range(3)]
        square = to_lamp[0] ** 2 + to_lamp[1] ** 2 + to_lamp[2] ** 2
        away = np.sqrt(square) + np.float32(1e-6)
        facing = (nx * to_lamp[0] + ny * to_lamp[1] + nz * to_lamp[2]) / away
        # Light comes back from the walls too: surfaces turned away are not black.
        received = np.maximum(facing, 0) * np.float32(lamp.power) / (np.float32(0.6) + square)
        if number == 0:
            received *= _lit(scene, lamp.position, seen)
        for channel in range(3):
            light[channel] += received * lamp.color[channel]
        if number == 0:
            halfway = sum(seen.normal[i] * (to_lamp[i] / away + to_eye[i] / reach) for i in range(3))
            length = np.sqrt(np.maximum(2 + 2 * sum(to_lamp[i] * to_eye[i] for i in range(3)) / (away * reach), 1e-6))
            shine = np.clip(halfway / length, 0, 1)
            for _ in range(5):
                shine = shine * shine  # to the 32nd power
            highlight = gloss * shine * received * np.float32(0.7)
    emission = np.array([shape.material.emission for shape in scene.shapes], np.float32).take(seen.shape)
    color = _pattern(scene, bank, seen, view, reach)
    image = np.empty((*seen.depth.shape, 3), np.float32)
    for channel in range(3):
        image[..., channel] = color[channel] * (light[channel] + emission) + highlight
    return image


def _pattern(scene: Scene, bank: PatternBank, seen: Surfaces, view: View, reach: Array) -> Array:
    """Reflectance, `3 H W`."""
    shapes = scene.shapes
    half = np.stack([shape.half for shape in shapes])
    repeats = np.array([shape.material.repeats_per_m for shape in shapes], np.float32)
    flat = seen.shape
    # The face's two axes: upright faces carry their pattern upright.
    across_axis = np.where(seen.facing == 0, 1, 0)
    up_axis = np.where(seen.facing == 2, 1, 2)
    across, up = np.choose(across_axis, seen.local), np.choose(up_axis, seen.local)
    half_across, half_up = (
        half.reshape(-1).take(flat * 3 + across_axis),
        half.reshape(-1).take(flat * 3 + up_axis),
    )
    scale = repeats.take(flat)
    whole = scale == 0
    offsets = np.array([shape.material.offset for shape in shapes], np.float32)
    u = np.where(
        whole,
        np.float32(0.5) + np.float32(0.499) * across,
        across * half_across * scale + offsets[:, 0].take(flat),
    )
    v = np.where(whole, np.float32(0.5) - np.float32(0.499) * up, -up * half_up * scale + offsets[:, 1].take(flat))
    corners = bank.corners[[shape.material.tile for shape in shapes]]
    column = corners[:, 0].take(flat) + (u - np.floor(u)) * np.float32(TILE) - np.float32(0.5)
    row = corners[:, 1].take(flat) + (v - np.floor(v)) * np.float32(TILE) - np.float32(0.5)
    weights = cv2.remap(bank.atlas, column, row, cv2.INTER_LINEAR)
    # Where a ray's spacing on the surface passes a texel, fade to the mean, as a real lens would average.
    cosine = np.abs(sum(seen.normal[i] * (view.origin[i] - seen.point[i]) for i in range(3))) / reach
    texels = np.where(whole, np.float32(0.5) / half_across, scale) * np.float32(TILE)
    spacing = seen.depth * (view.x[1] - view.x[0]) * texels / np.maximum(cosine, np.float32(0.1))
    fade = np.clip((np.log2(np.maximum(spacing, np.float32(0.1))) - 1) * np.float32(0.3), 0, np.float32(0.95))
    means = bank.means[[shape.material.tile for shape in shapes]]
    colors = np.stack([shape.material.colors for shape in shapes])  # n 4 3
    mix = []
    for number in range(3):
        weight = weights[..., number] * np.float32(1 / 255)
        mix.append(weight + fade * (means[:, number].take(flat) - weight))
    result = np.empty_like(seen.point)
    for channel in range(3):
        base = colors[:, 0, channel]
        total = base.take(flat)
        for number in range(3):
            total += mix[number] * (colors[:, number + 1, channel] - base).take(flat)
        result[channel] = total
    return result


def _lit(scene: Scene, position: Array, seen: Surfaces) -> Array:
    """The share of the main lamp that each point sees, 0…1."""
    axes = np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]], np.float32)
    spread = np.linspace(-_SHADOW_REACH, _SHADOW_REACH, _SHADOW_RAYS, dtype=np.float32)
    view = View(position, axes, spread, spread)
    casting = [shape for number, shape in enumerate(scene.shapes) if number < 6 or shape.casts_shadow]
    depth, _ = cast(casting, scene.size, view)
    moments = cv2.GaussianBlur(np.stack([depth, depth * depth], axis=-1), (0, 0), 1.6)
    down = position[2] - seen.point[2]
    safe = np.maximum(down, np.float32(0.05))
    step = spread[1] - spread[0]
    column = ((seen.point[0] - position[0]) / safe - spread[0]) / step
    row = (-(seen.point[1] - position[1]) / safe - spread[0]) / step
    found = cv2.remap(moments, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mean = found[..., 0]
    variance = np.maximum(found[..., 1] - mean * mean, np.float32(4e-4))
    behind = np.maximum(down - mean - np.float32(0.03), 0)
    chance = variance / (variance + behind * behind)
    chance = np.clip((chance - np.float32(0.25)) / np.float32(0.75), 0, 1)
    # Beyond the map's reach (high on the walls) nothing stands between lamp and wall.
    inside = (np.abs(column - _SHADOW_RAYS / 2) < _SHADOW_RAYS / 2) & (
        np.abs(row - _SHADOW_RAYS / 2) < _SHADOW_RAYS / 2
    )
    return np.where(inside & (down > 0.05), chance, np.float32(1))


def _corner_darkening(scene: Scene, seen: Surfaces) -> Array:
    """Less light reaches the edges where the room's sides meet."""
    result = np.ones_like(seen.depth)
    for axis in range(3):
        gap = np.minimum(seen.point[axis], scene.size[axis] - seen.point[axis])
        # The side itself is at distance zero from its own plane and is not darkened by it.
        flat = np.abs(seen.normal[axis])
        result *= 1 - np.float32(0.4) * (1 - flat) * np.exp(-np.maximum(gap, 0) * np.float32(4.0))
    return result


def _floor_darkening(scene: Scene, seen: Surfaces) -> Array:
    """Less light gets under and beside what stands on the floor; the effect ends at about half a metre up."""
    covered = np.zeros((int(scene.size[1] / _GRID_M) + 2, int(scene.size[0] / _GRID_M) + 2), np.float32)
    for place in scene.footprints:
        x0, y0, x1, y1 = (max(0, round(edge / _GRID_M)) for edge in place[:4])
        covered[y0:y1, x0:x1] = 1
    covered = np.asarray(cv2.GaussianBlur(covered, (0, 0), 2.0), np.float32)
    column, row = (seen.point[i] * np.float32(1 / _GRID_M) - np.float32(0.5) for i in (0, 1))
    here = cv2.remap(covered, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return 1 - np.float32(0.55) * here * np.exp(-5 * np.maximum(seen.point[2], 0))


def _crevice_darkening(depth: Array) -> Array:
    """Darker behind and beside what stands nearer: the neighborhood's mean nearness against the point's own."""
    height, width = depth.shape
    small = cv2.resize(1 / depth, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    around = cv2.resize(cv2.GaussianBlur(small, (0, 0), max(width / 160, 1)), (width, height))
    return 1 - np.clip((around * depth - 1) * np.float32(1.5), 0, np.float32(0.4))

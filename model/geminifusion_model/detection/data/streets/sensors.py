"""The camera's image of a street and the LiDAR's points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.data.streets.parts import GROUND, NOTHING, Hits, cast, local
from geminifusion_model.detection.data.streets.scene import GROUND_M, Scene
from geminifusion_runtime.detection.calibration import Calibration

_KITTI_SIZE = (375, 1242)
_KITTI_FOCAL, _KITTI_CENTER = 721.5377, (609.5593, 172.854)
_ELEVATION_DEG = (2.0, -24.9)  # of the highest and lowest beam of KITTI's LiDAR
_HALF_FIELD = math.radians(45)
_RANGE_NOISE_M, _FARTHEST_M = 0.02, 80.0
_SUN = np.array([0.35, 0.5, 0.79], np.float32)


def calibration_of(size: tuple[int, int]) -> Calibration:
    """Camera and LiDAR of KITTI's car, for images of `size`, height and width, with the same angle of view."""
    across, down = size[1] / _KITTI_SIZE[1], size[0] / _KITTI_SIZE[0]
    focal = _KITTI_FOCAL * across
    p2 = np.array([[focal, 0, _KITTI_CENTER[0] * across, 44.85728 * across], [0, focal, _KITTI_CENTER[1] * down, 0.22]])
    return Calibration(
        p2=np.vstack([p2, [0, 0, 1, 0.002746]]),
        r0_rect=np.eye(3),
        tr_velo_to_cam=np.array([[0.0, -1, 0, -0.004], [0, 0, -1, -0.076], [1, 0, 0, -0.272]]),
        image_size=size,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """An image, `H W 3` uint8 RGB, and by thing how many of its pixels are seen, and would be if it stood alone."""

    image: NDArray[np.uint8]
    seen: dict[int, int]
    alone: dict[int, int]


def photograph(scene: Scene, calibration: Calibration, size: tuple[int, int], rng: np.random.Generator) -> Photograph:
    """What the camera sees, one ray through the middle of each pixel."""
    height, width = size
    matrix = calibration.lidar2image[:3]
    back = np.linalg.inv(matrix[:, :3])
    v, u = np.mgrid[:height, :width].reshape(2, -1) + 0.5
    rays = (np.column_stack([u, v, np.ones_like(u)]) @ back.T).astype(np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = (-back @ matrix[:, 3]).astype(np.float32)
    hits = cast(scene.parts, origin, rays, GROUND_M)
    light = _shaded(scene, origin, rays, hits)
    exposed = light * rng.uniform(0.8, 1.1) + rng.normal(0, 0.012, light.shape)
    on_parts = hits.parts[hits.parts >= 0]
    owners, counts = np.unique(scene.parts.owners[on_parts], return_counts=True)
    return Photograph(
        image=(exposed.clip(0, 1) * 255).astype(np.uint8).reshape(height, width, 3),
        seen=dict(zip(owners.tolist(), counts.tolist(), strict=True)),
        alone=hits.alone,
    )


def scan(scene: Scene, rng: np.random.Generator, *, beams: int, step_deg: float) -> NDArray[np.float32]:
    """What the LiDAR measures of the 90 degrees before it, `P 4`: noisy ranges, some returns lost.

    Args:
        beams: spread evenly over KITTI's elevations.
        step_deg: degrees of azimuth between measurements.
    """
    elevation = np.radians(np.linspace(*_ELEVATION_DEG, beams))[:, None]
    azimuth = np.arange(_HALF_FIELD, -_HALF_FIELD, -math.radians(step_deg))[None]
    flat = np.cos(elevation)
    rays = np.stack(
        np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)), axis=-1
    ).reshape(-1, 3)
    rays = rays.astype(np.float32)
    hits = cast(scene.parts, np.zeros(3, np.float32), rays, GROUND_M)
    ranges = hits.distances + rng.normal(0, _RANGE_NOISE_M, len(rays)).astype(np.float32)
    lost = rng.random(len(rays)) < 0.03 + 0.1 * (ranges.clip(0, _FARTHEST_M) / _FARTHEST_M) ** 2
    kept = (hits.distances < _FARTHEST_M) & ~lost
    part = hits.parts[kept]
    # facing shows in the reflectance as it does with real sensors; noise hides what the material is
    reflectance = np.where(part == GROUND, 0.22, scene.parts.reflectances[part.clip(min=0)])
    reflectance = reflectance * rng.uniform(0.6, 1.4, len(part))
    points = rays[kept] * ranges[kept, None]
    return np.column_stack([points, reflectance.clip(0, 0.99)]).astype(np.float32)


def _shaded(scene: Scene, origin: NDArray[np.float32], rays: NDArray[np.float32], hits: Hits) -> NDArray[np.float32]:
    """Colors `R 3`, 0…1."""
    light = np.empty((len(rays), 3), np.float32)
    sky = hits.parts == NOTHING
    upward = rays[sky, 2:].clip(0, 1)
    blue, gray = np.array([0.5, 0.68, 0.92], np.float32), np.array([0.75, 0.77, 0.8], np.float32)
    light[sky] = (blue + (gray - blue) * scene.cloudiness) * (1 - 0.5 * upward)
    ground = hits.parts == GROUND
    light[ground] = _ground_colors(scene, origin + rays[ground] * hits.distances[ground, None])
    (solid,) = np.nonzero(hits.parts >= 0)
    which = hits.parts[solid]
    points = origin + rays[solid] * hits.distances[solid, None]
    shares, normals = local(scene.parts, which, points)
    sun = (normals @ _SUN).clip(min=0)[:, None] * (1 - 0.7 * scene.cloudiness)
    light[solid] = _part_colors(scene, which, shares) * (0.55 + 0.25 * scene.cloudiness + 0.45 * sun)
    haze = (1 - np.exp(-hits.distances[~sky] / 400))[:, None]
    light[~sky] += (gray - light[~sky]) * haze
    return light


def _ground_colors(scene: Scene, points: NDArray[np.float32]) -> NDArray[np.float32]:
    cosine, sine = math.cos(scene.heading), math.sin(scene.heading)
    along = points[:, 0] * cosine + points[:, 1] * sine
    across = points[:, 1] * cosine - points[:, 0] * sine + scene.offset
    colors = np.tile(np.array([0.3, 0.4, 0.22], np.float32), (len(points), 1))
    colors[np.abs(across) < scene.half_street] = (0.5, 0.48, 0.45)
    colors[np.abs(across) < scene.half_road] = (0.3, 0.3, 0.31)
    dashes = (np.abs(across) < 0.08) & (along % 9 < 4)
    colors[dashes] = 0.85
    grain = np.sin(along * 7.3) * np.sin(across * 9.1) + np.sin(along * 2.1 + across * 3.7)
    return np.asarray(colors * (1 + 0.04 * grain[:, None]), np.float32)


def _part_colors(scene: Scene, which: NDArray[np.int64], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    colors = scene.parts.colors[which].copy()
    corner = (np.abs(shares[:, 1]) > 0.6) & (shares[:, 2] > 0.0) & (shares[:, 2] < 0.7) & scene.parts.lit[which]
    colors[corner & (shares[:, 0] > 0.99)] = (0.95, 0.93, 0.8)
    colors[corner & (shares[:, 0] < -0.99)] = (0.75, 0.08, 0.08)
    meters = shares * scene.parts.halves[which]
    column = np.where(np.abs(shares[:, 1]) > 0.99, meters[:, 0], meters[:, 1])
    pane = (column % 2.6 > 1.3) & ((meters[:, 2] + scene.parts.halves[which, 2]) % 3.0 > 1.5)
    colors[pane & scene.parts.windows[which] & (np.abs(shares[:, 2]) < 0.97)] = (0.17, 0.2, 0.26)
    return colors

"""A structured-light depth sensor's view of a scene.

It measures disparity between its projector, 7.5 cm to the right, and its camera; so errors grow with the square of
distance, surfaces the projector cannot see stay empty (left of things in front), and glass, black screens, dark or
grazing surfaces send too little back. Depth is `H W` metres, 0 = no measurement.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.synthetic_rooms.camera import FOCAL_PER_WIDTH
from geminifusion_model.data.synthetic_rooms.raycast import Surfaces

Array = NDArray[np.float32]

RANGE_M = (0.5, 10.0)
BASELINE_M = 0.075
_STEP_PIXELS = 1 / 8  # of 640 across, the sensor's own resolution


def measure(
    seen: Surfaces, to_eye_cosine: Array, brightness: Array, infrared: Array, rng: np.random.Generator
) -> Array:
    """A sensor's depth with its noise and its holes.

    Args:
        seen: the true surfaces.
        to_eye_cosine: `H W`, cosine between normal and ray.
        brightness: `H W`, reflectance 0…1.
        infrared: `H W`, probability that nothing comes back.
        rng: random generator.
    """
    height, width = seen.depth.shape
    depth = _ragged(seen.depth, rng)
    disparity = _disparity(depth, width)
    wobble = cv2.resize(rng.standard_normal((height // 4 + 1, width // 4 + 1), np.float32), (width, height))
    step = np.float32(_STEP_PIXELS * width / 640)
    disparity += step * (np.float32(0.35) * wobble + np.float32(0.25) * rng.standard_normal(depth.shape, np.float32))
    disparity = np.maximum(np.rint(disparity / step), 1) * step
    measured = _disparity(disparity, width)  # the relation is its own inverse
    lost = _in_projector_shadow(seen.depth)
    # Losses come in patches: chances are compared with smooth noise that is uniform over 0…1.
    patchy = _uniform_patches(rng, height, width, 10)
    weak = np.clip((np.float32(0.22) - to_eye_cosine) * 5, 0, 1)
    weak = np.maximum(weak, np.float32(0.6) * np.clip((np.float32(0.035) - brightness) * 30, 0, 1))
    weak = np.maximum(weak, infrared)
    weak = np.maximum(weak, np.float32(0.25) * np.clip((seen.depth - 5) / 4, 0, 1))
    lost |= patchy < weak
    lost |= rng.random(depth.shape, np.float32) < 0.002
    lost |= _uniform_patches(rng, height, width, 40) < rng.uniform(0, 0.012)
    return np.where(lost | (measured < RANGE_M[0]) | (measured > RANGE_M[1]), np.float32(0), measured)


def fill_holes(depth: Array) -> Array:
    """Depth without holes, smoothed, as the in-painted maps of NYU Depth V2.

    Each hole takes the mean of what was measured around it, from the finest scale at which anything was.
    """
    sums, counts = [np.where(depth > 0, depth, np.float32(0))], [(depth > 0).astype(np.float32)]
    while min(sums[-1].shape) > 2:
        sums.append(np.asarray(cv2.pyrDown(sums[-1]), np.float32))
        counts.append(np.asarray(cv2.pyrDown(counts[-1]), np.float32))
    whole = counts[-1].sum()
    filled = np.full_like(sums[-1], sums[-1].sum() / whole if whole > 0 else RANGE_M[1])
    for total, count in zip(reversed(sums), reversed(counts), strict=True):
        coarse = cv2.resize(filled, (total.shape[1], total.shape[0]), interpolation=cv2.INTER_LINEAR)
        sure = np.clip(count * 2, 0, 1)
        filled = coarse + sure * (total / np.maximum(count, np.float32(1e-4)) - coarse)
    return np.asarray(cv2.medianBlur(np.clip(filled, *RANGE_M).astype(np.float32), 5), np.float32)


def _disparity(depth: Array, width: int) -> Array:
    return np.float32(FOCAL_PER_WIDTH * width * BASELINE_M) / depth


def _ragged(depth: Array, rng: np.random.Generator) -> Array:
    """Move every reading a little: the outlines of things are never where they should be."""
    height, width = depth.shape
    shift = rng.standard_normal((2, height // 3 + 1, width // 3 + 1), np.float32) * np.float32(1.1 * width / 640)
    x = cv2.resize(shift[0], (width, height)) + np.arange(width, dtype=np.float32)[None, :]
    y = cv2.resize(shift[1], (width, height)) + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _in_projector_shadow(depth: Array) -> NDArray[np.bool_]:
    """Points that something nearer hides from the projector: both fall on the same column of its image."""
    height, width = depth.shape
    disparity = _disparity(depth, width)
    column = np.rint(np.arange(width, dtype=np.float32)[None, :] - disparity).astype(np.int64)
    reach = int(-column.min()) + 1
    flat = (column + reach) + np.arange(height)[:, None] * (width + reach)
    nearest = np.zeros(height * (width + reach), np.float32)
    np.maximum.at(nearest, flat.reshape(-1), disparity.reshape(-1))
    # Slanted surfaces leave gaps between their columns; a projector does not.
    nearest = cv2.dilate(nearest.reshape(height, -1), np.ones((1, 3), np.uint8)).reshape(-1)
    slack = np.float32(2.5 * width / 640) + np.float32(0.04) * disparity
    return np.asarray(nearest.take(flat) > disparity + slack)


def _uniform_patches(rng: np.random.Generator, height: int, width: int, size: int) -> Array:
    """Smooth noise whose values are spread evenly over 0…1."""
    scale = size * width / 640
    cells = rng.standard_normal((int(height / scale) + 2, int(width / scale) + 2), np.float32)
    noise = np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    noise += np.float32(0.3) * rng.standard_normal((height, width), np.float32)
    ranks = np.float32(0.8) * noise / (noise.std() + np.float32(1e-6))
    return np.asarray(1 / (1 + np.exp(np.float32(-1.702 / 0.8) * ranks)), np.float32)

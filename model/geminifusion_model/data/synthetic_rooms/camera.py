"""The hand-held color camera: pose, lens, exposure, noise, compression.

The lens is that of the Kinect that took NYU Depth V2: 518 pixels of focal length at 640x480, centered.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.nyuv2 import CLASSES_13
from geminifusion_model.data.synthetic_rooms.layout import Scene
from geminifusion_model.data.synthetic_rooms.raycast import View, cast

Array = NDArray[np.float32]

FOCAL_PER_WIDTH = 518.0 / 640.0
_CANDIDATES = 6
# Weights of classes in the choice of a view, tuned so that classes occur about as often as in NYU Depth V2.
_WEIGHTS = {"wall": -2.4, "ceiling": -0.3, "floor": -1.3, "window": -0.8, "tv": 6.0, "chair": 2.5, "bed": 1.0}
_INTEREST = np.array([_WEIGHTS.get(name, 0.0) for name in CLASSES_13])
_GLANCE = (20, 27)  # rays of the small image by which a view is judged


@dataclass(frozen=True)
class Pose:
    """A camera in a room.

    Args:
        position: `3` metres, z up.
        axes: `3 3`, columns right, down and forward in the room.
    """

    position: Array
    axes: Array

    def view(self, size: tuple[int, int], per_pixel: int = 1) -> View:
        """Rays through the pixel centers of an image of H x W, and `per_pixel - 1` evenly between them."""
        height, width = size
        focal = FOCAL_PER_WIDTH * width
        column = np.arange(width * per_pixel) / per_pixel
        row = np.arange(height * per_pixel) / per_pixel
        return View(
            self.position,
            self.axes,
            ((column - (width - 1) / 2) / focal).astype(np.float32),
            ((row - (height - 1) / 2) / focal).astype(np.float32),
        )


def choose_pose(scene: Scene, rng: np.random.Generator) -> Pose:
    """Look around as a person would and keep the view that shows most."""
    best: tuple[float, Pose] | None = None
    labels = np.array([shape.label for shape in scene.shapes])
    for _ in range(_CANDIDATES):
        pose = _standing_somewhere(scene, rng)
        depth, index = cast(scene.shapes, scene.size, pose.view(_GLANCE))
        shares = np.bincount(labels[index].reshape(-1), minlength=13) / index.size
        shown = shares[shares > 0]
        # Many classes in fair shares, nothing close to the lens, no views of bare walls.
        merit = float(-(shown * np.log(shown)).sum() - 3 * (depth < 0.8).mean() + rng.normal(0, 0.25))
        merit += float(shares @ _INTEREST)
        if best is None or merit > best[0]:
            best = merit, pose
    assert best is not None
    return best[1]


def _standing_somewhere(scene: Scene, rng: np.random.Generator) -> Pose:
    height = float(np.clip(rng.normal(1.4, 0.2), 0.8, 1.8))
    position = scene.size * 0.5
    for _ in range(20):
        x, y = rng.uniform(0.25, scene.size[0] - 0.25), rng.uniform(0.25, scene.size[1] - 0.25)
        position = np.array([x, y, height], np.float32)
        margin = 0.25
        inside = any(
            f.x0 - margin < x < f.x1 + margin and f.y0 - margin < y < f.y1 + margin and height < f.height + 0.35
            for f in scene.footprints
        )
        if not inside:
            break
    if scene.footprints and rng.random() < 0.85:
        areas = np.array([(f.x1 - f.x0) * (f.y1 - f.y0) + 0.2 for f in scene.footprints])
        f = scene.footprints[int(rng.choice(len(areas), p=areas / areas.sum()))]
        target = np.array([rng.uniform(f.x0, f.x1), rng.uniform(f.y0, f.y1), 0.6 * f.height + rng.uniform(0.1, 0.6)])
    else:
        target = scene.size * rng.uniform([0, 0, 0.25], [1, 1, 0.6])
    towards = target - position
    yaw = float(np.arctan2(towards[1], towards[0]) + rng.normal(0, 0.15))
    distance = max(float(np.hypot(towards[0], towards[1])), 0.8)
    pitch = float(np.clip(np.arctan2(towards[2], distance) + rng.normal(0, 0.08), -0.65, 0.25))
    roll = float(rng.normal(0, 0.035))
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    level = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, level)
    right = np.cos(roll) * level + np.sin(roll) * down
    return Pose(
        position.astype(np.float32),
        np.stack([right, np.cross(forward, right), forward], 1).astype(np.float32),
    )


def photograph(light: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn linear light `H W 3` into what a cheap camera stores: `H W 3` uint8 sRGB.

    In order: exposure by the image's own brightness, white balance, vignetting, glare, blur, shot and read noise, the
    tone curve, JPEG.
    """
    height, width = light.shape[:2]
    middle, bright = np.quantile(light[::4, ::4].mean(2), [0.5, 0.88])
    image = light * np.float32(min(rng.uniform(0.1, 0.34) / (middle + 0.02), rng.uniform(0.6, 1.5) / (bright + 0.02)))
    image *= np.clip(rng.normal(1, [0.07, 0.03, 0.09]), 0.75, 1.3).astype(np.float32)
    y, x = np.linspace(-0.75, 0.75, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    image *= (1 - np.float32(rng.uniform(0.1, 0.3)) * (x[None, :] ** 2 + y[:, None] ** 2))[..., None]
    # Bright windows bleed into their surroundings.
    glare = cv2.resize(image, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    glare = cv2.resize(cv2.GaussianBlur(np.minimum(glare, 4), (0, 0), 3), (width, height))
    image += np.float32(rng.uniform(0.01, 0.06)) * glare
    if rng.random() < 0.3:
        image = _shaken(image, rng)
    sigma = rng.uniform(0.0, 0.6) * width / 320
    if sigma > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    gain = rng.uniform(0.004, 0.02)
    noise = rng.standard_normal(image.shape, np.float32)
    image += noise * np.sqrt(np.float32(gain**2) * 4 * np.maximum(image, 0) + np.float32((0.4 * gain) ** 2))
    toned = np.clip(image, 0, None)
    # Highlights roll off before they clip.
    toned = np.where(toned > 0.7, 0.7 + 0.3 * (1 - np.exp(-(toned - 0.7) / 0.3)), toned)
    roots = np.rint(255 * np.sqrt(np.clip(toned, 0, 1))).astype(np.uint8)
    stored = _tone_curve(rng)[roots]
    quality = int(rng.integers(55, 96))
    _, packed = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    bgr = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(bgr[..., ::-1])


def _shaken(image: Array, rng: np.random.Generator) -> Array:
    """Motion blur along a short line."""
    length = max(3, round(rng.uniform(0.006, 0.02) * image.shape[1])) | 1
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    for step in np.linspace(-length / 2 + 0.5, length / 2 - 0.5, 2 * length):
        kernel[round(length // 2 + step * np.sin(angle) * 0.99), round(length // 2 + step * np.cos(angle) * 0.99)] = 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def _tone_curve(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Map square roots of light to stored values: gamma with a little contrast."""
    root = np.arange(256, dtype=np.float32) / 255
    stored = root ** np.float32(2 / rng.uniform(2.0, 2.4))
    contrast = rng.uniform(0.2, 1.0)
    stored += contrast * stored * (1 - stored) * (stored - 0.5) * 2
    black = rng.uniform(0.0, 0.07)
    return np.rint(255 * np.clip((stored - black) / (1 - black), 0, 1)).astype(np.uint8)

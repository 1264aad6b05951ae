"""Domains computed from an RGB-D frame. Camera axes: x right, y down, z forward; metres; 0 = no measurement.

An image of normals has other axes, as published ones do: x right, y up, z towards the camera.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.geometry.normals import surface_normals
from geminifusion_runtime.geometry.points import points_map

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_WIDTH = 640  # at which the lengths below are in pixels

_NORMAL_WINDOW = 19
_SMOOTHING_PASSES = 4
_SMOOTHING_RADIUS = 5
_SMOOTHING_DEVIATION = 6.0
_STEPS_SMOOTHED = 1.5  # of stored depth; what differs by much more is another surface
_RELATIVE_NOISE = 0.01  # of a sensor's depth
_FAR_AWAY_M = 1e4  # stands for unmeasured pixels, which no measured one may be mixed with

_LIGHT = np.array([0.0, 0.6, 0.8], np.float32)  # from above the camera; x is 0, so that mirrored frames stay right
_AMBIENT = 0.2

_EDGE_BLUR = 1.0
_TEXTURE_FULL = 200.0  # of 8 times the change of gray a pixel (Sobel's sum), for an edge of strength 1

_JUMP_RANGE = (0.03, 0.15)  # of the relative jump of depth, from no edge to a full one
_JUMP_STEPS = 2.5  # stored steps that are no jump
_JUMP_REACH = 3  # pixels to both sides: an in-painted outline is not sharper


def normals_of(depth_m: Floats, camera: Intrinsics) -> Floats:
    """Normals of the surface, `H W 3` float32 of length 1; 0 where depth was not measured around.

    The depth is smoothed first by as much as it was rounded when it was stored, and a plane is fitted to each pixel's
    surroundings. Steeply seen planes of coarsely stored depth (NYU Depth V2's 8 bits) keep some of their stairs, and
    within a few pixels of an outline the normals of both surfaces are mixed.

    Args:
        depth_m: `H W` float32.
        camera: of the depth image.
    """
    measured = _measured(depth_m)
    if not measured.any():
        return np.zeros((*depth_m.shape, 3), np.float32)
    smooth = _smoothed(depth_m, measured)
    window = max(3, round(_NORMAL_WINDOW * depth_m.shape[1] / _WIDTH) | 1)
    towards = surface_normals(points_map(smooth, camera).astype(np.float64), measured, window)
    return image_normals(towards.astype(np.float32))


def image_normals(normals: Floats) -> Floats:
    """Normals in camera axes, `H W 3`, in those of an image of normals; and back."""
    return normals * np.array([1.0, -1.0, -1.0], np.float32)


def shade_of(normal: Floats) -> Floats:
    """Light on a matt surface, `H W` of 0…1: a fixed share from everywhere, the rest from one light above the camera.

    Args:
        normal: `H W 3`, an image of normals; 0 where there is none, which only gets the light from everywhere.
    """
    lit = np.maximum(normal @ _LIGHT, 0)
    return np.asarray(_AMBIENT + (1 - _AMBIENT) * lit, np.float32)


def edge_texture_of(rgb: NDArray[np.uint8]) -> Floats:
    """Strength of the edges of a photograph, `H W` of 0…1: the Sobel magnitude of the smoothed gray image."""
    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)
    blurred = cv2.GaussianBlur(gray, (0, 0), max(_EDGE_BLUR * rgb.shape[1] / _WIDTH, 0.5))
    across, down = (cv2.Sobel(blurred, cv2.CV_32F, dx, 1 - dx, ksize=3) for dx in (1, 0))
    return np.minimum(cv2.magnitude(across, down) / np.float32(_TEXTURE_FULL), 1.0).astype(np.float32)


def edge_occlusion_of(depth_m: Floats) -> Floats:
    """Strength of the jumps of depth, `H W` of 0…1.

    The jump is the second difference across a pixel, relative to its depth: planes have none, however steeply they are
    seen. Jumps of the order of the stored step are none. Beside unmeasured pixels there is no edge.
    """
    measured = _measured(depth_m)
    if not measured.any():
        return np.zeros(depth_m.shape, np.float32)
    # a plane's nearness is linear in the image, its depth is not
    near = np.where(measured, 1 / np.where(measured, depth_m, 1), 0).astype(np.float32)
    strongest = np.zeros(depth_m.shape, np.float32)
    reach = max(round(_JUMP_REACH * depth_m.shape[1] / _WIDTH), 1)
    for axis in (0, 1):
        change = _second_difference(near, measured, axis, reach)
        np.maximum(strongest, change * depth_m, out=strongest)
    step_jump = _JUMP_STEPS * stored_step(depth_m) / np.where(measured, depth_m, 1)
    low = np.maximum(np.float32(_JUMP_RANGE[0]), step_jump)
    width = np.float32(_JUMP_RANGE[1] - _JUMP_RANGE[0])
    return np.clip((strongest - low) / width, 0, 1).astype(np.float32)


def stored_step(depth_m: Floats) -> float:
    """The smallest difference of two measured depths of a frame, metres: the step in which it was stored."""
    values = np.unique(depth_m[_measured(depth_m)])
    return float(np.diff(values).min()) if len(values) > 1 else 0.0


def _second_difference(values: Floats, known: Mask, axis: int, reach: int) -> Floats:
    """Its magnitude across each pixel; 0 where one of the three values is unknown or outside the image."""
    found = np.zeros_like(values)
    if values.shape[axis] <= 2 * reach:
        return found

    def shifted(image: NDArray[np.generic], begin: int) -> NDArray[np.generic]:
        return image.take(range(begin, begin + values.shape[axis] - 2 * reach), axis)

    before, here, after = (np.asarray(shifted(values, begin), np.float32) for begin in (0, reach, 2 * reach))
    all_known = np.logical_and.reduce([shifted(known, begin) for begin in (0, reach, 2 * reach)])
    inner = (slice(None),) * axis + (slice(reach, -reach),)
    found[inner] = np.where(all_known, np.abs(before + after - 2 * here), 0)
    return found


def _measured(depth_m: Floats) -> Mask:
    return (depth_m > 0) & (depth_m < np.inf)


def _smoothed(depth_m: Floats, measured: Mask) -> Floats:
    """Depth without the steps of its storage and a sensor's noise; jumps between surfaces stay."""
    spread = max(_STEPS_SMOOTHED * stored_step(depth_m), _RELATIVE_NOISE * float(np.median(depth_m[measured])))
    scale = depth_m.shape[1] / _WIDTH
    diameter = 2 * max(round(_SMOOTHING_RADIUS * scale), 1) + 1
    smooth = np.where(measured, depth_m, np.float32(_FAR_AWAY_M))
    for _ in range(_SMOOTHING_PASSES):
        smooth = np.asarray(cv2.bilateralFilter(smooth, diameter, spread, _SMOOTHING_DEVIATION * scale), np.float32)
    return np.where(measured, smooth, np.float32(0))

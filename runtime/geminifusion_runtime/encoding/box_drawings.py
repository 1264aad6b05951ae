"""Boxes drawn for people: in the image, and among the points seen from above."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import EDGES, corners, footprints, transformed
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.settings import GridSettings

# One hue a class, told apart by people with any color vision (Okabe and Ito's palette).
_COLORS = ((0, 158, 115), (240, 228, 66), (86, 180, 233), (230, 159, 0), (204, 121, 167), (213, 94, 0), (0, 114, 178))
_NEAREST_M = 0.1  # edges are cut there, so that what reaches behind the camera is drawn up to the image's border
_BACKGROUND, _POINT, _GRID_LINE = 24, 150, 60  # grey levels
_GRID_STEP_M = 10
_LONGER_SIDE = 800  # pixels of the view from above
_SUBPIXEL_BITS = 4


def class_color(label: int) -> tuple[int, int, int]:
    """The RGB color that boxes of a class are drawn in."""
    return _COLORS[label % len(_COLORS)]


def draw_in_image(image: NDArray[np.uint8], found: FrameBoxes, calibration: Calibration) -> NDArray[np.uint8]:
    """An image `H W 3` RGB with the edges of the boxes, class and score beside each; a copy."""
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(height, width) / 250))
    boxes, scores, labels = found.detections
    in_camera = transformed(corners(boxes), calibration.lidar_to_camera)
    for index in reversed(range(len(boxes))):  # the surest last, on top
        color = class_color(int(labels[index]))
        for start, end in EDGES:
            segment = _before_camera(in_camera[index, start], in_camera[index, end])
            if segment is not None:
                _line(canvas, _pixels(segment, calibration.p2), color, thickness)
        left, top = found.rectangles[index, :2]
        text = f"{found.class_names[labels[index]]} {scores[index]:.2f}"
        place = (int(left), max(int(top) - 3, 10))
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
    return canvas


def draw_from_above(points: NDArray[np.float32], found: FrameBoxes, grid: GridSettings) -> NDArray[np.uint8]:
    """The range seen from above, x upwards and y to the left: points `P 4`, a line every 10 m, and the boxes.

    Returns:
        `H W 3` uint8, RGB, 800 pixels along the longer side of the range.
    """
    low, high = np.array(grid.low[:2]), np.array(grid.high[:2])
    scale = _LONGER_SIDE / float((high - low).max())
    height, width = np.maximum(np.ceil((high - low) * scale), 1).astype(int)
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)

    def place(positions: NDArray[np.floating]) -> NDArray[np.float64]:
        x, y = positions[..., 0].astype(np.float64), positions[..., 1].astype(np.float64)
        return np.stack([(high[1] - y) * scale, (high[0] - x) * scale], axis=-1)

    for axis in range(2):
        first = np.ceil(low[axis] / _GRID_STEP_M) * _GRID_STEP_M
        for value in np.arange(first, high[axis] + 1e-6, _GRID_STEP_M):
            ends = np.array([low, high])
            ends[:, axis] = value
            _line(canvas, place(ends), (_GRID_LINE,) * 3, 1)
    column, row = place(points[:, :2]).T
    shown = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    canvas[row[shown].astype(int), column[shown].astype(int)] = _POINT
    boxes, _, labels = found.detections
    grounds = footprints(boxes)
    for index in reversed(range(len(boxes))):
        color = class_color(int(labels[index]))
        outline = place(grounds[index])
        for corner in range(4):
            _line(canvas, outline[[corner, (corner + 1) % 4]], color, 2)
        front = outline[[3, 0]].mean(axis=0)  # where the box faces
        _line(canvas, np.stack([outline.mean(axis=0), front]), color, 2)
    return canvas


def _before_camera(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The part of a segment in camera axes that lies before the camera, `2 3`; None if there is none."""
    if max(start[2], end[2]) < _NEAREST_M:
        return None
    if start[2] < _NEAREST_M:
        start = start + (end - start) * (_NEAREST_M - start[2]) / (end[2] - start[2])
    elif end[2] < _NEAREST_M:
        end = end + (start - end) * (_NEAREST_M - end[2]) / (start[2] - end[2])
    return np.stack([start, end])


def _pixels(points: NDArray[np.float64], p2: NDArray[np.float64]) -> NDArray[np.float64]:
    projected = points @ p2[:, :3].T + p2[:, 3]
    return np.asarray(projected[:, :2] / np.maximum(projected[:, 2:], _NEAREST_M))


def _line(canvas: NDArray[np.uint8], ends: NDArray[np.float64], color: tuple[int, int, int], thickness: int) -> None:
    """A smooth line; far ends are clipped first, as OpenCV counts in 32 bits."""
    height, width = canvas.shape[:2]
    # In doubles a segment that begins far outside keeps its direction; a clipped coordinate alone would not.
    segment = _inside(ends, width, height)
    if segment is None:
        return
    start, end = (tuple(round(value * (1 << _SUBPIXEL_BITS)) for value in point) for point in segment)
    cv2.line(canvas, start, end, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _inside(ends: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64] | None:
    """The part of a segment near the canvas (Liang and Barsky's clipping), or None."""
    margin = 10.0
    start, step = ends[0], ends[1] - ends[0]
    first, last = 0.0, 1.0
    for axis, size in enumerate((width, height)):
        if step[axis] == 0:
            if not -margin <= start[axis] <= size + margin:
                return None
            continue
        near, far = sorted([(-margin - start[axis]) / step[axis], (size + margin - start[axis]) / step[axis]])
        first, last = max(first, near), min(last, far)
    return None if first > last else np.stack([start + first * step, start + last * step])

"""Boxes as KITTI's result text: one line a box, the sixteen columns of its devkit."""

from __future__ import annotations

from geminifusion_runtime.detection.results import FrameBoxes

_UNKNOWN = "-1 -1"  # truncation and occlusion, which a detector does not say


def kitti_text(found: FrameBoxes) -> str:
    """`type truncated occluded alpha left top right bottom height width length x y z rotation_y score`, a line a box.

    Pixels, metres and radians; (x, y, z) is the centre of the bottom in camera axes.
    """
    lines = []
    for index, label in enumerate(found.detections.labels.tolist()):
        numbers = [
            float(found.alphas[index]),
            *found.rectangles[index].tolist(),
            *found.camera.dimensions[index].tolist(),
            *found.camera.location[index].tolist(),
            float(found.camera.rotation_y[index]),
            float(found.detections.scores[index]),
        ]
        name = found.class_names[label].capitalize()
        lines.append(f"{name} {_UNKNOWN} {' '.join(f'{number:.4f}' for number in numbers)}\n")
    return "".join(lines)

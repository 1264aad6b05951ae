"""The boxes of a frame as clients get them: in LiDAR axes, in camera axes and in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.boxes import (
    BOX_NUMBERS,
    CameraBoxes,
    clipped,
    image_rectangles,
    lidar_to_camera,
    observation_angles,
)
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.selection import Detections


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameBoxes:
    """The boxes of a frame that are in its image, the surest first.

    Attributes:
        detections: in LiDAR axes.
        camera: the same in camera axes.
        rectangles: the same in the image, clipped to it: left, top, right, bottom in pixels, `n 4` float64.
        alphas: KITTI's observation angles, `n` radians in [-π, π).
        class_names: in class order.
    """

    detections: Detections
    camera: CameraBoxes
    rectangles: NDArray[np.float64]
    alphas: NDArray[np.float64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.detections.boxes)


def in_frame(
    detections: Detections, calibration: Calibration, size: tuple[int, int], class_names: Sequence[str]
) -> FrameBoxes:
    """The boxes that the camera sees, in all axes.

    Args:
        detections: of one frame.
        calibration: of its image.
        size: height and width of the image.
        class_names: in class order.
    """
    height, width = size
    rectangles = image_rectangles(detections.boxes, calibration.lidar2image)
    before = lidar_to_camera(detections.boxes, calibration).location[:, 2] > 0
    seen = before & (rectangles[:, :2] < (width, height)).all(axis=1) & (rectangles[:, 2:] > 0).all(axis=1)
    kept = detections.take(seen)
    camera = lidar_to_camera(kept.boxes, calibration)
    return FrameBoxes(
        detections=kept,
        camera=camera,
        rectangles=np.asarray(clipped(rectangles[seen], size), np.float64),
        alphas=observation_angles(kept.boxes, camera.rotation_y),
        class_names=tuple(class_names),
    )


def boxes_document(found: FrameBoxes) -> list[dict[str, Any]]:
    """JSON-ready form, one object a box, the surest first. Lengths are in metres, angles in radians."""
    boxes, scores, labels = (column.tolist() for column in found.detections)
    return [
        {
            "class": found.class_names[label],
            "class_id": label,
            "score": score,
            "lidar": {"center": box[:3], "size": box[3:6], "yaw": box[6]},
            "camera": {
                "location": found.camera.location[index].tolist(),
                "dimensions": found.camera.dimensions[index].tolist(),
                "rotation_y": float(found.camera.rotation_y[index]),
                "alpha": float(found.alphas[index]),
            },
            "image": found.rectangles[index].tolist(),
        }
        for index, (label, score, box) in enumerate(zip(labels, scores, boxes, strict=True))
    ]


def boxes_from_document(boxes: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> FrameBoxes:
    """The inverse of `boxes_document`: the same numbers, bit for bit.

    Raises:
        Exception: LookupError, TypeError or ValueError, if it is no such document.
    """
    lidar = [[*box["lidar"]["center"], *box["lidar"]["size"], box["lidar"]["yaw"]] for box in boxes]
    labels = [int(box["class_id"]) for box in boxes]
    if any(not 0 <= label < len(class_names) for label in labels):
        raise ValueError(f"a box has a class that is none of {len(class_names)}")
    cameras = [box["camera"] for box in boxes]
    return FrameBoxes(
        detections=Detections(
            np.array(lidar, np.float32).reshape(len(boxes), BOX_NUMBERS),
            np.array([box["score"] for box in boxes], np.float32).reshape(len(boxes)),
            np.array(labels, np.uint8).reshape(len(boxes)),
        ),
        camera=CameraBoxes(
            location=np.array([one["location"] for one in cameras], np.float64).reshape(len(boxes), 3),
            dimensions=np.array([one["dimensions"] for one in cameras], np.float64).reshape(len(boxes), 3),
            rotation_y=np.array([one["rotation_y"] for one in cameras], np.float64).reshape(len(boxes)),
        ),
        rectangles=np.array([box["image"] for box in boxes], np.float64).reshape(len(boxes), 4),
        alphas=np.array([one["alpha"] for one in cameras], np.float64).reshape(len(boxes)),
        class_names=tuple(class_names),
    )

"""Variations of a frame in which points, boxes and image stay aligned, and a frame as a detector takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from geminifusion_model.detection.boxes import boxes_after
from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.data.frame import DetectionFrame
from geminifusion_model.detection.projection import image_matrix, lidar2image_after, point_matrix
from geminifusion_runtime.detection.boxes import transformed
from geminifusion_runtime.detection.images import fitted


@dataclass(frozen=True, kw_only=True)
class DetectionAugmentation:
    """How training frames are varied; the defaults are MVX-Net's.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    rotation: float = 0.78539816
    """Points and boxes are turned about the vertical axis by up to so many radians either way."""
    scale: tuple[float, float] = (0.95, 1.05)
    """Least and greatest factor of all lengths."""
    translation: float = 0.2
    """Standard deviation in metres of a shift along each axis."""
    mirror: float = 0.5
    """Probability that left and right change places, in points, boxes and image together."""
    image_scale: tuple[float, float] = (0.5, 2.0)
    """Least and greatest size of images as a multiple of `image_size`."""

    def __post_init__(self) -> None:
        for name in ("scale", "image_scale"):
            low, high = getattr(self, name)
            object.__setattr__(self, name, (low, high))
            if not 0 < low <= high <= 10:
                raise ValueError(f"{name} is {low}, {high}; expected the lower first, both above 0 and at most 10")
        if min(self.rotation, self.translation) < 0 or not 0 <= self.mirror <= 1:
            raise ValueError(
                f"rotation, translation and mirror are {self.rotation}, {self.translation} and {self.mirror}; expected "
                "none below 0, and mirror at most 1"
            )


class PointChange(TypedDict):
    """What `point_matrix` takes."""

    yaw: float
    scale: float
    translation: tuple[float, float, float]
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One draw of an augmentation: what is done to points, and the image's size."""

    yaw: float = 0.0
    scale: float = 1.0
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirrored: bool = False
    image_scale: float = 1.0

    def of_points(self) -> PointChange:
        """What `point_matrix` and `boxes_after` take."""
        return {
            "yaw": self.yaw,
            "scale": self.scale,
            "translation": self.translation,
            "mirrored": self.mirrored,
        }

    @classmethod
    def drawn(cls, how: DetectionAugmentation, rng: np.random.Generator) -> Variation:
        """A random variation; every number is drawn whatever the others are."""
        x, y, z = (rng.standard_normal(3) * how.translation).tolist()
        return cls(
            yaw=float(rng.uniform(-how.rotation, how.rotation)),
            scale=float(rng.uniform(*how.scale)),
            translation=(x, y, z),
            mirrored=bool(rng.random() < how.mirror),
            image_scale=float(rng.uniform(*how.image_scale)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionSample:
    """A frame as a detector takes it.

    Attributes:
        image: `H W 3` uint8 RGB, resized and not padded.
        points: `P 4` float32.
        lidar2image: `4 4` float32, from these points to pixels of this image.
        boxes: `n 7` float32 of the detector's classes, whose centres are in its range.
        labels: `n` int64.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    lidar2image: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def prepare(
    frame: DetectionFrame,
    network: DetectorConfig,
    image_size: tuple[int, int],
    variation: Variation | None = None,
) -> DetectionSample:
    """Resize a frame, and vary it.

    Args:
        image_size: height and width that the image is fitted into, before the variation's scale.
    """
    change = variation or Variation()
    most = tuple(max(1, round(side * change.image_scale)) for side in image_size)
    image = fitted(frame.image, (most[0], most[1]))
    height, width = image.shape[:2]
    factors = (width / frame.image_size[1], height / frame.image_size[0])
    changed = change.of_points()
    matrix = point_matrix(**changed)
    points = frame.points.copy()
    points[:, :3] = transformed(frame.points[:, :3], matrix)
    boxes, labels = frame.boxes(network.class_names)
    boxes = boxes_after(boxes, **changed)
    low, high = (np.asarray(corner[:2], np.float32) for corner in (network.point_range[:3], network.point_range[3:]))
    inside = ((boxes[:, :2] >= low) & (boxes[:, :2] < high)).all(axis=1)
    done = image_matrix(factors=factors, mirrored_width=float(width) if change.mirrored else None)
    return DetectionSample(
        image=np.ascontiguousarray(image[:, ::-1]) if change.mirrored else image,
        points=points,
        lidar2image=lidar2image_after(frame.calibration.lidar2image, matrix, done).astype(np.float32),
        boxes=boxes[inside],
        labels=labels[inside],
    )

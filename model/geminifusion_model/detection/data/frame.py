"""One frame of a camera and a LiDAR with its labeled objects, as measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.detection.data.labels import KittiObjects
from geminifusion_runtime.detection.boxes import CameraBoxes, camera_to_lidar
from geminifusion_runtime.detection.calibration import Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionFrame:
    """A frame before augmentation and resizing.

    Attributes:
        name: unique within its split.
        image: `H W 3` uint8 RGB.
        points: `P 4` float32 x, y, z in metres in LiDAR axes and reflectance 0…1; only those inside the image.
        calibration: of this image.
        objects: all of the label, of any type.
    """

    name: str
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    calibration: Calibration
    objects: KittiObjects

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def boxes(self, class_names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Boxes `n 7` in LiDAR axes and class indices `n` of the objects of these classes; others are background."""
        names = [name.lower() for name in self.objects.names]
        chosen = [index for index, name in enumerate(names) if name in class_names]
        boxes = camera_to_lidar(CameraBoxes(*(each[chosen] for each in self.objects.boxes)), self.calibration)
        return boxes, np.array([class_names.index(names[index]) for index in chosen], np.int64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything but the name, as the record of a run fingerprints it."""
        objects = self.objects
        types = np.frombuffer(" ".join(objects.names).encode(), np.uint8)
        return {
            "rgb": self.image,
            "points": self.points,
            "calibration": np.concatenate([self.calibration.p2.ravel(), self.calibration.lidar_to_camera.ravel()]),
            "labels": np.column_stack([objects.truncated, objects.occluded, objects.rectangles, *objects.boxes]),
            "types": types,
        }


class DetectionFrames(Protocol):
    """A list of frames."""

    @property
    def data(self) -> str:
        """The data set's name."""
        ...

    @property
    def data_license(self) -> str:
        """Of the frames."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DetectionFrame: ...


class SelectedFrames:
    """Some frames of a list, by index. Implements `DetectionFrames`."""

    def __init__(self, frames: DetectionFrames, indices: Sequence[int]) -> None:
        self.frames, self.indices = frames, indices
        self.data, self.data_license = frames.data, frames.data_license

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> DetectionFrame:
        return self.frames[self.indices[index]]

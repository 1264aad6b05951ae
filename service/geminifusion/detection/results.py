"""The boxes of one frame, the same whether a server or this process found them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.detection.boxes import CameraBoxes
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.detection.results import FrameBoxes, boxes_document
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.types import SensorHealth

from ..errors import InvalidInputError, requires_extra
from ..images import picture

_SHOWN = 20  # boxes in a table


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DetectionSources:
    """What was posted, for drawing.

    Attributes:
        rgb: the image, encoded or an array.
        points: the cloud, `P 4` float32.
        calibration: of both.
    """

    rgb: bytes | NDArray[Any]
    points: NDArray[np.float32]
    calibration: Calibration


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DetectionResult:
    """The boxes of one frame, the surest first, with what is known about them.

    Attributes:
        found: the boxes in all axes; the properties are its parts.
        size: height and width of the posted image.
        num_points: points within the image and the model's range.
        model: `name@version`.
        timings_ms: stage to milliseconds.
        warnings: sentences about what is odd in the input.
        sensors: health of the camera.
        request_id: name of the request in the server's log.
        batch_size: number of frames that shared the run of the network.
        grid: the model's range, for the view from above; None where it is not known.
        sources: what was posted.
    """

    found: FrameBoxes
    size: tuple[int, int]
    num_points: int
    model: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)
    request_id: str = ""
    batch_size: int = 1
    grid: GridSettings | None = None
    sources: DetectionSources | None = None

    def __len__(self) -> int:
        return len(self.found)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """`n 7` in LiDAR axes: x, y, z of the bottom's centre, dx, dy, dz in metres, yaw in radians."""
        return self.found.detections.boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """`n`, 0…1."""
        return self.found.detections.scores

    @property
    def labels(self) -> NDArray[np.uint8]:
        """`n` class indices."""
        return self.found.detections.labels

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the boxes."""
        return tuple(self.found.class_names[label] for label in self.labels)

    @property
    def camera_boxes(self) -> CameraBoxes:
        """The boxes in camera axes, as KITTI's labels have them."""
        return self.found.camera

    @property
    def image_boxes(self) -> NDArray[np.float64]:
        """`n 4`: left, top, right, bottom in pixels of the posted image."""
        return self.found.rectangles

    def draw(self) -> NDArray[np.uint8]:
        """The posted image with the boxes, `H W 3` uint8 RGB.

        Raises:
            InvalidInputError: the result was made without its image.
            MissingExtraError: OpenCV is not installed.
        """
        sources = self._sources()
        with requires_extra("drawing boxes", "client"):
            from geminifusion_runtime.encoding.box_drawings import draw_in_image
        return draw_in_image(picture(sources.rgb), self.found, sources.calibration)

    def draw_from_above(self, grid: GridSettings | None = None) -> NDArray[np.uint8]:
        """The points and boxes from above, `H W 3` uint8 RGB; x goes up, y to the left.

        Args:
            grid: the range to show; None takes the model's.

        Raises:
            InvalidInputError: the result was made without its points, or the range is not known.
            MissingExtraError: OpenCV is not installed.
        """
        sources = self._sources()
        shown = grid or self.grid
        if shown is None:
            raise InvalidInputError("the model's range is not known; give the grid to draw")
        with requires_extra("drawing boxes", "client"):
            from geminifusion_runtime.encoding.box_drawings import draw_from_above
        return draw_from_above(sources.points, self.found, shown)

    def kitti_text(self) -> str:
        """KITTI's result text, a line a box."""
        return kitti_text(self.found)

    def document(self) -> dict[str, Any]:
        """Everything but the pixels and points, JSON-ready."""
        return {
            "model": self.model,
            "request_id": self.request_id,
            "size": {"height": self.size[0], "width": self.size[1]},
            "num_points": self.num_points,
            "classes": list(self.found.class_names),
            "boxes": boxes_document(self.found),
            "timings_ms": dict(self.timings_ms),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write the boxes: `.json`, or `.txt` in KITTI's result format; or `.png`, the image with the boxes.

        Raises:
            InvalidInputError: the suffix is another.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".json":
                path.write_text(strict_json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
            case ".txt":
                path.write_text(self.kitti_text(), encoding="utf-8")
            case ".png":
                path.write_bytes(encode_png(self.draw()))
            case suffix:
                raise InvalidInputError(
                    f"cannot save boxes as {suffix or 'a file without suffix'!r}; use .json, .txt or .png"
                )
        return path

    def table(self) -> str:
        """The boxes as lines of text: class, score, distance, place and size."""
        lines = [f"{'class':<12} score  distance        x       y       z    length  width  height"]
        for name, score, box in zip(self.names[:_SHOWN], self.scores, self.boxes.tolist(), strict=False):
            x, y, z, dx, dy, dz, _ = box
            lines.append(
                f"{name:<12} {score:5.2f} {np.hypot(x, y):7.1f} m  {x:7.2f} {y:7.2f} {z:7.2f}  "
                f"{dx:8.2f} {dy:6.2f} {dz:7.2f}"
            )
        if len(self) > _SHOWN:
            lines.append(f"and {len(self) - _SHOWN} more")
        return "\n".join(lines if len(self) else ["no boxes"])

    def _sources(self) -> DetectionSources:
        if self.sources is None:
            raise InvalidInputError("this result was made without its image and points, so there is nothing to draw on")
        return self.sources

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {self.names.count(name)}" for name in dict.fromkeys(self.names))
        return f"DetectionResult({len(self)} boxes by {self.model}: {counts})"

    def __str__(self) -> str:
        return self.table()

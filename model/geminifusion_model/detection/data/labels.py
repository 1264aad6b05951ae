"""KITTI's label and result text: a line an object, in fifteen columns and, in a result, a score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import DatasetError
from geminifusion_runtime.detection.boxes import CameraBoxes

DONT_CARE = "DontCare"
_NUMBERS = 14  # behind the type; a score makes one more
_COLUMNS = "type truncated occluded alpha left top right bottom height width length x y z rotation_y"


@dataclass(frozen=True, kw_only=True, eq=False)
class KittiObjects:
    """The objects of a frame, in the order of the file; n of them.

    Attributes:
        names: types as written, `Car`, `DontCare`, ….
        truncated: `n`, share of the object outside the image.
        occluded: `n`, 0 fully visible … 3 unknown.
        alphas: `n` radians.
        rectangles: `n 4` pixels: left, top, right, bottom.
        boxes: in camera axes.
        scores: `n`, of a result; 0 in a label.
    """

    names: tuple[str, ...]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.float64]
    alphas: NDArray[np.float64]
    rectangles: NDArray[np.float64]
    boxes: CameraBoxes
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)


def parse_objects(text: str, where: str, *, scored: bool) -> KittiObjects:
    """Read label text, or result text whose lines have a score.

    Args:
        where: the file, for messages.

    Raises:
        DatasetError: a line has another number of columns, or one that is no finite number.
    """
    wanted = _NUMBERS + scored
    names, rows = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *columns = line.split()
        # labels of trackers and results of older tools have further columns
        if len(columns) < wanted or (not scored and len(columns) > _NUMBERS + 1):
            raise DatasetError(
                f"line {number} of {where} has {len(columns) + 1} columns; expected {wanted + 1}: {_COLUMNS}"
                + (" score" if scored else "")
            )
        try:
            row = [float(column) for column in columns[:wanted]]
        except ValueError:
            row = [float("nan")]
        if not np.isfinite(row).all():
            raise DatasetError(f"line {number} of {where} has columns that are no numbers: {line[:60]!r}; mend it")
        names.append(name)
        rows.append(row)
    table = np.array(rows, np.float64).reshape(len(rows), wanted)
    return KittiObjects(
        names=tuple(names),
        truncated=table[:, 0],
        occluded=table[:, 1],
        alphas=table[:, 2],
        rectangles=table[:, 3:7],
        boxes=CameraBoxes(location=table[:, 10:13], dimensions=table[:, 7:10], rotation_y=table[:, 13]),
        scores=table[:, 14] if scored else np.zeros(len(rows)),
    )


def read_objects(path: Path, *, scored: bool) -> KittiObjects:
    """Read a label or result file.

    Raises:
        DatasetError: it cannot be read, or as `parse_objects` says.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is no text; expected KITTI's columns: {_COLUMNS}") from None
    return parse_objects(text, str(path), scored=scored)


def label_text(objects: KittiObjects) -> str:
    """The inverse of `parse_objects` for labels, to two decimals as KITTI's own files have."""
    lines = []
    for index, name in enumerate(objects.names):
        numbers = [
            objects.alphas[index],
            *objects.rectangles[index],
            *objects.boxes.dimensions[index],
            *objects.boxes.location[index],
            objects.boxes.rotation_y[index],
        ]
        written = " ".join(f"{number:.2f}" for number in numbers)
        lines.append(f"{name} {objects.truncated[index]:.2f} {int(objects.occluded[index])} {written}\n")
    return "".join(lines)

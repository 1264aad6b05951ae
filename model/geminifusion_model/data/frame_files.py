"""A data set of which every frame is a few files; readers of particular layouts only list them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.allowed_paths import ALLOWED_VARIABLE, is_within
from geminifusion_model.data.image_files import orientation_of, read_rgb
from geminifusion_model.data.label_files import LabelCode, LabelImage, read_labels
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.sample import DatasetError, Sample
from geminifusion_model.task import Task

ReadValues = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True)
class FrameFiles:
    """Paths of one frame's images; `others` by modality name, None where it was not measured."""

    name: str
    rgb: Path
    labels: Path
    others: Mapping[str, Path | None]


class UnmappedLabelsError(DatasetError):
    """A label file holds values that have no class.

    Attributes:
        sample: the frame all the same, its labels as `LabelImage` has them.
        unmapped: pixels by stored value.
    """

    def __init__(self, message: str, sample: Sample, unmapped: Mapping[str, int]) -> None:
        super().__init__(message)
        self.sample, self.unmapped = sample, unmapped


class FileDataset:
    """Frames read from files, aligned and of one size each.

    Args:
        task: encodings and classes of the frames.
        frames: their paths.
        read_others: from a modality's file to `H W` or `H W 3` float32; those the task does not name are not read.
        label_code: how stored labels become classes.
        resized: modalities stored at another size, brought to the RGB's by taking the nearest pixel.
    """

    def __init__(
        self,
        task: Task,
        frames: Iterable[FrameFiles],
        read_others: Mapping[str, ReadValues],
        label_code: LabelCode,
        resized: frozenset[str] = frozenset(),
    ) -> None:
        self.task = task
        self.frames = tuple(frames)
        self.names = [frame.name for frame in self.frames]
        self._read_others = {m.name: read_others[m.name] for m in task.modalities if m.name != "rgb"}
        self.label_code, self._resized = label_code, resized

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        rgb = read_rgb(frame.rgb)
        size = rgb.shape[:2]
        others = {name: self._modality(frame, name, size) for name in self._read_others}
        labels = read_labels(frame.labels, self.label_code)
        found = {
            "rgb": rgb.shape,
            **{name: values.shape for name, values in others.items()},
            "labels": labels.classes.shape,
        }
        if any(shape[:2] != size for shape in found.values()):
            raise DatasetError(self._unequal_sizes(frame, found))
        sample = Sample(frame.name, rgb, others, labels.classes)
        if labels.unmapped:
            raise UnmappedLabelsError(self._unmapped(frame, labels), sample, labels.unmapped)
        return sample

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The labels of a frame alone, for whoever only counts them.

        Raises:
            DatasetError: as when the frame is read.
        """
        frame = self.frames[index]
        labels = read_labels(frame.labels, self.label_code)
        if labels.unmapped:
            raise DatasetError(self._unmapped(frame, labels))
        return labels.classes

    def _modality(self, frame: FrameFiles, name: str, size: tuple[int, ...]) -> NDArray[np.float32]:
        path = frame.others[name]
        if path is None:
            channels = next(m.channels for m in self.task.modalities if m.name == name)
            return np.zeros(size if channels == 1 else (*size, channels), np.float32)
        values = self._read_others[name](path)
        if name in self._resized and values.shape[:2] != size:
            resized = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
            values = resized.astype(np.float32, copy=False)
        return values

    def _unmapped(self, frame: FrameFiles, labels: LabelImage) -> str:
        code = self.label_code
        return (
            f"frame {frame.name}: {frame.labels} holds {labels.describe_unmapped()}, which no class has "
            f"(expected {code.expected()}); {labels.remedy(code)}"
        )

    def _unequal_sizes(self, frame: FrameFiles, found: Mapping[str, tuple[int, ...]]) -> str:
        sizes = ", ".join(f"{name} {shape[1]}x{shape[0]}" for name, shape in found.items())
        message = f"frame {frame.name}: {sizes}; expected one size, aligned to the color camera"
        height, width = found["rgb"][:2]
        orientation = orientation_of(frame.rgb)
        if orientation > 4 and found["labels"][:2] == (width, height):
            return (
                f"{message}: {frame.rgb.name} has the orientation tag {orientation}, which is not applied; the labels "
                "were made on the turned picture, so store the picture turned and without that tag"
            )
        odd = [name for name, shape in found.items() if name in self._read_others and shape[:2] != (height, width)]
        if odd and found["labels"][:2] == (height, width):
            return f"{message}. If {odd[0]} shows the same view, say align: resize at it in the contract"
        return message


def require_frames(frames: Iterable[FrameFiles], problems: LayoutProblems, listing: str) -> None:
    """Add every missing file and every frame that is listed twice to `problems`."""
    seen: set[str] = set()
    for frame in frames:
        if frame.name in seen:
            problems.add(f"{listing} names frame {frame.name} twice")
        seen.add(frame.name)
        for role, path in {"rgb": frame.rgb, **frame.others, "labels": frame.labels}.items():
            if path is None:
                continue
            if not is_within(problems.root, path):
                problems.add(
                    f"{role} of frame {frame.name}, named by {listing}, is {path}, outside the data set; copy it in, "
                    f"or set {ALLOWED_VARIABLE} to the folder it lies in"
                )
                continue
            problems.require_file(path, f"{role} of frame {frame.name}, named by {listing}")

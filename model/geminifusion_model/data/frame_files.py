"""A data set of which every frame is a few files; readers of particular layouts only list them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.image_files import LabelCode, read_labels, read_rgb
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.sample import DatasetError, Sample
from geminifusion_model.task import Task

ReadValues = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True)
class FrameFiles:
    """Paths of one frame's images; `others` by modality name."""

    name: str
    rgb: Path
    labels: Path
    others: Mapping[str, Path]


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
        self._label_code, self._resized = label_code, resized

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        rgb = read_rgb(frame.rgb)
        size = rgb.shape[:2]
        others = {}
        for name, read in self._read_others.items():
            values = read(frame.others[name])
            if name in self._resized and values.shape[:2] != size:
                resized = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
                values = resized.astype(np.float32, copy=False)
            others[name] = values
        labels = read_labels(frame.labels, self._label_code)
        found = {
            "rgb": rgb.shape,
            **{name: values.shape for name, values in others.items()},
            "labels": labels.shape,
        }
        if any(shape[:2] != size for shape in found.values()):
            sizes = ", ".join(f"{name} {shape[1]}x{shape[0]}" for name, shape in found.items())
            raise DatasetError(f"frame {frame.name}: {sizes}; expected one size, aligned to the color camera")
        return Sample(frame.name, rgb, others, labels)


def require_frames(frames: Iterable[FrameFiles], problems: LayoutProblems, listing: str) -> None:
    """Add every missing file and every frame that is listed twice to `problems`."""
    seen: set[str] = set()
    for frame in frames:
        if frame.name in seen:
            problems.add(f"{listing} names frame {frame.name} twice")
        seen.add(frame.name)
        for role, path in {"rgb": frame.rgb, **frame.others, "labels": frame.labels}.items():
            problems.require_file(path, f"{role} of frame {frame.name}, named by {listing}")

"""NYU Depth V2's labeled frames (Silberman et al., ECCV 2012) in our folder layout.

ROOT/train.txt, ROOT/test.txt     one frame number per line
ROOT/rgb/NNNNNN.jpg               8-bit RGB, 640x480
ROOT/depth/NNNNNN.png             16-bit millimetres, or 8-bit steps of 10 m / 255; 0 = no measurement
ROOT/label13/NNNNNN.png           0…12, 255 = ignore        ROOT/label40/NNNNNN.png   0…38, 255 = ignore
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from geminifusion_model.data.depth_encodings import depth_encoding
from geminifusion_model.data.frame_files import FileDataset, FrameFiles, require_frames
from geminifusion_model.data.hha import Intrinsics
from geminifusion_model.data.image_files import read_metres
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.task_files import describe_task
from geminifusion_model.task import IMAGENET_RGB, Task

_TASK_13, _TASK_40 = describe_task("nyuv2-13").task(), describe_task("nyuv2-40").task()
CLASSES_13 = _TASK_13.class_names
CLASSES_39 = _TASK_40.class_names[:39]

METRES_PER_STEP = 10.0 / 255.0  # of depth files of 8 bits, which other layouts have to state

# Mean and deviation of the measured depths of the 795 training frames, in metres.
_MEAN_DEPTH_M, _DEPTH_DEVIATION_M = 2.81, 1.42

# The data set's published color camera, to which its depth is registered, at 640x480.
NYU_CAMERA = Intrinsics(fx=518.858, fy=519.470, cx=325.582, cy=253.736)


def nyuv2_task(num_classes: int, encoding: str = "metric") -> Task:
    """The task with 13 classes, or with 39 (NYU40 without otherprop: not comparable with 40-class scores).

    Args:
        encoding: of the depth, `metric`, `inverse` or `log`.

    Raises:
        ValueError: there are labels for 13 and 39 classes only, or the encoding is unknown.
    """
    if encoding not in ("metric", "inverse", "log"):
        raise ValueError(f"depth encoding is {encoding!r}; expected metric, inverse or log for depth in metres")
    depth = depth_encoding(encoding, near_m=0.5, far_m=10.0, mean_m=_MEAN_DEPTH_M, std_m=_DEPTH_DEVIATION_M)
    modalities = (IMAGENET_RGB, depth)
    if num_classes == 13:
        return dataclasses.replace(_TASK_13, modalities=modalities)
    if num_classes == 39:
        return dataclasses.replace(
            _TASK_13,
            data="NYU Depth V2, NYU40 without otherprop",
            modalities=modalities,
            class_names=CLASSES_39,
            palette=_TASK_40.palette[:39],
        )
    raise ValueError(f"num_classes is {num_classes}; NYU Depth V2 has labels for 13 and 39 classes here")


class NYUv2(FileDataset):
    """One split of the data set.

    Args:
        root: the folder described above.
        split: `train` or `test`, the name of a list file.
        num_classes: 13 or 39.
        limit: only the first frames of the split, for quick looks.
        encoding: of the depth, `metric`, `inverse` or `log`.
        modalities: `rgb` alone or with `depth`, which is the default; without it `depth/` need not exist.

    Raises:
        LayoutError: the list or listed files are missing; it names all of them.
        ValueError: there is no such encoding or modality, or there are no labels for so many classes.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        num_classes: int = 13,
        limit: int | None = None,
        encoding: str = "metric",
        modalities: tuple[str, ...] = ("rgb", "depth"),
    ) -> None:
        self.root = Path(root)
        task = nyuv2_task(num_classes, encoding).only(modalities)
        label_folder = {13: "label13", 39: "label40"}[num_classes]
        folders = ", ".join(f"{name}/" for name in modalities)
        problems = LayoutProblems(self.root, f"give the folder that holds {split}.txt, {folders} and {label_folder}/")
        listing = self.root / f"{split}.txt"
        frames: list[FrameFiles] = []
        if problems.require_file(listing, "the list of frame numbers"):
            names = (problems.read_text(listing) or "").split()[:limit]
            frames = [
                FrameFiles(
                    name,
                    self.root / "rgb" / f"{name}.jpg",
                    self.root / label_folder / f"{name}.png",
                    {other: self.root / other / f"{name}.png" for other in modalities[1:]},
                )
                for name in names
            ]
            require_frames(frames, problems, listing.name)
        problems.raise_if_any()
        read = {"depth": partial(read_metres, metres_per_unit=None, metres_per_step=METRES_PER_STEP)}
        super().__init__(task, frames, read, LabelCode(num_classes=num_classes))

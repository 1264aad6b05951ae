"""NYU Depth V2's labelled frames (Silberman et al., ECCV 2012) in our folder layout.

ROOT/train.txt, ROOT/test.txt     one frame number per line
ROOT/rgb/NNNNNN.jpg               8-bit RGB, 640x480
ROOT/depth/NNNNNN.png             16-bit millimetres, or 8-bit steps of 10 m / 255; 0 = no measurement
ROOT/label13/NNNNNN.png           0…12, 255 = ignore        ROOT/label40/NNNNNN.png   0…38, 255 = ignore
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import DatasetError, Sample
from geminifusion_model.task import IMAGENET_RGB, ModalityEncoding, Task

CLASSES_13 = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip
CLASSES_39 = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor-mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower-curtain", "box", "whiteboard", "person", "night-stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture",
)  # fmt: skip
_PALETTE_13 = (
    (228, 90, 90), (160, 82, 45), (200, 200, 235), (255, 165, 60), (150, 190, 120), (125, 105, 190), (240, 220, 80),
    (220, 120, 200), (200, 60, 120), (90, 200, 190), (40, 70, 140), (110, 150, 200), (170, 225, 250),
)  # fmt: skip

# Metres per stored unit. Copies whose depth went through an 8-bit image keep 0…10 m in 255 steps of 3.9 cm.
DEPTH_UNIT_M = {np.dtype(np.uint16): 0.001, np.dtype(np.uint8): 10.0 / 255.0}

# Mean and deviation of the measured depths of the 795 training frames, in metres.
_DEPTH = ModalityEncoding(name="depth", encoding="metric", unit="metre", range=(0.0, 10.0), mean=(2.81,), std=(1.42,))
_LICENSE = "NYU Depth V2; research data, no licence stated"


def evenly_spread_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """`count` distinguishable RGB colours, fixed by their number alone."""
    hsv = np.zeros((count, 1, 3), np.uint8)
    steps = np.arange(count)
    hsv[:, 0, 0] = steps * 180 * 0.618034 % 180  # golden-ratio steps keep neighbours apart
    hsv[:, 0, 1] = 110 + 50 * (steps % 3)
    hsv[:, 0, 2] = 250 - 45 * (steps // 3 % 3)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[:, 0]
    return tuple((int(r), int(g), int(b)) for r, g, b in rgb)


def nyuv2_task(num_classes: int) -> Task:
    """The task with 13 classes, or with 39 (NYU40 without otherprop: not comparable with 40-class scores).

    Raises:
        ValueError: there are labels for 13 and 39 classes only.
    """
    if num_classes == 13:
        return Task(
            data="NYU Depth V2, 13 classes",
            modalities=(IMAGENET_RGB, _DEPTH),
            class_names=CLASSES_13,
            palette=_PALETTE_13,
            data_license=_LICENSE,
        )
    if num_classes == 39:
        return Task(
            data="NYU Depth V2, NYU40 without otherprop",
            modalities=(IMAGENET_RGB, _DEPTH),
            class_names=CLASSES_39,
            palette=evenly_spread_palette(39),
            data_license=_LICENSE,
        )
    raise ValueError(f"num_classes is {num_classes}; NYU Depth V2 has labels for 13 and 39 classes here")


class NYUv2:
    """One split of the data set.

    Args:
        root: the folder described above.
        split: `train` or `test`, the name of a list file.
        num_classes: 13 or 39.
        limit: only the first frames of the split, for quick looks.

    Raises:
        DatasetError: the list or a listed file is missing.
    """

    def __init__(self, root: Path | str, split: str, num_classes: int = 13, limit: int | None = None) -> None:
        self.root = Path(root)
        self.task = nyuv2_task(num_classes)
        self._label_folder = {13: "label13", 39: "label40"}[num_classes]
        listing = self.root / f"{split}.txt"
        if not listing.is_file():
            raise DatasetError(f"{listing} is missing; give the folder that holds train.txt, rgb/, depth/ and label13/")
        self.names = listing.read_text(encoding="utf-8").split()[:limit]
        absent = [str(path) for name in self.names for path in self._paths(name) if not path.is_file()]
        if absent:
            raise DatasetError(f"{len(absent)} files named by {listing} are missing, the first is {absent[0]}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        rgb_path, depth_path, label_path = self._paths(name)
        rgb = cv2.cvtColor(_read(rgb_path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        depth = _read(depth_path, cv2.IMREAD_UNCHANGED)
        labels = _read(label_path, cv2.IMREAD_UNCHANGED)
        if depth.dtype not in DEPTH_UNIT_M or not rgb.shape[:2] == depth.shape == labels.shape:
            raise DatasetError(
                f"frame {name}: rgb {rgb.shape}, depth {depth.shape} {depth.dtype}, labels {labels.shape}; "
                "expected one size, and one depth channel of 16 or 8 bits"
            )
        metres = depth.astype(np.float32) * np.float32(DEPTH_UNIT_M[depth.dtype])
        return Sample(name, rgb.astype(np.uint8, copy=False), {"depth": metres}, labels.astype(np.uint8, copy=False))

    def _paths(self, name: str) -> tuple[Path, Path, Path]:
        return (
            self.root / "rgb" / f"{name}.jpg",
            self.root / "depth" / f"{name}.png",
            self.root / self._label_folder / f"{name}.png",
        )


def _read(path: Path, flags: int) -> NDArray[np.integer]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f"{path} is not a readable image; copy the data set again")
    return cast(NDArray[np.integer], image)

"""Write streets to a folder in KITTI's layout, so that they are rendered only once and every reader can read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from geminifusion_model.data.frame_folder import require_new, write_all, write_lists
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.calibration import calibration_text
from geminifusion_model.detection.data.kitti import FOLDERS, LICENSE_NAME
from geminifusion_model.detection.data.labels import label_text
from geminifusion_model.detection.data.streets.dataset import Streets


@dataclass(frozen=True, kw_only=True)
class StreetsFolder:
    """Number of frames of each split, their seed and size (height, width)."""

    train: int
    val: int
    seed: int = 0
    size: tuple[int, int] = (375, 1242)

    def __post_init__(self) -> None:
        if self.train < 1 or self.val < 0:
            raise ValueError(f"train is {self.train} and val {self.val}; expected at least 1 and 0 frames")


def write_streets(
    root: Path, what: StreetsFolder, *, workers: int | None = None, on_frame: Callable[[int], None] | None = None
) -> None:
    """Render the frames; `train` and `val` share no street.

    Args:
        workers: processes; as many as cores by default.
        on_frame: called with the number of frames done.

    Raises:
        DatasetError: the folder exists and is not empty, or cannot be written.
    """
    require_new(root)
    for folder in FOLDERS:
        (root / "training" / folder).mkdir(parents=True, exist_ok=True)
    total = what.train + what.val
    write_all(partial(_write_frame, root, what), total, workers=workers, on_frame=on_frame)
    names = [f"{index:06d}" for index in range(total)]
    (root / LICENSE_NAME).write_text(f"{Streets.data_license}\n", encoding="utf-8")
    write_lists(root / "ImageSets", {"train": names[: what.train], "val": names[what.train :]})


def _write_frame(root: Path, what: StreetsFolder, index: int) -> None:
    cv2.setNumThreads(1)
    frame = Streets(what.train + what.val, what.seed, what.size)[index]
    path = {folder: root / "training" / folder / f"{index:06d}{suffix}" for folder, suffix in FOLDERS.items()}
    try:
        path["velodyne"].write_bytes(frame.points.astype("<f4").tobytes())
        path["calib"].write_text(calibration_text(frame.calibration), encoding="utf-8")
        path["label_2"].write_text(label_text(frame.objects), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{root} cannot be written: {error.strerror}") from None
    if not cv2.imwrite(str(path["image_2"]), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)):
        raise DatasetError(f"{path['image_2']} cannot be written; is the disk full?")

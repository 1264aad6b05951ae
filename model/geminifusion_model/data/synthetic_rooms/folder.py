"""Write rooms to a folder in the NYUv2 layout, so that they are rendered only once and every reader can read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from geminifusion_model.data.frame_folder import require_new, write_all, write_lists
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.synthetic_rooms.dataset import Rooms


@dataclass(frozen=True, kw_only=True)
class RoomsFolder:
    """Number of frames of each split, their seed and size (height, width)."""

    train: int
    test: int
    seed: int = 0
    size: tuple[int, int] = (240, 320)

    def __post_init__(self) -> None:
        if self.train < 1 or self.test < 0:
            raise ValueError(f"train is {self.train} and test {self.test}; expected at least 1 and 0 frames")


def write_rooms(
    root: Path, what: RoomsFolder, *, workers: int | None = None, on_frame: Callable[[int], None] | None = None
) -> None:
    """Render the frames and write `train.txt`, `test.txt`, `rgb/`, `depth/` (16-bit millimetres) and `label13/`.

    Args:
        workers: processes; as many as cores by default.
        on_frame: called with the number of frames done.

    Raises:
        DatasetError: the folder exists and is not empty.
    """
    require_new(root)
    for folder in ("rgb", "depth", "label13"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{index + 1:06d}" for index in range(what.train + what.test)]
    write_all(partial(_write_frame, root, what), len(names), workers=workers, on_frame=on_frame)
    write_lists(root, {"train": names[: what.train], "test": names[what.train :]})


def _write_frame(root: Path, what: RoomsFolder, index: int) -> None:
    cv2.setNumThreads(1)
    sample = Rooms(what.train + what.test, what.seed, what.size)[index]
    millimetres = np.rint(1000 * sample.others["depth"]).astype(np.uint16)
    name = f"{index + 1:06d}"
    for path, image in (
        (root / "rgb" / f"{name}.jpg", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR)),
        (root / "depth" / f"{name}.png", millimetres),
        (root / "label13" / f"{name}.png", sample.labels),
    ):
        if not cv2.imwrite(str(path), image):
            raise DatasetError(f"{path} cannot be written; is the disk full?")

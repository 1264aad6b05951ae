"""Frames in the layout of KITTI's object benchmark (Geiger et al., CVPR 2012).

ROOT/ImageSets/SPLIT.txt           names of frames, one a line: 000000
ROOT/training/image_2/000000.png   the left color camera's image
ROOT/training/velodyne/000000.bin  x y z reflectance of the LiDAR, little-endian float32
ROOT/training/calib/000000.txt     P2, R0_rect, Tr_velo_to_cam
ROOT/training/label_2/000000.txt   an object a line
ROOT/LICENSE.txt                   the frames' licence in its first line (optional)

KITTI itself is CC BY-NC-SA 3.0; its usual split of the 7481 labeled frames has 3712 in `train` and 3769 in `val`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from geminifusion_model.data.image_files import read_bytes, read_rgb
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.calibration import read_calibration
from geminifusion_model.detection.data.frame import DetectionFrame
from geminifusion_model.detection.data.labels import read_objects
from geminifusion_runtime.decoding.clouds import decode_cloud
from geminifusion_runtime.detection.pillars import in_image
from geminifusion_runtime.errors import GeminiFusionError

FOLDERS = {"image_2": ".png", "velodyne": ".bin", "calib": ".txt", "label_2": ".txt"}
LICENSE_NAME = "LICENSE.txt"
_MAX_POINTS = 2**22  # of one frame; KITTI's have some 120,000
_ADVICE = (
    "Expected training/image_2, velodyne, calib and label_2 with one file a frame, and ImageSets/SPLIT.txt with their "
    "names; `geminifusion data streets` writes such a folder."
)


class KittiFrames:
    """One split of a folder in KITTI's layout. Implements `DetectionFrames`.

    Args:
        split: the name of a list in `ImageSets`.
        limit: only the first frames.

    Raises:
        LayoutError: the list or files that it names are missing.
    """

    def __init__(self, root: Path, split: str, *, limit: int | None = None) -> None:
        self.root, self.split = root, split
        self.data = f"{root.resolve().name}, {split}"
        problems = LayoutProblems(root, _ADVICE)
        self.data_license = _license(root / LICENSE_NAME, problems)
        self.names = _listed(root / "ImageSets" / f"{split}.txt", problems)[:limit]
        for folder, suffix in FOLDERS.items():
            for name in self.names:
                problems.require_file(self._path(folder, name, suffix), f"{split} has the frame {name}")
        problems.raise_if_any()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> DetectionFrame:
        """Read a frame; points outside its image are left out.

        Raises:
            DatasetError: a file cannot be read, or the calibration is that of an image of another size.
        """
        name = self.names[index]
        paths = {folder: self._path(folder, name, suffix) for folder, suffix in FOLDERS.items()}
        image, calibration = read_rgb(paths["image_2"]), read_calibration(paths["calib"])
        size = (image.shape[0], image.shape[1])
        cloud = paths["velodyne"]
        try:
            calibration.check_size(size)
            points = decode_cloud(read_bytes(cloud), max_points=_MAX_POINTS, field=str(cloud)).points
        except GeminiFusionError as error:
            raise DatasetError(f"frame {name}: {error}") from None
        return DetectionFrame(
            name=name,
            image=image,
            points=points[in_image(points, calibration.lidar2image, size)],
            calibration=calibration,
            objects=read_objects(paths["label_2"], scored=False),
        )

    def _path(self, folder: str, name: str, suffix: str) -> Path:
        return self.root / "training" / folder / f"{name}{suffix}"


def _license(path: Path, problems: LayoutProblems) -> str:
    text = (problems.read_text(path) or "") if path.is_file() else ""
    first, _, _ = text.strip().partition("\n")
    return first.strip() or "unknown"


def _listed(path: Path, problems: LayoutProblems) -> list[str]:
    if not path.is_file():
        known = sorted(each.stem for each in path.parent.glob("*.txt"))
        problems.add(
            f"{path} is missing; " + (f"the splits here are {', '.join(known)}" if known else "it lists frames")
        )
        return []
    text = problems.read_text(path) or ""
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        problems.add(f"{path} lists no frame")
    if unsafe := [name for name in names if PurePosixPath(name).name != name]:
        problems.add(f"{path} lists {unsafe[0]!r}, which is no name of a file in this folder")
        return []
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        problems.add(f"{path} lists {repeated} more than once")
    return names

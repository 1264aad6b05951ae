"""Data sets listed as the original authors list them: one frame a line, `rgb<TAB>labels<TAB>depth`, paths in ROOT.

nyuv2-lists   ROOT/train.txt, ROOT/test.txt (or val.txt)   rgb/000003.png<TAB>masks/000003.png<TAB>depth/000003.png
              labels 0…39, 255 = ignore
sunrgbd       ROOT/train.txt, ROOT/test.txt   RGB/train_0.jpg<TAB>labels/train_0.png<TAB>Depth/train_0.png
              labels 1…37, 0 = ignore (the DFormer release, whose own lists leave out the third column)

Without depth, for networks that see the RGB alone, the third column may be left out everywhere.

NYU Depth V2: Silberman et al., ECCV 2012. SUN RGB-D: Song et al., CVPR 2015.

The unit of these depth files is written nowhere. By default they are read as the original reads them, stored value over
255; a given `metres_per_unit` makes them metres and opens every depth encoding.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from geminifusion_model.data.depth_encodings import depth_encoding
from geminifusion_model.data.frame_files import FileDataset, FrameFiles, ReadValues, require_frames
from geminifusion_model.data.image_files import read_metres, read_values
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.task_files import describe_task
from geminifusion_model.task import IMAGENET_RGB


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The differences between the data sets listed this way."""

    task: str  # name of its task
    list_names: dict[str, tuple[str, ...]]  # split -> list files, the first that exists is read
    depth_folder: str | None  # where a line of two columns finds its depth


_NYU = _Listed(task="nyuv2-40", list_names={"test": ("test.txt", "val.txt")}, depth_folder=None)
_SUN = _Listed(task="sunrgbd-37", list_names={}, depth_folder="Depth")


def nyuv2_lists(
    root: Path | str,
    split: str,
    *,
    limit: int | None = None,
    encoding: str = "raw",
    metres_per_unit: float | None = None,
    modalities: tuple[str, ...] = ("rgb", "depth"),
) -> FileDataset:
    """One split of NYU Depth V2 in the original authors' layout, 40 classes.

    Args:
        split: `train` or `test`.
        limit: only the first frames.
        encoding: of the depth: `raw`, or with `metres_per_unit` also `metric`, `inverse` or `log`.
        metres_per_unit: metres per stored depth unit; frames then hold metres, with `raw` depth too, which the network
            sees as stored numbers all the same.
        modalities: `rgb` alone or with `depth`.

    Raises:
        LayoutError: the list is missing or malformed, or files it names are missing; it names all of them.
        ValueError: the encoding needs metres and no unit is given, or a modality is unknown.
    """
    return _open(_NYU, root, split, limit, encoding, metres_per_unit, modalities)


def sunrgbd(
    root: Path | str,
    split: str,
    *,
    limit: int | None = None,
    encoding: str = "raw",
    metres_per_unit: float | None = None,
    modalities: tuple[str, ...] = ("rgb", "depth"),
) -> FileDataset:
    """One split of SUN RGB-D in the layout of the DFormer release, 37 classes; arguments as `nyuv2_lists`."""
    return _open(_SUN, root, split, limit, encoding, metres_per_unit, modalities)


def _open(
    listed: _Listed,
    root: Path | str,
    split: str,
    limit: int | None,
    encoding: str,
    metres_per_unit: float | None,
    modalities: tuple[str, ...],
) -> FileDataset:
    root = Path(root)
    description = describe_task(listed.task)
    task = description.task()
    read: ReadValues
    if encoding == "raw":
        task = description.task(metres_per_unit)
        read = partial(read_values, channels=1)
        if metres_per_unit is not None:
            read = partial(read_metres, metres_per_unit=metres_per_unit)
    elif metres_per_unit is None or encoding == "hha":
        need = "intrinsics, which this layout has not" if encoding == "hha" else "metres_per_unit"
        raise ValueError(
            f"depth encoding {encoding} of {task.data} needs {need}; choose raw, or give the unit: --metres-per-unit"
        )
    else:
        depth = depth_encoding(encoding, near_m=0.5, far_m=10.0, mean_m=2.8, std_m=1.4)
        task = dataclasses.replace(task, modalities=(IMAGENET_RGB, depth))
        read = partial(read_metres, metres_per_unit=metres_per_unit)
    task = task.only(modalities)
    problems = LayoutProblems(root, "give the folder that holds the lists; a line is rgb<TAB>labels<TAB>depth")
    candidates = [root / name for name in listed.list_names.get(split, (f"{split}.txt",))]
    listing = next((path for path in candidates if path.is_file()), candidates[0])
    frames: list[FrameFiles] = []
    if problems.require_file(listing, f"the list of the {split} frames"):
        frames = _frames(listing, root, listed.depth_folder, "depth" in modalities, problems)[:limit]
        require_frames(frames, problems, listing.name)
    problems.raise_if_any()
    return FileDataset(task, frames, {"depth": read}, description.label_code())


def _frames(
    listing: Path, root: Path, depth_folder: str | None, with_depth: bool, problems: LayoutProblems
) -> list[FrameFiles]:
    frames = []
    for number, line in enumerate((problems.read_text(listing) or "").splitlines(), start=1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not columns:
            continue
        name = PurePosixPath(columns[0]).stem
        if len(columns) == 2 and depth_folder is not None:
            columns.append(f"{depth_folder}/{name}.png")
        if len(columns) != 3 and not (len(columns) == 2 and not with_depth):
            problems.add(f"{listing.name} line {number} has {len(columns)} columns; expected rgb, labels, depth")
            continue
        rgb, labels, *depth = (root / column.strip() for column in columns)
        frames.append(FrameFiles(name, rgb, labels, {"depth": depth[0]} if with_depth else {}))
    return frames

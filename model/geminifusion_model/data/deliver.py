"""DeLiVER (Zhang et al., CVPR 2023): driving scenes with depth, events and LiDAR in five conditions.

ROOT/img/<condition>/<split>/<map>/NAME_rgb_front.png         8-bit RGB
ROOT/hha/…/NAME_depth_front.png                               depth as HHA, three channels
ROOT/event/…/NAME_event_front.png                             events, possibly at a lower resolution
ROOT/lidar/…/NAME_lidar_front.png                             projected points
ROOT/semantic/…/NAME_semantic_front.png                       first channel 1…25, 0 and 255 = ignore

Conditions are cloud, fog, night, rain and sun; a part of each condition's maps carries the name of a corner case.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from geminifusion_model.data.frame_files import FileDataset, FrameFiles, require_frames
from geminifusion_model.data.image_files import read_values
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.task_files import describe_task
from geminifusion_model.task import Task

_DESCRIPTION = describe_task("deliver-25")
CLASSES = _DESCRIPTION.task().class_names
SPLITS = ("train", "val", "test")
CASES = (
    "cloud", "fog", "night", "rain", "sun",
    "motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres",
)  # fmt: skip
# folder and file-name part of each modality besides rgb
_STORED = {"depth": ("hha", "depth"), "event": ("event", "event"), "lidar": ("lidar", "lidar")}


def deliver_task(modalities: tuple[str, ...] = ("rgb", "depth")) -> Task:
    """The 25 classes seen through these modalities; all but the RGB are only divided by 255.

    Raises:
        ValueError: rgb does not come first, or a modality is unknown or named twice.
    """
    others = modalities[1:]
    if modalities[:1] != ("rgb",) or len(set(others)) < len(others) or not set(others) <= set(_STORED):
        raise ValueError(f"modalities are {', '.join(modalities)}; expected rgb, then any of {', '.join(_STORED)}")
    task = _DESCRIPTION.task().only(modalities)
    return dataclasses.replace(task, data=f"{task.data}, {'+'.join(modalities)}")


def deliver(
    root: Path | str,
    split: str,
    *,
    modalities: tuple[str, ...] = ("rgb", "depth"),
    limit: int | None = None,
) -> FileDataset:
    """One split of DeLiVER, or one condition or corner case of it.

    Args:
        split: `train`, `val` or `test`; `val/fog` or `test/motionblur` takes only the frames whose path names the case.
        modalities: `rgb`, then any of `depth` (as HHA), `event`, `lidar`.
        limit: only the first frames.

    Raises:
        LayoutError: there are no such frames, or files of theirs are missing; it names all of them.
        ValueError: the split, the case or a modality is unknown.
    """
    root = Path(root)
    task = deliver_task(modalities)
    part, _, case = split.partition("/")
    if part not in SPLITS or (case and case not in CASES):
        raise ValueError(
            f"split is {split!r}; expected {', '.join(SPLITS)}, optionally with a case: val/{'|'.join(CASES)}"
        )
    problems = LayoutProblems(root, "give the folder that holds img/, hha/, event/, lidar/ and semantic/")
    images = sorted((root / "img").glob(f"*/{part}/*/*.png"))
    chosen = [path for path in images if case in path.relative_to(root).as_posix()][:limit]
    if not chosen:
        problems.add(f"img/*/{part}/*/*.png matches {len(images)} files, {split} none of them")
    frames = [_frame(root, path, modalities[1:]) for path in chosen]
    require_frames(frames, problems, "img/")
    problems.raise_if_any()
    return FileDataset(
        task,
        frames,
        {name: partial(read_values, channels=3) for name in modalities[1:]},
        _DESCRIPTION.label_code(),
        resized=frozenset({"event"}) & frozenset(modalities),
    )


def _frame(root: Path, rgb: Path, others: tuple[str, ...]) -> FrameFiles:
    place = rgb.relative_to(root / "img")

    def counterpart(folder: str, kind: str) -> Path:
        return root / folder / place.parent / place.name.replace("_rgb", f"_{kind}")

    return FrameFiles(
        place.with_suffix("").as_posix(),
        rgb,
        counterpart("semantic", "semantic"),
        {name: counterpart(*_STORED[name]) for name in others},
    )

"""Which frames to label first: those that the model is least sure of, by the maps that `predict --format npz` wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .frame_files import FrameFiles

_Map = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How much a frame needs a look: a number of one of its maps, 0…1, larger is more."""

    map_name: str
    of: Callable[[_Map, float], float]


MEASURES: Mapping[str, Measure] = {
    "uncertainty": Measure(map_name="confidence", of=lambda values, _: float(1 - values.mean(dtype="f8"))),
    "low-confidence": Measure(map_name="confidence", of=lambda values, threshold: float((values < threshold).mean())),
    "disagreement": Measure(map_name="disagreement", of=lambda values, _: float(values.mean(dtype="f8"))),
}
_ASK = {"confidence": "with --format npz", "disagreement": "with --format npz --disagreement, on a server"}


@dataclass(frozen=True, kw_only=True)
class RankedFrame:
    """A frame by its name, and how much it needs a look."""

    name: str
    value: float


def rank(folder: Path, by: str, threshold: float) -> list[RankedFrame]:
    """The frames of a folder and those within it that have a `.npz`, those that need a look most first.

    Args:
        folder: where `predict` wrote.
        by: a name of `MEASURES`.
        threshold: of `low-confidence`, 0…1.

    Raises:
        InvalidInputError: there are no frames, or a file lacks the map.
    """
    paths = sorted(folder.rglob("*.npz"))
    if not paths:
        raise InvalidInputError(f"{folder} holds no .npz files; write them: geminifusion predict {_ASK['confidence']}")
    measure = MEASURES[by]
    frames = [
        RankedFrame(
            name=path.relative_to(folder).with_suffix("").as_posix(),
            value=measure.of(_read(path, measure.map_name), threshold),
        )
        for path in paths
    ]
    return sorted(frames, key=lambda frame: (-frame.value, frame.name))


def label_studio_tasks(
    frames: Sequence[RankedFrame], by: str, images: FrameFiles, depth: FrameFiles | None, root: Path
) -> list[dict[str, Any]]:
    """The frames as tasks to import, whose images Label Studio serves as local files below `root`.

    Raises:
        InvalidInputError: a frame has no image, or not below `root`.
    """
    tasks = []
    for frame in frames:
        data = {"image": _local_file(images.path(frame.name), root)}
        if depth is not None:
            data["depth"] = _local_file(depth.path(frame.name), root)
        tasks.append({"data": data, "meta": {by: round(frame.value, 6)}})
    return tasks


def cvat_files(frames: Sequence[RankedFrame], images: FrameFiles) -> list[str]:
    """The images of the frames, as CVAT is given them.

    Raises:
        InvalidInputError: a frame has no image.
    """
    return [str(images.path(frame.name)) for frame in frames]


def _read(path: Path, map_name: str) -> _Map:
    try:
        with np.load(path, allow_pickle=False) as maps:
            values = maps[map_name]
    except KeyError:
        raise InvalidInputError(f"{path} has no {map_name}; write it again {_ASK[map_name]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); run geminifusion predict again") from None
    if not values.size or not np.issubdtype(values.dtype, np.floating):
        raise InvalidInputError(
            f"{map_name} in {path} is a {values.dtype} array of shape {values.shape}, not floats; run predict again"
        )
    return values


def _local_file(path: Path, root: Path) -> str:
    try:
        inside = path.resolve().relative_to(root.resolve())
    except ValueError:
        raise InvalidInputError(f"{path} does not lie in {root}; give the folder that Label Studio serves") from None
    return f"/data/local-files/?d={quote(inside.as_posix())}"

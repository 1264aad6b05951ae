"""Where the golden frames of an export come from: drawn rooms, the photographs of the package, or a user's own data."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import example_inputs
from geminifusion_export.verification.golden import GoldenFrames
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Dataset
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.task import Task

# Small enough that a set weighs about a megabyte; neither side is a multiple of 32, so no runtime gets a tidy shape.
_SIZE = (180, 240)
_NUM_ROOMS = 5
_SEED = 20_000  # of no training set
_MILLIMETRES = np.float32(1000.0)


class _Photograph(NamedTuple):
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]  # metres
    source: str
    license: str
    notice: str


def default_frames(task: Task, min_side: int = 1) -> GoldenFrames:
    """Frames that may be passed on with any artifact, the same for the same task.

    For RGB, or RGB and metric depth: drawn rooms, whose labels are known, and the package's photographs. A task of
    other classes than NYU's 13 gets them without labels; one with other sensors gets random inputs.

    Args:
        task: of the network.
        min_side: the smallest side the graph takes, in pixels.
    """
    size = _SIZE if min(_SIZE) >= min_side else (min_side, min_side * 4 // 3)
    kinds = {modality.name: modality.encoding for modality in task.modalities}
    if any(name not in ("rgb", "depth") for name in kinds) or kinds["rgb"] != "imagenet":
        tensors = example_inputs(task, 2, *size, seed=_SEED)
        return GoldenFrames(
            feeds={m.name: tensor.numpy() for m, tensor in zip(task.modalities, tensors, strict=True)},
            truth=None,
            source="random inputs: no frames with these sensors come with the package",
            license="no rights reserved",
        )
    rooms = Rooms(_NUM_ROOMS, _SEED, size)
    samples = [rooms[index] for index in range(len(rooms))]
    rgb = [sample.rgb for sample in samples]
    depth = [_whole_millimetres(sample.others["depth"]) for sample in samples]
    truth = [sample.labels for sample in samples]
    photographs = _photographs(size)
    rgb += [entry.rgb for entry in photographs]
    depth += [entry.depth for entry in photographs]
    truth += [np.full(size, task.ignore_index, np.uint8) for _ in photographs]
    feeds: dict[str, NDArray[np.generic]] = {"rgb": np.stack(rgb)}
    if "depth" in kinds:
        feeds["depth"] = np.stack(depth)
    return GoldenFrames(
        feeds=feeds,
        truth=np.stack(truth) if task.class_names == nyuv2_task(13).class_names else None,
        source="; ".join([f"{_NUM_ROOMS} rooms drawn by geminifusion", *(entry.source for entry in photographs)]),
        license="; ".join(["rooms: Apache-2.0", *(entry.license for entry in photographs)]),
        notices="\n\n".join(f"{entry.license}\n\n{entry.notice}" for entry in photographs),
    )


def frames_of(dataset: Dataset, count: int, task: Task) -> GoldenFrames:
    """The first frames of a data set; they will be readable by whoever gets the artifact.

    Raises:
        ExportError: the data set has other modalities or classes than the task, or its frames differ in size.
    """
    names = [modality.name for modality in task.modalities]
    if dataset.task.class_names != task.class_names:
        raise ExportError(
            f"the golden frames have {len(dataset.task.class_names)} classes, the network {len(task.class_names)}, "
            "or others in their place; give frames with the labels it was trained on"
        )
    if missing := [name for name in names if name not in [m.name for m in dataset.task.modalities]]:
        raise ExportError(
            f"the golden frames have no {', '.join(missing)}, which the network takes; give all of {names}"
        )
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    sizes = sorted({sample.labels.shape for sample in samples})
    if len(sizes) != 1:
        raise ExportError(f"the golden frames have sizes {sizes}; expected frames, all of one size")
    return GoldenFrames(
        feeds={
            name: np.stack([sample.rgb if name == "rgb" else sample.others[name] for sample in samples])
            for name in names
        },
        truth=np.stack([sample.labels for sample in samples]),
        source=f"{dataset.task.data}, first {len(samples)} frames",
        license=dataset.task.data_license,
    )


def _photographs(size: tuple[int, int]) -> list[_Photograph]:
    """The pairs in the front door's package; none in a copy without them."""
    folder = files("geminifusion_runtime") / "pairs"
    manifest = folder / "MANIFEST.json"
    if not manifest.is_file():
        return []
    found = []
    for entry in json.loads(manifest.read_text(encoding="utf-8")):
        rgb = _decoded((folder / entry["rgb"]).read_bytes(), cv2.IMREAD_COLOR)
        depth = _decoded((folder / entry["depth"]).read_bytes(), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
        metres = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST) * np.float32(entry["depth_scale"])
        found.append(
            _Photograph(
                np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8),
                _whole_millimetres(metres.astype(np.float32)),
                f"{entry['source']} (reduced)",
                f"{entry['name']}: {entry['license']}",
                (folder / entry["license_file"]).read_text(encoding="utf-8"),
            )
        )
    return found


def _decoded(content: bytes, flag: int) -> NDArray[np.integer]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    assert decoded is not None  # it comes with the package
    return np.asarray(decoded, decoded.dtype)


def _whole_millimetres(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a sensor would have stored; it also packs into half the bytes."""
    return np.asarray(np.round(np.nan_to_num(metres, posinf=0.0) * _MILLIMETRES) / _MILLIMETRES, np.float32)

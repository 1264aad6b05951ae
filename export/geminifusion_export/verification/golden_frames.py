"""The golden frames of an export: rendered rooms, the photographs of the package, or a user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import frame_inputs, random_batch
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Dataset
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.task import Task
from geminifusion_runtime.artifact import GoldenSet, segmentation_outputs
from geminifusion_runtime.backends.protocol import Backend, GraphInputs
from geminifusion_runtime.bundled import demo_pairs
from geminifusion_runtime.golden_set import MAX_BYTES as MAX_GOLDEN_BYTES

GOLDEN_NAME = "golden.npz"
# Small enough for a set of about a megabyte; neither side is a multiple of 32, so no runtime gets an easy shape.
_SIZE = (180, 240)
_NUM_ROOMS = 5
_SEED = 20_000  # no training set uses it
_RENDERED = {("rgb", "intensity"), ("depth", "metre")}  # modalities and units that rooms and photographs have
_MILLIMETERS = np.float32(1000.0)


@dataclass(frozen=True, kw_only=True)
class GoldenFrames:
    """Frames of one size, before the reference has run on them.

    Args:
        inputs: modalities by graph input name, `frames H W [3]`.
        truth: `frames H W` uint8 class indices, or None if no pixel of any frame is labeled.
        source: where they come from, in words.
        license: terms under which they may be passed on.
        notices: texts that those terms require to accompany the frames.
    """

    inputs: GraphInputs
    truth: NDArray[np.uint8] | None
    source: str
    license: str
    notices: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def write_golden_set(path: Path, frames: GoldenFrames, reference: Backend, num_classes: int) -> GoldenSet:
    """Run the reference on every frame, one by one, and write frames and outputs; the same bytes each time.

    Returns:
        The metadata's entry; its `file` is the name of `path`.

    Raises:
        ExportError: the frames are larger than any server reads.
    """
    if sum(array.nbytes for array in frames.inputs.values()) > MAX_GOLDEN_BYTES // 2:  # the outputs take less
        raise ExportError(
            f"the golden frames have more than {MAX_GOLDEN_BYTES // 2**21} MB; give fewer or smaller ones"
        )
    batches = [
        {name: array[index : index + 1] for name, array in frames.inputs.items()} for index in range(len(frames))
    ]
    outputs = [reference.run(batch) for batch in batches]
    names = [each.name for each in segmentation_outputs(len(frames.inputs)) if not each.optional]
    arrays = {name: np.concatenate([entry[name] for entry in outputs]) for name in names}
    miou = None
    if frames.truth is not None and (frames.truth < num_classes).any():
        matrix = ConfusionMatrix(num_classes)
        matrix.add(frames.truth, arrays["labels"])
        arrays["truth"], miou = frames.truth, matrix.miou()
    arrays["notices"] = np.frombuffer(frames.notices.encode(), np.uint8)
    np.savez_compressed(path, allow_pickle=False, **dict(frames.inputs), **arrays)
    return GoldenSet(file=path.name, frames=len(frames), source=frames.source, license=frames.license, miou=miou)


class _Photograph(NamedTuple):
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]  # metres
    source: str
    license: str
    notice: str


def default_frames(task: Task, min_side: int = 1) -> GoldenFrames:
    """Frames that may be distributed with any artifact, the same for the same task.

    For RGB, or RGB and depth in metres: rendered rooms, whose labels are known, and the package's photographs. A task
    with other classes than NYU's 13 gets them without labels; a task with other sensors gets random inputs.

    Args:
        task: of the network.
        min_side: the smallest side the graph takes, in pixels.
    """
    size = _SIZE if min(_SIZE) >= min_side else (min_side, min_side * 4 // 3)
    if any((entry.name, entry.unit) not in _RENDERED for entry in task.modalities):
        return GoldenFrames(
            inputs=random_batch(task, (2, *size), seed=_SEED),
            truth=None,
            source="random inputs: no frames with these sensors come with the package",
            license="no rights reserved",
        )
    rooms = Rooms(_NUM_ROOMS, _SEED, size)
    samples = [rooms[index] for index in range(len(rooms))]
    rgb = [sample.rgb for sample in samples]
    depth = [_round_to_millimeters(sample.others["depth"]) for sample in samples]
    truth = [sample.labels for sample in samples]
    photographs = _photographs(size)
    rgb += [entry.rgb for entry in photographs]
    depth += [entry.depth for entry in photographs]
    truth += [np.full(size, task.ignore_index, np.uint8) for _ in photographs]
    rendered: dict[str, NDArray[np.generic]] = {"rgb": np.stack(rgb), "depth": np.stack(depth)}
    return GoldenFrames(
        inputs={modality.name: rendered[modality.name] for modality in task.modalities},
        truth=np.stack(truth) if task.class_names == nyuv2_task(13).class_names else None,
        source="; ".join([f"{_NUM_ROOMS} rooms rendered by geminifusion", *(entry.source for entry in photographs)]),
        license="; ".join(["rooms: Apache-2.0", *(entry.license for entry in photographs)]),
        notices="\n\n".join(f"{entry.license}\n\n{entry.notice}" for entry in photographs),
    )


def frames_of(dataset: Dataset, count: int, task: Task) -> GoldenFrames:
    """The first frames of a data set; whoever gets the artifact can read them.

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
    inputs = [frame_inputs(sample, task) for sample in samples]
    sizes = sorted({sample.labels.shape for sample in samples})
    if len(sizes) != 1:
        raise ExportError(f"the golden frames have sizes {sizes}; expected frames, all of one size")
    return GoldenFrames(
        inputs={name: np.concatenate([frame[name] for frame in inputs]) for name in names},
        truth=np.stack([sample.labels for sample in samples]),
        source=f"{dataset.task.data}, first {len(samples)} frames",
        license=dataset.task.data_license,
    )


def _photographs(size: tuple[int, int]) -> list[_Photograph]:
    """The photographs that come with the package."""
    found = []
    for pair in demo_pairs().values():
        rgb = _decoded(pair.rgb.read_bytes(), cv2.IMREAD_COLOR)
        depth = _decoded(pair.depth.read_bytes(), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
        meters = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST) * np.float32(pair.depth_scale)
        found.append(
            _Photograph(
                np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8),
                _round_to_millimeters(meters.astype(np.float32)),
                f"{pair.source} (reduced)",
                f"{pair.name}: {pair.license}",
                pair.license_file.read_text(encoding="utf-8"),
            )
        )
    return found


def _decoded(content: bytes, flag: int) -> NDArray[np.integer]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    assert decoded is not None  # it comes with the package
    return np.asarray(decoded, decoded.dtype)


def _round_to_millimeters(meters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round distances as a sensor stores them, which also compresses to half the bytes."""
    return np.asarray(np.round(np.nan_to_num(meters, posinf=0.0) * _MILLIMETERS) / _MILLIMETERS, np.float32)

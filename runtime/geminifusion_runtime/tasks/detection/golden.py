"""The golden set of a detector: frames as clients send them, with the torch network's outputs.

Layout of the `.npz`, for each frame i: `rgb.i` uint8 `H W 3`, `points.i` float32 `P 4`, `p2.i`, `r0_rect.i` and
`tr_velo_to_cam.i` float64, and the graph's outputs by name for the frame that `prepare_frame` makes of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import DETECTION_OUTPUTS, ArtifactError, DetectionMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.frames import PreparedFrame, prepare_frame
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.golden_set import load_arrays

_OUTPUT_NAMES = tuple(output.name for output in DETECTION_OUTPUTS)
_CALIBRATION = {"p2": (3, 4), "r0_rect": (3, 3), "tr_velo_to_cam": (3, 4)}


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenFrame:
    """One frame as it came, and torch's outputs for it by output name."""

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    calibration: Calibration
    outputs: GraphOutputs

    def prepared(self, metadata: DetectionMetadata) -> PreparedFrame:
        """The frame as the artifact's graph takes it."""
        return prepare_frame(
            self.image, self.points, self.calibration, grid=metadata.grid, network_image=metadata.image_size
        )

    def with_outputs(self, outputs: GraphOutputs) -> GoldenFrame:
        """The same frame with these outputs."""
        return dataclasses.replace(self, outputs=outputs)


def write_golden_frames(path: Path, frames: Sequence[GoldenFrame]) -> None:
    """Write frames and outputs; the same bytes each time."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for index, frame in enumerate(frames):
        named: dict[str, NDArray[np.generic]] = {"rgb": frame.image, "points": frame.points}
        named |= {name: getattr(frame.calibration, name) for name in _CALIBRATION}
        arrays |= {f"{name}.{index}": array for name, array in (named | dict(frame.outputs)).items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_golden_frames(directory: Path, metadata: DetectionMetadata) -> tuple[GoldenFrame, ...]:
    """Read the frames and torch's outputs; empty if the artifact has no golden set.

    Raises:
        ArtifactError: the file cannot be read, lacks an array, or one has another shape or type than expected.
    """
    if metadata.golden is None:
        return ()
    path = directory / metadata.golden.file
    arrays = load_arrays(path, inside=directory)
    frames = []
    for index in range(metadata.golden.frames):
        found = {
            name: arrays[key] for name in (*_wanted(metadata), *_OUTPUT_NAMES) if (key := f"{name}.{index}") in arrays
        }
        if (problem := _problem(found, metadata)) is None:
            frame = _frame(found)
            try:
                frame.prepared(metadata)
            except GeminiFusionError as error:
                problem = f"what no model takes ({error})"
        if problem is not None:
            raise ArtifactError(f"{path} holds {problem} for frame {index}; export the artifact again")
        frames.append(frame)
    return tuple(frames)


def _frame(arrays: Mapping[str, NDArray[np.generic]]) -> GoldenFrame:
    return GoldenFrame(
        image=np.asarray(arrays["rgb"], np.uint8),
        points=np.asarray(arrays["points"], np.float32),
        calibration=Calibration(
            p2=np.asarray(arrays["p2"], np.float64),
            r0_rect=np.asarray(arrays["r0_rect"], np.float64),
            tr_velo_to_cam=np.asarray(arrays["tr_velo_to_cam"], np.float64),
        ),
        outputs={name: arrays[name] for name in _OUTPUT_NAMES},
    )


def _wanted(metadata: DetectionMetadata) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Type and shape of each array; None for a side of any length."""
    cells = (1, *metadata.map_size, metadata.anchors.per_cell)
    return {
        "rgb": ("uint8", (None, None, 3)),
        "points": ("float32", (None, 4)),
        **{name: ("float64", shape) for name, shape in _CALIBRATION.items()},
        "class_logits": ("float32", (*cells, len(metadata.anchors.classes))),
        "box_numbers": ("float32", (*cells, 7)),
        "direction_logits": ("float32", (*cells, 2)),
    }


def _problem(arrays: Mapping[str, NDArray[np.generic]], metadata: DetectionMetadata) -> str | None:
    """What is not as it has to be, in words."""
    for name, (dtype, shape) in _wanted(metadata).items():
        array = arrays.get(name)
        if array is None:
            return f"no {name}"
        fits = array.ndim == len(shape) and all(
            expected in (None, side) for side, expected in zip(array.shape, shape, strict=True)
        )
        if array.dtype != dtype or not fits or not array.size:
            return f"{array.dtype} {array.shape} as {name}"
    return None

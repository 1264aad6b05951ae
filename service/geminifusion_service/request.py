"""Requests and their responses, the same for every transport."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.encoding.class_shares import ClassShare
from geminifusion_runtime.encoding.run_lengths import RunLengths
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.tasks.detection.options import DetectionFormat, DetectOptions
from geminifusion_runtime.types import MaskFormat, SensorHealth
from geminifusion_service.observability.timeline import Timeline


class TaskRequest(Protocol):
    """A request of any task: its parts by name, encoded or as arrays, and options."""

    @property
    def images(self) -> Mapping[str, bytes | NDArray[np.generic]]:
        """The parts: images by modality name, and what else the task takes."""

    @property
    def options(self) -> RequestOptions:
        """Those of the task."""


@dataclass(frozen=True, kw_only=True)
class SegmentRequest:
    """Images by modality name, and options.

    Bytes are an encoded file; an array is decoded pixels, as `decode_modality` takes it.
    """

    images: Mapping[str, bytes | NDArray[np.generic]]
    options: SegmentOptions


@dataclass(frozen=True, kw_only=True)
class DetectRequest:
    """The parts `rgb`, `points` and `calibration`, and options.

    Bytes are a file; an array is pixels, `H W 3`, or points, `P 4` or `P 3`.
    """

    images: Mapping[str, bytes | NDArray[np.generic]]
    options: DetectOptions


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds of each stage. Time waiting for a free decoder or encoder counts as that stage's."""

    decode: float
    queue: float
    compute: float
    encode: float


_TIMED = tuple(stage.name for stage in dataclasses.fields(Timings))


@dataclass(frozen=True, kw_only=True)
class TaskResponse:
    """What the responses of all tasks have."""

    model: str
    request_id: str
    height: int  # of the posted rgb, or without it of the first modality
    width: int
    warnings: tuple[str, ...]
    batch_size: int = 1
    timeline: Timeline = field(default_factory=Timeline)
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)  # of every image received, by modality name

    @property
    def num_bytes(self) -> int:
        """Bytes of its large parts, which are held until the response has left."""
        raise NotImplementedError(f"a {type(self).__name__} does not say how large it is")

    @functools.cached_property
    def timings(self) -> Timings:
        """Durations of the stages that every request passes, from the timeline."""
        milliseconds = dict.fromkeys(_TIMED, 0.0)
        for timing in self.timeline.stages:
            if timing.stage in milliseconds:
                milliseconds[timing.stage] += 1000 * timing.seconds
        return Timings(**milliseconds)


@dataclass(frozen=True, kw_only=True)
class SegmentResponse(TaskResponse):
    """The result. `mask` is the encoded file; empty for json, which has `rle`, and where no file was requested."""

    format: MaskFormat | None
    labels: NDArray[np.uint8]  # H W, at the size of the posted image
    mask: bytes
    classes: tuple[ClassShare, ...]
    rle: tuple[RunLengths, ...]
    confidence: NDArray[np.float16] | None
    gate: NDArray[np.float16] | None
    disagreement: NDArray[np.float16] | None = None  # h w, 0…1; see `disagreement` in the runtime's postprocessing
    # h w, 0…1, by modality beside the first, in the model's order; with the gate, of models of more than two
    modality_weights: Mapping[str, NDArray[np.float16]] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of its large parts, which are held until the response has left."""
        return int(len(self.mask) + self.labels.nbytes)


@dataclass(frozen=True, kw_only=True)
class DetectResponse(TaskResponse):
    """The boxes. `file` is the encoded file; empty for json, and where no file was requested."""

    format: DetectionFormat | None
    found: FrameBoxes
    num_points: int  # within the image and the model's range
    grid: GridSettings  # the range
    file: bytes = b""

    @property
    def num_bytes(self) -> int:
        """Bytes of its large parts, which are held until the response has left."""
        return len(self.file)

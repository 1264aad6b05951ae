"""A segmentation request and its answer, the same for every transport."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.depth import check_depth_invalid, check_depth_scale
from geminifusion_runtime.encoding.class_shares import ClassShare
from geminifusion_runtime.encoding.masks import MASK_FORMATS, MaskFormat
from geminifusion_runtime.encoding.run_lengths import RunLengths
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.types import ALIGNS, PRIORITIES, SENSOR_POLICIES, Align, Priority, SensorHealth, SensorPolicy
from geminifusion_service.observability.request_context import is_request_id
from geminifusion_service.observability.timeline import Timeline

_LONGEST_DEADLINE_MS = 3_600_000.0


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What the client wants, checked. Raises `InvalidOptionError`.

    `depth_scale` is metres per stored unit, `depth_invalid` stored values that mean no measurement; `deadline_ms`
    counts from the arrival of the request.
    """

    model: str | None = None
    depth_scale: float | None = None
    depth_invalid: tuple[float, ...] = ()
    align: Align = "none"  # resize: bring the other modalities to the size of rgb; none: refuse them
    sensor_policy: SensorPolicy | None = None  # what to do about a broken sensor; None takes the server's
    format: MaskFormat | None = "png"  # None: no file, `labels` alone, for transports that send tensors
    confidence: bool = False
    gate: bool = False
    disagreement: bool = False
    classes: bool = False  # class shares beside a picture format; json always has them
    priority: Priority = "normal"
    deadline_ms: float | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse values nobody could mean."""
        if self.format is not None:
            _check_choice("format", self.format, MASK_FORMATS)
        _check_choice("align", self.align, ALIGNS)
        _check_choice("priority", self.priority, PRIORITIES)
        if self.sensor_policy is not None:
            _check_choice("sensor_policy", self.sensor_policy, SENSOR_POLICIES)
        check_depth_scale(self.depth_scale)
        check_depth_invalid(self.depth_invalid)
        deadline = self.deadline_ms
        if deadline is not None and not (math.isfinite(deadline) and 0 < deadline <= _LONGEST_DEADLINE_MS):
            raise InvalidOptionError(
                f"deadline_ms is {deadline}, expected milliseconds above 0 and at most {_LONGEST_DEADLINE_MS:.0f}"
            )
        if self.request_id is not None and not is_request_id(self.request_id):
            raise InvalidOptionError("request_id must be 1 to 128 of A-Z a-z 0-9 . _ : -")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidOptionError(f"{name} is {value[:100]!r}, expected one of {', '.join(choices)}")


@dataclass(frozen=True, kw_only=True)
class SegmentRequest:
    """Images by modality name, and options.

    Bytes are an encoded file; an array is taken as decoded: colour `H W 3` uint8, depth `H W` as `to_metres` takes it.
    """

    images: Mapping[str, bytes | NDArray[np.generic]]
    options: SegmentOptions


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds of each stage. Waiting for a free decoder or encoder counts as that stage."""

    decode: float
    queue: float
    compute: float
    encode: float


@dataclass(frozen=True, kw_only=True)
class SegmentResponse:
    """The answer. `mask` is the encoded file; empty for json, which has `rle`, and where no file was asked for."""

    model: str
    request_id: str
    height: int
    width: int
    format: MaskFormat | None
    labels: NDArray[np.uint8]  # H W, at the size of the posted rgb
    mask: bytes
    classes: tuple[ClassShare, ...]
    rle: tuple[RunLengths, ...]
    confidence: NDArray[np.float16] | None
    gate: NDArray[np.float16] | None
    timings: Timings
    batch_size: int
    warnings: tuple[str, ...]
    timeline: Timeline = field(default_factory=Timeline)
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)  # of all that came, by modality name
    disagreement: NDArray[np.float16] | None = None  # h w, 0…1, see outputs.disagreement

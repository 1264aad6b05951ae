"""The kinds of parts that requests carry, and what decodes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.decode import DecodedImage, decode_modality
from geminifusion_runtime.tasks.detection.parts import (
    CalibrationSpec,
    PointsSpec,
    decode_packed_calibration,
    decode_points,
)

PartSpec = ModalitySpec | PointsSpec | CalibrationSpec

PART_SPECS: TypeAdapter[Any] = TypeAdapter(PartSpec)
"""To send a part's description to a decoding process and read it there."""

_DECODERS: Mapping[type[Any], Callable[..., DecodedImage]] = {
    ModalitySpec: decode_modality,
    PointsSpec: decode_points,
    CalibrationSpec: decode_packed_calibration,
}


def decode_part(
    data: bytes | NDArray[np.generic],
    spec: PartSpec,
    *,
    max_pixels: int,
    scale: float | None = None,
    invalid: Sequence[float] = (),
    intrinsics: Sequence[float] | None = None,
    may_hold_gil: bool = False,
) -> DecodedImage:
    """Decode one part of a request as its kind says; see `decode_modality` for the arguments.

    Raises:
        GeminiFusionError: it cannot be read as what it should be.
    """
    return _DECODERS[type(spec)](
        data,
        spec,
        max_pixels=max_pixels,
        scale=scale,
        invalid=invalid,
        intrinsics=intrinsics,
        may_hold_gil=may_hold_gil,
    )

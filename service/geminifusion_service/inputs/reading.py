"""One request's images to the arrays a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.artifact import ModalitySpec
from geminifusion_service.inputs.depth import to_metres
from geminifusion_service.inputs.images import decode_depth, decode_rgb


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One modality, decoded: colour `H W 3` uint8 or depth `H W` float32 metres; and what to tell the client."""

    array: NDArray[np.generic]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """All that came, by modality name."""

    readings: Mapping[str, Reading]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The colour image, `H W 3`."""
        return self.readings["rgb"].array.astype(np.uint8, copy=False)


def read_modality(
    data: bytes | NDArray[np.generic], spec: ModalitySpec, *, max_pixels: int, depth_scale: float | None
) -> Reading:
    """Decode one posted image; an array is taken as decoded.

    Raises:
        ServiceError: as `decode_rgb`, `decode_depth` and `to_metres` say.
    """
    if spec.unit == "intensity":
        if isinstance(data, np.ndarray):
            return Reading(array=data)
        return Reading(array=decode_rgb(data, max_pixels=max_pixels, field=spec.name))
    if isinstance(data, np.ndarray):
        depth = to_metres(data, depth_scale=depth_scale, field=spec.name)
    else:
        depth = decode_depth(data, max_pixels=max_pixels, depth_scale=depth_scale, field=spec.name)
    return Reading(array=depth.metres, warnings=depth.warnings)

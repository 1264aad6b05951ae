"""Decoding of the images of one request, to the arrays a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.depth import to_metres
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.sensor_health import color_health, depth_health
from geminifusion_runtime.types import NOT_ASSESSED, SensorHealth


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One modality: colour `H W 3` uint8 or depth `H W` float32 metres, with warnings for the client."""

    array: NDArray[np.generic]
    health: SensorHealth = NOT_ASSESSED
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DecodedRequest:
    """The decoded images of a request, by modality name."""

    images: Mapping[str, DecodedImage]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The colour image, `H W 3`."""
        return self.images["rgb"].array.astype(np.uint8, copy=False)


def decode_modality(
    data: bytes | NDArray[np.generic],
    spec: ModalitySpec,
    *,
    max_pixels: int,
    depth_scale: float | None,
    depth_invalid: Sequence[float] = (),
    may_hold_gil: bool = False,
) -> DecodedImage:
    """Decode one image; an array is taken as decoded.

    Args:
        data, max_pixels, depth_scale, depth_invalid, may_hold_gil: see `decode_rgb` and `decode_depth`.
        spec: the input of the model that it is for.

    Raises:
        GeminiFusionError: as `decode_rgb`, `decode_depth` and `to_metres` say.
    """
    if spec.unit == "intensity":
        image = (
            data
            if isinstance(data, np.ndarray)
            else decode_rgb(data, max_pixels=max_pixels, field=spec.name, may_hold_gil=may_hold_gil)
        )
        usual = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        # Another kind of array is rejected in preprocessing, which knows the whole model.
        return (
            DecodedImage(array=image, health=color_health(image.astype(np.uint8, copy=False)))
            if usual
            else DecodedImage(array=image)
        )
    if isinstance(data, np.ndarray):
        depth = to_metres(data, depth_scale=depth_scale, depth_invalid=depth_invalid, field=spec.name)
    else:
        depth = decode_depth(
            data,
            max_pixels=max_pixels,
            depth_scale=depth_scale,
            depth_invalid=depth_invalid,
            field=spec.name,
            may_hold_gil=may_hold_gil,
        )
    if depth.metres.ndim != 2 or not depth.metres.size:
        return DecodedImage(array=depth.metres, warnings=depth.warnings)
    return DecodedImage(array=depth.metres, warnings=depth.warnings, health=depth_health(depth.metres))

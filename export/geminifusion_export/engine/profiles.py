"""Optimization profiles: the shapes an engine is built for, checked against the sizes the artifact promises."""

from __future__ import annotations

import math
from collections.abc import Sequence

from geminifusion_runtime.artifact import ShapeRange, SizePolicy
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError, describe_profiles, size_problem

# The most elongated image that may still have all of `max_pixels`; slimmer ones have to have fewer.
_ASPECT = 4 / 3


def default_profiles(size: SizePolicy, max_batch: int) -> tuple[ShapeRange, ...]:
    """One profile for single frames of any size, one for batches up to the reference size, landscape or portrait.

    Batches of the largest size are left out on purpose: an engine reserves memory for its largest shape, and a batch
    outside every profile runs frame by frame.
    """
    height, width = size.reference
    # A square, so that portrait and landscape both fit.
    longest = max(math.isqrt(round(size.max_pixels * _ASPECT)), height, width, size.min_side)
    single = ShapeRange(
        minimum=(1, size.min_side, size.min_side), optimum=(1, height, width), maximum=(1, longest, longest)
    )
    if max_batch == 1:
        return (single,)
    side = max(height, width)
    batched = ShapeRange(
        minimum=(2, size.min_side, size.min_side), optimum=(max_batch, height, width), maximum=(max_batch, side, side)
    )
    return single, batched


def profile_problem(size: SizePolicy, profiles: Sequence[ShapeRange]) -> str | None:
    """Why these profiles do not fit the artifact's sizes, or None if they do."""
    for profile in profiles:
        low = min(profile.minimum[1:])
        if low < size.min_side:
            return f"a profile starts at {low} pixels, but the network takes no side below {size.min_side}"
        if profile.minimum[1] * profile.minimum[2] > size.max_pixels:
            return (
                f"a profile starts at {profile.minimum[1]}x{profile.minimum[2]}, but images are reduced to "
                f"{size.max_pixels} pixels before the network"
            )
    if size_problem(profiles, *size.reference) is not None:
        height, width = size.reference
        return (
            f"no profile takes one frame of the reference size {height}x{width}, which the service warms up with: "
            f"{describe_profiles(profiles)}"
        )
    return None


def parse_profile(text: str) -> ShapeRange:
    """Parse a profile from the command line: `1x64x64:1x480x640:8x640x640`, smallest, best and largest B x H x W.

    Raises:
        TensorRtError: the text is no such triple.
    """
    try:
        minimum, optimum, maximum = (_shape(part) for part in text.split(":"))
        return ShapeRange(minimum=minimum, optimum=optimum, maximum=maximum)
    except ValueError:  # pydantic's errors are ValueErrors too
        raise TensorRtError(
            f"profile {text!r} is not MIN:BEST:MAX with batch x height x width in order, e.g. "
            "1x64x64:1x480x640:8x640x640"
        ) from None


def _shape(text: str) -> tuple[int, int, int]:
    batch, height, width = (int(part) for part in text.lower().split("x"))
    return batch, height, width

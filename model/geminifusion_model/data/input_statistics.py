"""What a network sees of a sensor: how much of the values lies in the encoding's range, and their spread after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geminifusion_model.encoding import encode
from geminifusion_model.task import ModalityEncoding

_STEP = 2  # pixels: a quarter of them tells as much
_OFFSET_DOMINATES = 30.0  # of |mean| to deviation; an 8-bit picture that is only divided by 255 has about 2
_FLAT = 1e-6


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """Values of one modality in one frame, or in many.

    Args:
        low, high: the values between which nearly all lie, in the encoding's unit.
        outside: share of them outside the encoding's range.
        seen_mean, seen_std: of what the network sees of them.
    """

    low: float
    high: float
    outside: float
    seen_mean: float
    seen_std: float

    @property
    def is_flat(self) -> bool:
        """True if the network sees a constant."""
        return self.seen_std <= _FLAT * max(1.0, abs(self.seen_mean))

    @property
    def offset_dominates(self) -> bool:
        """True if differences between pixels are lost in what all of them share."""
        return not self.is_flat and abs(self.seen_mean) > _OFFSET_DOMINATES * self.seen_std


def input_statistics(values: NDArray[np.float32], encoding: ModalityEncoding) -> InputStatistics | None:
    """Those of one frame; None if nothing was measured.

    Args:
        values: as a `Sample` has them, `H W` or `H W 3`.
    """
    part = np.ascontiguousarray(values[::_STEP, ::_STEP])
    measured = np.isfinite(part) & (part > 0) if encoding.unit == "metre" else np.isfinite(part)
    known = part[measured]
    if not known.size:
        return None
    low, high = encoding.range
    scale = 255.0 if encoding.unit == "intensity" else 1.0
    seen = encode(torch.from_numpy(part)[None], encoding)[0].numpy()
    seen = seen[0][measured] if part.ndim == 2 else seen
    near, far = np.percentile(known, (0.5, 99.5))
    return InputStatistics(
        low=float(near),
        high=float(far),
        outside=float(((known < low * scale) | (known > high * scale)).mean()),
        seen_mean=float(seen.mean(dtype=np.float64)),
        seen_std=float(seen.std(dtype=np.float64)),
    )


def pooled(frames: Sequence[InputStatistics]) -> InputStatistics:
    """Those of several frames together, each counting alike."""
    means = np.array([frame.seen_mean for frame in frames])
    spread = np.array([frame.seen_std for frame in frames])
    return InputStatistics(
        low=min(frame.low for frame in frames),
        high=max(frame.high for frame in frames),
        outside=float(np.mean([frame.outside for frame in frames])),
        seen_mean=float(means.mean()),
        seen_std=math.sqrt(float((spread**2).mean() + means.var())),
    )


def describe_inputs(name: str, found: InputStatistics, encoding: ModalityEncoding) -> str | None:
    """What is wrong with a modality's encoding, in words with the remedy; None if nothing is."""
    low, high = encoding.range
    if encoding.unit == "intensity":
        low, high = 255.0 * low, 255.0 * high
    if found.is_flat:
        what = f"the network sees a constant: {name} is {found.low:g} to {found.high:g}"
        if not found.outside:
            return f"{what}; its files hold no image, so write them again from the source"
        return f"{what}, and {found.outside:.0%} of it is clipped to {low:g}…{high:g}; {_remedy(found, encoding)}"
    if found.outside > 0.5:
        return (
            f"{found.outside:.0%} of {name} is clipped to {low:g}…{high:g}, while it is {found.low:g} to "
            f"{found.high:g}; {_remedy(found, encoding)}"
        )
    if found.offset_dominates:
        return (
            f"the network sees {name} with a mean of {found.seen_mean:.3g} and a deviation of {found.seen_std:.2g}, so "
            f"that its pixels hardly differ; {_remedy(found, encoding)}"
        )
    return None


def _remedy(found: InputStatistics, encoding: ModalityEncoding) -> str:
    """Numbers to put into the contract."""
    if encoding.unit == "metre":
        return "correct metres_per_unit, or range, mean and std"
    bits = "bits: 16, " if encoding.unit == "count" else ""
    span = found.high - found.low
    middle, std = (found.low + found.high) / 2 / 255, max(span / 4 / 255, 1e-3)
    return (
        f"say what it measures in the contract: {bits}range: [{found.low:.6g}, {found.high:.6g}], "
        f"mean: {middle:.4g}, std: {std:.3g} (mean and std of value / 255)"
    )

"""How far a translated image is from the true one: in the scale of [-1, 1], as published, and in its domain's unit.

Every measure is first taken of each view, then averaged over views, which all have the same size; so other views of the
same kind can be drawn for intervals. RMSE is the root of that average, and what the published tables call MSE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.translation.domains import Domain

DELTA = 1.25
ANGLES = (11.25, 22.5, 30.0)
PEAK = 255.0

# Wang et al., 2004
_SSIM_WINDOW, _SSIM_DEVIATION = 11, 1.5
_SSIM_C1, _SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of a table.

    Args:
        name: as records spell it.
        title: as tables show it, with the unit.
        better: whether lower or higher values are.
        digits: after the point.
        root: whether the root is taken of the average over views.
    """

    name: str
    title: str
    better: Literal["lower", "higher"]
    digits: int = 3
    root: bool = False

    def average(self, values: NDArray[np.float64]) -> float:
        """The measure over views, each of which has one of the values; NaN for those where it is not defined.

        The result is NaN if it is for all.
        """
        known = values[~np.isnan(values)]
        if not known.size:
            return float("nan")
        return float(np.sqrt(known.mean()) if self.root else known.mean())


_SCALED = (
    Measure(name="mae", title="MAE", better="lower", digits=4),
    Measure(name="rmse", title="RMSE", better="lower", digits=4, root=True),
)
_OF_KIND: Mapping[str, tuple[Measure, ...]] = {
    "gray": (),
    "color": (
        Measure(name="psnr", title="PSNR, dB", better="higher", digits=2),
        Measure(name="ssim", title="SSIM", better="higher"),
    ),
    "depth": (
        Measure(name="abs_rel", title="AbsRel", better="lower"),
        Measure(name="rmse_m", title="RMSE, m", better="lower", root=True),
        Measure(name="delta_1", title=f"within {DELTA}, %", better="higher", digits=1),
    ),
    "normal": (
        Measure(name="mean_angle", title="mean angle, °", better="lower", digits=2),
        Measure(name="median_angle", title="median angle, °", better="lower", digits=2),
        *(
            Measure(name=f"within_{angle:g}", title=f"within {angle:g}°, %", better="higher", digits=1)
            for angle in ANGLES
        ),
    ),
}


def measures_of(target: Domain) -> tuple[Measure, ...]:
    """The measures of images of a domain, those in [-1, 1] first."""
    return (*_SCALED, *_OF_KIND[target.kind])


def measure_view(image: Tensor, truth: Tensor, target: Domain, counted: Tensor, measured: Tensor) -> dict[str, float]:
    """All measures of one view by name, before any root; NaN where no pixel can be compared.

    Args:
        image, truth: `3 H W` in [-1, 1].
        counted: `H W` bool, the pixels of the measures in [-1, 1].
        measured: `H W` bool, those of the others.
    """
    image, truth = image.double(), truth.double()
    difference = (image - truth)[:, counted]
    found = {"mae": _mean(difference.abs()), "rmse": _mean(difference**2)}
    return found | _OF_VALUES[target.kind](target.decode(image), target.decode(truth), measured)


def depth_measures(metres: Tensor, truth: Tensor, measured: Tensor) -> dict[str, float]:
    """AbsRel, squared error in metres² and the percentage within a factor of 1.25, of `H W` metres."""
    ours, theirs = metres[measured].clamp(min=1e-6), truth[measured].clamp(min=1e-6)
    factor = torch.maximum(ours / theirs, theirs / ours)
    return {
        "abs_rel": _mean((ours - theirs).abs() / theirs),
        "rmse_m": _mean((ours - theirs) ** 2),
        "delta_1": _share(factor < DELTA),
    }


def normal_measures(normals: Tensor, truth: Tensor, measured: Tensor) -> dict[str, float]:
    """Mean and median angle in degrees, and the percentages within 11.25, 22.5 and 30, of `3 H W` unit vectors."""
    ours, theirs = normals[:, measured], truth[:, measured]
    # more exact than the arc cosine where they nearly agree
    angle = 2 * torch.rad2deg(torch.atan2((ours - theirs).norm(dim=0), (ours + theirs).norm(dim=0)))
    found = {"mean_angle": _mean(angle), "median_angle": float(np.median(angle)) if angle.numel() else float("nan")}
    return found | {f"within_{limit:g}": _share(angle < limit) for limit in ANGLES}


def color_measures(rgb: Tensor, truth: Tensor, measured: Tensor) -> dict[str, float]:
    """PSNR in dB and SSIM of `3 H W` intensities, 0…255."""
    error = _mean((rgb - truth)[:, measured] ** 2)
    with np.errstate(divide="ignore"):
        psnr = float(10 * np.log10(PEAK**2 / np.float64(error)))
    return {"psnr": psnr, "ssim": structural_similarity(rgb, truth)}


def structural_similarity(image: Tensor, truth: Tensor) -> float:
    """SSIM of `C H W` images of 0…255: the mean over channels and places of Gaussian windows of 11 pixels.

    Windows that reach over the border are left out; NaN if none is left.
    """
    if min(image.shape[-2:]) < _SSIM_WINDOW:
        return float("nan")
    offset = torch.arange(_SSIM_WINDOW, dtype=image.dtype) - _SSIM_WINDOW // 2
    weights = torch.exp(-(offset**2) / (2 * _SSIM_DEVIATION**2))
    weights = weights / weights.sum()

    def local_mean(values: Tensor) -> Tensor:
        down = F.conv2d(values[:, None], weights[None, None, :, None])
        return F.conv2d(down, weights[None, None, None, :])

    mean, other = local_mean(image), local_mean(truth)
    variance, other_variance = local_mean(image**2) - mean**2, local_mean(truth**2) - other**2
    covariance = local_mean(image * truth) - mean * other
    similar = (2 * mean * other + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return _mean(similar / ((mean**2 + other**2 + _SSIM_C1) * (variance + other_variance + _SSIM_C2)))


def _no_measures(*_: Tensor) -> dict[str, float]:
    return {}


_OF_VALUES: Mapping[str, Callable[[Tensor, Tensor, Tensor], dict[str, float]]] = {
    "gray": _no_measures,
    "color": color_measures,
    "depth": depth_measures,
    "normal": normal_measures,
}


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else float("nan")


def _share(holds: Tensor) -> float:
    """In percent."""
    return _mean(100.0 * holds.double())

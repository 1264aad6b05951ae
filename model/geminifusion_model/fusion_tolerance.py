"""How far from its specification a correct kernel of the pixel-wise fusion may end up, whatever runs it.

The bounds follow from the formats alone: sums and weights in float32, the result rounded once to the tensors' type.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geminifusion_model.fusion_op import pixelwise_fusion_reference

_EPS32 = 2.0**-23


def exact_fusion(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """The specification on these very values, in float64: `… C`."""
    return pixelwise_fusion_reference(q.double(), k_diff.double(), v_self.double(), v_cross.double(), num_heads)


def fusion_tolerance(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """The largest error of each element, `… C` float64, for tensors of this type and these values.

    A sum of n float32 products is off by n eps times the sum of magnitudes; the sigmoid flattens that by 4, and its own
    instructions (exponential, reciprocal, scale) lose a few eps more. The mixture is three roundings.
    """
    kept = torch.finfo(q.dtype)
    q, k_diff, v_self, v_cross = (tensor.double() for tensor in (q, k_diff, v_self, v_cross))
    head_dim = q.shape[-1] // num_heads
    heads = (*q.shape[:-1], num_heads, head_dim)
    magnitude = (q * k_diff).abs().reshape(heads).sum(-1, keepdim=True)
    weight_error = _EPS32 * (0.25 * (head_dim + 4) * magnitude / math.sqrt(head_dim) + 8)
    arithmetic = (weight_error * (v_self - v_cross).abs().reshape(heads)).reshape(q.shape)
    arithmetic = arithmetic + 3 * _EPS32 * (v_self.abs() + v_cross.abs())
    truth = pixelwise_fusion_reference(q, k_diff, v_self, v_cross, num_heads)
    return arithmetic + kept.eps / 2 * truth.abs() + kept.smallest_normal * kept.eps / 2


def worst_fusion_error(
    mixed: Tensor, q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int
) -> float:
    """Largest error of a kernel's result in units of what is allowed; above 1 is wrong.

    Infinite where the result is NaN or infinite and the specification is not, or the other way round.
    """
    truth = exact_fusion(q, k_diff, v_self, v_cross, num_heads)
    found = mixed.double()
    finite = truth.isfinite()
    same = torch.where(truth.isnan(), found.isnan(), found == truth)
    if not bool(torch.where(finite, found.isfinite(), same).all()):
        return math.inf
    if not bool(finite.any()):
        return 0.0
    allowed = fusion_tolerance(q, k_diff, v_self, v_cross, num_heads)
    return float(((found - truth).abs()[finite] / allowed[finite]).max())

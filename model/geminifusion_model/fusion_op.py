"""The pixel-wise fusion op: its specification, and the opaque torch op that export turns into one graph node.

Axes: B batch, N pixels, C channels, G heads. Rows may be given as `R C` (R = B·N) or as `B N C`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# q, k_diff, v_self, v_cross and the number of heads to the mixed values: what computes the op.
FusionFunction = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


def pixelwise_fusion_reference(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """Mix, per pixel and head, a pixel's own value with the value of the same pixel in the other modality.

    A softmax over the two keys (self, cross) is the sigmoid of the difference of their logits, so the keys are needed
    only as `k_diff = k_self - k_cross` (GeminiFusion, arXiv:2406.01210, eq. 6, attention over two candidates):

        w     = sigmoid(q · k_diff / sqrt(C / G))      per head
        mixed = v_cross + w · (v_self - v_cross)

    This slow, obvious function is the specification every kernel and plugin is compared with.

    Args:
        q, k_diff, v_self, v_cross: the same shape `… C` and dtype, C divisible by `num_heads`.
        num_heads: G.

    Returns:
        `… C`, in the dtype of the inputs.
    """
    shape = q.shape
    heads = (*shape[:-1], num_heads, shape[-1] // num_heads)
    weight = pixelwise_self_weight(q, k_diff, num_heads).unsqueeze(-1)
    own, other = v_self.reshape(heads), v_cross.reshape(heads)
    return (other + weight * (own - other)).reshape(shape)


def pixelwise_self_weight(q: Tensor, k_diff: Tensor, num_heads: int) -> Tensor:
    """The share 0…1 each pixel and head gives to its own modality: `… C` twice to `… G`."""
    head_dim = q.shape[-1] // num_heads
    heads = (*q.shape[:-1], num_heads, head_dim)
    logits = (q.reshape(heads) * k_diff.reshape(heads)).sum(-1)
    return torch.sigmoid(logits * (1.0 / math.sqrt(head_dim)))


@torch.library.custom_op("geminifusion::pixelwise_fusion", mutates_args=())
def pixelwise_fusion(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """`pixelwise_fusion_reference` as one opaque op, for inference and export (it has no gradient)."""
    return pixelwise_fusion_reference(q, k_diff, v_self, v_cross, num_heads)


@pixelwise_fusion.register_fake
def _(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    return torch.empty_like(q)

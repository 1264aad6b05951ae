"""The decoder, folded.

Axes: B batch, C_i channels of stage i, O outputs of a matrix, K classes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.decoder import AllMLPDecoder
from geminifusion_model.inference_form.affine import Affine


class FoldedDecoder(nn.Module):
    """The decoder with BatchNorm and ensemble shares folded, and one classification for all streams."""

    def __init__(self, decoder: AllMLPDecoder, shares: Tensor) -> None:
        super().__init__()
        norm = decoder.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        stages = decoder.stage_weights()
        shift = norm.bias.detach() - norm.running_mean * scale + scale * torch.stack([b for _, b in stages]).sum(0)
        self.streams = nn.ModuleList()
        for share in shares.detach():
            # the whole shift rides on the finest stage, which is not upsampled
            biases = [share * shift] + [torch.zeros_like(shift)] * (len(stages) - 1)
            self.streams.append(
                nn.ModuleList(
                    Affine(share * scale[:, None] * weight, bias)
                    for (weight, _), bias in zip(stages, biases, strict=True)
                )
            )
        bias = decoder.classify.bias
        assert bias is not None
        self.classify = Affine(decoder.classify.weight.flatten(1), bias)

    def forward(self, pyramids: list[list[Tensor]]) -> Tensor:
        """One pyramid per stream (maps `B C_i H_i W_i`) to logits `B K H_1 W_1`."""
        total: Tensor | None = None
        for layers, pyramid in zip(self.streams, pyramids, strict=True):
            size = pyramid[0].shape[-2:]
            per_stage = cast(nn.ModuleList, layers)
            finest, *coarser = (_per_pixel(layer, feature) for layer, feature in zip(per_stage, pyramid, strict=True))
            fused = finest
            for scale in coarser:
                fused = fused + F.interpolate(scale, size=size, mode="bilinear", align_corners=False)
            total = F.relu(fused) if total is None else total + F.relu(fused)
        assert total is not None
        return _per_pixel(self.classify, total)


def _per_pixel(layer: nn.Module, feature: Tensor) -> Tensor:
    """A matrix on the channels of `B C H W`: as a product over channels last it is one GEMM, and what comes out is laid
    out as ONNX Runtime resizes fastest.
    """
    channels_last: Tensor = layer(feature.permute(0, 2, 3, 1))
    return channels_last.permute(0, 3, 1, 2)

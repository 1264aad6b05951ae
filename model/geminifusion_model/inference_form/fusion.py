"""The pixel-wise fusion, folded.

Axes: R rows (batch times pixels), C channels, G fusion heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.fusion_op import FusionFunction, pixelwise_fusion, pixelwise_self_weight
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.affine import Affine


class FoldedFusion(nn.Module):
    """`GeminiFusionBlock` up to, not including, its output projection.

    Attributes:
        mix_values: what computes the op, given columns of a wider matrix; `fusion_kernels.choice` may set a faster one.
    """

    def __init__(self, fusion: GeminiFusionBlock) -> None:
        super().__init__()
        self.channels, self.num_heads = fusion.channels, fusion.num_heads
        self.mix_values: FusionFunction = opaque_fusion
        query, key, value = fusion.in_proj_weight.detach().split(fusion.channels, dim=1)
        query_bias, _, value_bias = fusion.in_proj_bias.detach().split(fusion.channels, dim=1)
        zero = torch.zeros_like(query_bias[0])
        noise_key = noise_value = torch.zeros_like(value_bias)
        if fusion.key_noise is not None and fusion.value_noise is not None:
            noise_key = torch.einsum("soc,sc->so", key, fusion.key_noise.detach())
            noise_value = torch.einsum("soc,sc->so", value, fusion.value_noise.detach())
        relation_weights, relation_biases = [], []
        self.relation: Affine | None = None
        if fusion.relation is not None:
            self.relation = Affine(fusion.relation.fc2.weight, fusion.relation.fc2.bias)
            relation_weights = list(fusion.relation.fc1.weight.detach().chunk(2, dim=1))
            relation_biases = [fusion.relation.fc1.bias.detach(), zero]
        self.inner = nn.ModuleList(
            Affine(
                torch.cat([query[i], value[i], value[1 - i], *relation_weights]),
                torch.cat([query_bias[i], value_bias[i] + noise_value[i], value_bias[1 - i], *relation_biases]),
            )
            for i in range(2)
        )
        self.key = nn.ModuleList(Affine(key[i], noise_key[i]) for i in range(2))

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Per stream `R C` to mixed values `R C`, and the RGB stream's weight on its own values `R G`."""
        parts = [inner(stream).split(self.channels, dim=-1) for inner, stream in zip(self.inner, x, strict=True)]
        mixed = []
        own_weight: Tensor | None = None
        for i in range(2):
            query, value_self = parts[i][:2]
            value_cross = parts[1 - i][2]
            if self.relation is None:
                distinct = x[i] - x[1 - i]
            else:
                from_own, from_other = parts[i][3], parts[1 - i][4]
                distinct = x[i] * (1.0 - self.relation(F.gelu(from_own + from_other)).softmax(-1))
            k_diff = self.key[i](distinct)
            if own_weight is None:
                own_weight = pixelwise_self_weight(query, k_diff, self.num_heads)
            mixed.append(self.mix_values(query, k_diff, value_self, value_cross, self.num_heads))
        assert own_weight is not None
        return mixed, own_weight


def opaque_fusion(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """The op that export turns into one node, whose tensors are dense."""
    return pixelwise_fusion(q.contiguous(), k_diff, v_self.contiguous(), v_cross.contiguous(), num_heads)

"""The inference form: exact algebra on trained weights that does less work for the same logits.

What is folded, per block:
- the value noise and all biases into constants; key noise times key matrix into one vector;
- query, own value, value for the other direction and both halves of the relation MLP's first layer into one GEMM;
- the fusion's output projection into the attention's: `P(x + Wo·mixed)` is `P·x + (P·Wo)·mixed`.
In the decoder: each stage's linear map, its part of the fuse convolution, the BatchNorm and the stream's share in the
ensemble (positive, so it passes the ReLU) into one 1x1 convolution, and one classification for both streams.

Streams are separate tensors here, not one batch: every LayerNorm keeps its own scale without a broadcast pass.

Axes: B batch, N tokens, R = B·N rows, C channels, G fusion heads, E decoder channels, K classes.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.decoder import AllMLPDecoder
from geminifusion_model.encoders.mit import Block, FusedAttention, Stage
from geminifusion_model.fusion_op import pixelwise_fusion, pixelwise_self_weight
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.network import GeminiFusion
from geminifusion_model.streams import StreamLayerNorm


class InferenceOutput(NamedTuple):
    """Ensemble logits `B K H/4 W/4`, and the gate `B H/4 W/4`.

    The gate is the share 0…1 of attention the RGB stream gives to the other modality: the mean over heads in the last
    block of each stage, bilinearly upsampled, averaged over the stages. 0 without a fusion.
    """

    logits: Tensor
    gate: Tensor


class Affine(nn.Module):
    """`x @ weight.T + bias`, weights frozen.

    Always run on a matrix: exporters turn that into one GEMM with its bias, and a stack of matrices into two passes.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """`… C` to `… O`."""
        return F.linear(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


def split_norm(norm: StreamLayerNorm) -> nn.ModuleList:
    """One ordinary LayerNorm per stream."""
    layers = nn.ModuleList()
    for weight, bias in zip(norm.weight, norm.bias, strict=True):
        layer = nn.LayerNorm(weight.shape[0], eps=norm.eps)
        layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        layers.append(layer)
    return layers


class FoldedFusion(nn.Module):
    """`GeminiFusionBlock` up to, not including, its output projection."""

    def __init__(self, fusion: GeminiFusionBlock) -> None:
        super().__init__()
        self.channels, self.num_heads = fusion.channels, fusion.num_heads
        query, key, value = fusion.in_proj_weight.detach().split(fusion.channels, dim=1)
        query_bias, _, value_bias = fusion.in_proj_bias.detach().split(fusion.channels, dim=1)
        relation = fusion.relation
        from_own, from_other = relation.fc1.weight.detach().chunk(2, dim=1)
        noise_value = torch.einsum("soc,sc->so", value, fusion.value_noise.detach())
        noise_key = torch.einsum("soc,sc->so", key, fusion.key_noise.detach())
        zero = torch.zeros_like(relation.fc1.bias)
        self.inner = nn.ModuleList(
            Affine(
                torch.cat([query[i], value[i], value[1 - i], from_own, from_other]),
                torch.cat(
                    [
                        query_bias[i],
                        value_bias[i] + noise_value[i],
                        value_bias[1 - i],
                        relation.fc1.bias.detach(),
                        zero,
                    ]
                ),
            )
            for i in range(2)
        )
        self.relation = Affine(relation.fc2.weight, relation.fc2.bias)
        self.key = nn.ModuleList(Affine(key[i], noise_key[i]) for i in range(2))

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Per stream `R C` to mixed values `R C`, and the RGB stream's weight on its own values `R G`."""
        parts = [inner(stream).split(self.channels, dim=-1) for inner, stream in zip(self.inner, x, strict=True)]
        mixed = []
        own_weight: Tensor | None = None
        for i in range(2):
            query, value_self, _, from_own, _ = parts[i]
            _, _, value_cross, _, from_other = parts[1 - i]
            relation = self.relation(F.gelu(from_own + from_other)).softmax(-1)
            k_diff = self.key[i](x[i] * (1.0 - relation))
            if own_weight is None:
                own_weight = pixelwise_self_weight(query, k_diff, self.num_heads)
            mixed.append(
                pixelwise_fusion(
                    query.contiguous(),
                    k_diff,
                    value_self.contiguous(),
                    value_cross.contiguous(),
                    self.num_heads,
                )
            )
        assert own_weight is not None
        return mixed, own_weight


class FoldedAttention(nn.Module):
    """`FusedAttention` with its fusion folded in."""

    def __init__(self, attention: FusedAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.query = Affine(attention.query.weight, attention.query.bias)
        self.key_value = Affine(attention.key_value.weight, attention.key_value.bias)
        self.reduce = attention.reduce.conv if attention.reduce is not None else None
        self.reduce_norm = split_norm(attention.reduce.norm) if attention.reduce is not None else None
        fusion, output = attention.fusion, attention.output
        self.fusion: FoldedFusion | None = None
        if isinstance(fusion, GeminiFusionBlock):
            self.fusion = FoldedFusion(fusion)
            through = torch.einsum("oc,scd->sod", output.weight.detach(), fusion.out_proj_weight.detach())
            bias = output.bias.detach() + fusion.out_proj_bias.detach() @ output.weight.detach().T
            self.from_mixed = nn.ParameterList(nn.Parameter(w.T.contiguous(), requires_grad=False) for w in through)
            self.from_context = nn.ModuleList(Affine(output.weight, bias[i]) for i in range(2))
        else:
            self.from_context = nn.ModuleList(Affine(output.weight, output.bias) for _ in range(2))

    def context(self, x: Tensor, stream: int, height: int, width: int) -> Tensor:
        """`B N C` to `B N C`."""
        source = x
        if self.reduce is not None and self.reduce_norm is not None:
            feature = x.unflatten(1, (height, width)).permute(0, 3, 1, 2)
            source = self.reduce_norm[stream](self.reduce(feature).flatten(2).transpose(1, 2))
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.key_value(source).chunk(2, dim=-1)
        )
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def forward(self, x: list[Tensor], height: int, width: int) -> tuple[list[Tensor], Tensor | None]:
        """Per stream `B N C` to `B N C`, and the RGB stream's weight on itself `R G` if there is a fusion."""
        contexts = [self.context(stream, i, height, width) for i, stream in enumerate(x)]
        rows = [context.flatten(0, 1) for context in contexts]
        direct = [layer(row) for layer, row in zip(self.from_context, rows, strict=True)]
        own_weight: Tensor | None = None
        if self.fusion is not None:
            mixed, own_weight = self.fusion(rows)
            direct = [torch.addmm(d, m, w) for d, m, w in zip(direct, mixed, self.from_mixed, strict=True)]
        return [d.view_as(context) for d, context in zip(direct, contexts, strict=True)], own_weight


class FoldedBlock(nn.Module):
    """One block of both streams."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = split_norm(block.norm1), split_norm(block.norm2)
        self.attention = FoldedAttention(block.attention)
        self.fc1 = Affine(block.mlp.fc1.weight, block.mlp.fc1.bias)
        self.depthwise = block.mlp.depthwise
        self.fc2 = Affine(block.mlp.fc2.weight, block.mlp.fc2.bias)

    def _feed_forward(self, x: Tensor, height: int, width: int) -> Tensor:
        hidden = self.fc1(x).unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return self.fc2(F.gelu(self.depthwise(hidden)).flatten(2).transpose(1, 2))

    def forward(self, x: list[Tensor], height: int, width: int) -> tuple[list[Tensor], Tensor | None]:
        """Per stream `B N C` to `B N C`."""
        normed = [norm(stream) for norm, stream in zip(self.norm1, x, strict=True)]
        attended, own_weight = self.attention(normed, height, width)
        x = [stream + branch for stream, branch in zip(x, attended, strict=True)]
        return [
            stream + self._feed_forward(norm(stream), height, width) for norm, stream in zip(self.norm2, x, strict=True)
        ], own_weight


class FoldedStage(nn.Module):
    """One stage of both streams."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.conv = stage.patch_embed.conv
        self.embed_norm, self.norm = split_norm(stage.patch_embed.norm), split_norm(stage.norm)
        self.blocks = nn.ModuleList(FoldedBlock(cast(Block, block)) for block in stage.blocks)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Per stream `B C' H' W'` to `B C H W`; and the last block's RGB weight on itself, `B H W`."""
        features = [self.conv(image) for image in x]
        height, width = features[0].shape[-2:]
        tokens = [norm(f.flatten(2).transpose(1, 2)) for norm, f in zip(self.embed_norm, features, strict=True)]
        own_weight: Tensor | None = None
        for block in self.blocks:
            tokens, own_weight = block(tokens, height, width)
        maps = [
            norm(t).unflatten(1, (height, width)).permute(0, 3, 1, 2) for norm, t in zip(self.norm, tokens, strict=True)
        ]
        if own_weight is not None:
            own_weight = own_weight.mean(-1).view(-1, height, width)
        return maps, own_weight


class FoldedDecoder(nn.Module):
    """The decoder with BatchNorm and ensemble shares folded, and one classification for both streams."""

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
            biases = [share * shift] + [None] * (len(stages) - 1)
            self.streams.append(
                nn.ModuleList(
                    _pointwise(share * scale[:, None] * weight, bias)
                    for (weight, _), bias in zip(stages, biases, strict=True)
                )
            )
        self.classify = decoder.classify

    def forward(self, pyramids: list[list[Tensor]]) -> Tensor:
        """One pyramid per stream (maps `B C_i H_i W_i`) to logits `B K H_1 W_1`."""
        total: Tensor | None = None
        for layers, pyramid in zip(self.streams, pyramids, strict=True):
            size = pyramid[0].shape[-2:]
            per_stage = cast(nn.ModuleList, layers)
            finest, *coarser = (layer(feature) for layer, feature in zip(per_stage, pyramid, strict=True))
            fused = finest
            for scale in coarser:
                fused = fused + F.interpolate(scale, size=size, mode="bilinear", align_corners=False)
            total = F.relu(fused) if total is None else total + F.relu(fused)
        assert total is not None
        return self.classify(total)


def _pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A 1x1 convolution with this `O C` matrix."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach()[:, :, None, None])
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    return layer


class InferenceForm(nn.Module):
    """A trained two-stream network, folded; equal to it within float rounding, without dropout or training outputs.

    The network given is copied, not changed.
    """

    def __init__(self, net: GeminiFusion) -> None:
        super().__init__()
        net = copy.deepcopy(net)
        self.config = net.config
        self.stages = nn.ModuleList(FoldedStage(cast(Stage, stage)) for stage in net.encoder.stages)
        self.decoder = FoldedDecoder(net.decoder, net.ensemble_logits.softmax(0))
        self.requires_grad_(False)
        self.eval()

    def forward(self, *modalities: Tensor) -> InferenceOutput:
        """Normalised `B 3 H W` per modality, as for `GeminiFusion`, to logits and gate."""
        x = list(modalities)
        pyramids: list[list[Tensor]] = [[] for _ in x]
        gates = []
        for stage in self.stages:
            x, own_weight = stage(x)
            for pyramid, feature in zip(pyramids, x, strict=True):
                pyramid.append(feature)
            if own_weight is not None:
                gates.append(1.0 - own_weight)
        logits = self.decoder(pyramids)
        size = logits.shape[-2:]
        if not gates:
            return InferenceOutput(logits, torch.zeros_like(logits[:, 0]))
        upsampled = [
            F.interpolate(gate.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)
            for gate in gates
        ]
        return InferenceOutput(logits, torch.stack(upsampled).mean(0))

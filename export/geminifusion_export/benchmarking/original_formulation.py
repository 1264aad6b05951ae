"""The network as the original computes it, to measure ours against: one call per stream, one loop pass per sample.

Re-created from the published description, not from the original's source: every shared layer is called once for each
stream, the fusion loops over the samples of a batch and runs two `nn.MultiheadAttention`s with pixels as their batch,
and the decoder runs once per stream over the concatenation of all upsampled stages. Same weights, same logits. A Swin's
windows are cut by our own index lists; all else is per stream and per sample there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model import GeminiFusion
from geminifusion_model.encoders.mit import Block, FusedAttention, MixTransformer, Stage
from geminifusion_model.encoders.swin import Block as SwinBlock
from geminifusion_model.encoders.swin import Stage as SwinStage
from geminifusion_model.encoders.swin import SwinTransformer, pad_patches
from geminifusion_model.encoders.windows import window_plan
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.streams import StreamLayerNorm


def normalize(norm: StreamLayerNorm, x: list[Tensor]) -> list[Tensor]:
    """Each stream's own LayerNorm."""
    return [F.layer_norm(t, t.shape[-1:], norm.weight[i], norm.bias[i], norm.eps) for i, t in enumerate(x)]


class PerSampleFusion(nn.Module):
    """The fusion with two `MultiheadAttention`s and a loop over the batch."""

    def __init__(self, fusion: GeminiFusionBlock) -> None:
        super().__init__()
        self.source = fusion
        attentions = [nn.MultiheadAttention(fusion.channels, fusion.num_heads) for _ in range(2)]
        with torch.no_grad():
            for i, attention in enumerate(attentions):
                attention.in_proj_weight.copy_(fusion.in_proj_weight[i])
                attention.in_proj_bias.copy_(fusion.in_proj_bias[i])
                attention.out_proj.weight.copy_(fusion.out_proj_weight[i])
                attention.out_proj.bias.copy_(fusion.out_proj_bias[i])
        self.attentions = nn.ModuleList(attentions)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Two streams `B N C`."""
        fusion = self.source
        assert fusion.relation is not None
        assert fusion.key_noise is not None
        assert fusion.value_noise is not None
        fused: list[list[Tensor]] = [[], []]
        for sample in range(x[0].shape[0]):
            for i in range(2):
                own, other = x[i][sample : sample + 1], x[1 - i][sample : sample + 1]
                hidden = F.gelu(fusion.relation.fc1(torch.cat([own, other], dim=-1)))
                relation = fusion.relation.fc2(hidden).softmax(-1)
                keys = torch.cat([own + fusion.key_noise[i], own * relation])
                values = torch.cat([own + fusion.value_noise[i], other])
                fused[i].append(own + self.attentions[i](own, keys, values)[0])
        return [torch.cat(samples) for samples in fused]


class OriginalFormulation(nn.Module):
    """A network of two modalities with the weights of the one it is built from, fused by GeminiFusion or not."""

    def __init__(self, net: GeminiFusion) -> None:
        super().__init__()
        self.net = net
        modules = list(net.encoder.modules())
        fused = [PerSampleFusion(module) for module in modules if isinstance(module, GeminiFusionBlock)]
        self.fusions = nn.ModuleList(fused or [nn.Identity() for m in modules if isinstance(m, Block | SwinBlock)])

    def forward(self, *images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits of both streams and of the ensemble."""
        encoder, x = self.net.encoder, list(images)
        levels = self._mit(encoder, x) if isinstance(encoder, MixTransformer) else self._swin(encoder, x)
        pyramids = [list(pyramid) for pyramid in zip(*levels, strict=True)]
        logits = [self._decode(pyramid) for pyramid in pyramids]
        shares = self.net.ensemble_logits.softmax(0)
        return logits, shares[0] * logits[0].detach() + shares[1] * logits[1].detach()

    def _mit(self, encoder: MixTransformer, x: list[Tensor]) -> list[list[Tensor]]:
        """The maps of each stage, one per stream."""
        levels = []
        fusions = iter(self.fusions)
        for stage in encoder.stages:
            x = self._stage(cast(Stage, stage), x, fusions)
            levels.append(x)
        return levels

    def _swin(self, encoder: SwinTransformer, x: list[Tensor]) -> list[list[Tensor]]:
        """The maps of each stage, one per stream."""
        levels = []
        fusions = iter(self.fusions)
        maps = [encoder.patch_embed.conv(pad_patches(t)) for t in x]
        height, width = maps[0].shape[-2:]
        tokens = normalize(encoder.patch_embed.norm, [m.flatten(2).transpose(1, 2) for m in maps])
        for each in encoder.stages:
            stage = cast(SwinStage, each)
            plans = [window_plan(height, width, stage.window, shifted, tokens[0]) for shifted in (False, True)]
            for entry in stage.blocks:
                block = cast(SwinBlock, entry)
                attended = [block.attention(block.norm1(t), plans[block.shifted]) for t in tokens]
                fused = zip(tokens, next(fusions)(attended), strict=True)
                tokens = [t + block.drop_path(f[None])[0] for t, f in fused]
                tokens = [t + block.drop_path(block.mlp(block.norm2(t))[None])[0] for t in tokens]
            levels.append([_as_map(t, height, width) for t in normalize(stage.norm, tokens)])
            if stage.merge is not None:
                merged = [stage.merge(t, height, width) for t in tokens]
                tokens, (_, height, width) = [t for t, _, _ in merged], merged[0]
        return levels

    def _stage(self, stage: Stage, x: list[Tensor], fusions: Iterator[nn.Module]) -> list[Tensor]:
        maps = [stage.patch_embed.conv(t) for t in x]
        height, width = maps[0].shape[-2:]
        tokens = normalize(stage.patch_embed.norm, [m.flatten(2).transpose(1, 2) for m in maps])
        for block in stage.blocks:
            tokens = self._block(cast(Block, block), tokens, height, width, next(fusions))
        return [_as_map(t, height, width) for t in normalize(stage.norm, tokens)]

    def _block(self, block: Block, x: list[Tensor], height: int, width: int, fusion: nn.Module) -> list[Tensor]:
        contexts = self._contexts(block.attention, normalize(block.norm1, x), height, width)
        x = [t + block.drop_path(block.attention.output(c)[None])[0] for t, c in zip(x, fusion(contexts), strict=True)]
        out = []
        for t, n in zip(x, normalize(block.norm2, x), strict=True):
            hidden = block.mlp.fc1(n)
            hidden = hidden.transpose(1, 2).reshape(n.shape[0], -1, height, width)
            hidden = block.mlp.depthwise(hidden).flatten(2).transpose(1, 2)
            out.append(t + block.drop_path(block.mlp.fc2(F.gelu(hidden))[None])[0])
        return out

    def _contexts(self, attention: FusedAttention, x: list[Tensor], height: int, width: int) -> list[Tensor]:
        sources = x
        if attention.reduce is not None:
            maps = [t.transpose(1, 2).reshape(t.shape[0], -1, height, width) for t in x]
            reduced = [attention.reduce.conv(m).flatten(2).transpose(1, 2) for m in maps]
            sources = normalize(attention.reduce.norm, reduced)
        contexts = []
        for t, source in zip(x, sources, strict=True):
            batch, pixels, channels = t.shape
            query = attention.query(t).reshape(batch, pixels, attention.heads, -1).transpose(1, 2)
            key, value = (
                attention.key_value(source)
                .reshape(batch, -1, 2, attention.heads, query.shape[-1])
                .permute(2, 0, 3, 1, 4)
            )
            weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
            contexts.append((weights @ value).transpose(1, 2).reshape(batch, pixels, channels))
        return contexts

    def _decode(self, pyramid: list[Tensor]) -> Tensor:
        decoder = self.net.decoder
        size = pyramid[0].shape[-2:]
        scales = []
        for feature, project in zip(pyramid, decoder.project, strict=True):
            scale = project(feature.flatten(2).transpose(1, 2)).transpose(1, 2)
            scale = scale.reshape(feature.shape[0], -1, *feature.shape[-2:])
            scales.append(F.interpolate(scale, size=size, mode="bilinear", align_corners=False))
        fused = F.relu(decoder.norm(decoder.fuse(torch.cat(scales[::-1], dim=1))))
        return decoder.classify(decoder.dropout(fused))


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """`B N C` to a contiguous `B C H W`."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width).contiguous()

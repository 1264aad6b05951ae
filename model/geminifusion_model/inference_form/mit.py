"""The Mix Transformer, folded; the fusion's output projection goes into the attention's:
`P(x + Wo·mixed)` is `P·x + (P·Wo)·mixed`.

Axes: B batch, N tokens, R = B·N rows, C channels, G fusion heads, H W the stage's map.
"""

from __future__ import annotations

from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.encoders.mit import Block, FusedAttention, MixTransformer, Stage
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.affine import Affine, split_norm
from geminifusion_model.inference_form.fusion import FoldedFusion


class FoldedAttention(nn.Module):
    """`FusedAttention` with its fusion folded in."""

    def __init__(self, attention: FusedAttention, num_streams: int) -> None:
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
            self.from_context = nn.ModuleList(Affine(output.weight, bias[i]) for i in range(num_streams))
        else:
            self.from_context = nn.ModuleList(Affine(output.weight, output.bias) for _ in range(num_streams))
        # the other fusions have nothing to fold and run as they are
        self.exchange = fusion if self.fusion is None and not isinstance(fusion, nn.Identity) else None

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
        if self.exchange is not None:
            contexts = list(self.exchange(torch.stack(contexts)).unbind(0))
        rows = [context.flatten(0, 1) for context in contexts]
        direct = [layer(row) for layer, row in zip(self.from_context, rows, strict=True)]
        own_weight: Tensor | None = None
        if self.fusion is not None:
            mixed, own_weight = self.fusion(rows)
            direct = [torch.addmm(d, m, w) for d, m, w in zip(direct, mixed, self.from_mixed, strict=True)]
        return [d.view_as(context) for d, context in zip(direct, contexts, strict=True)], own_weight


class FoldedBlock(nn.Module):
    """One block of all streams."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = split_norm(block.norm1), split_norm(block.norm2)
        self.attention = FoldedAttention(block.attention, len(self.norm1))
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
    """One stage of all streams."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.conv = stage.patch_embed.conv
        self.embed_norm, self.norm = split_norm(stage.patch_embed.norm), split_norm(stage.norm)
        self.blocks = nn.ModuleList(FoldedBlock(cast(Block, block)) for block in stage.blocks)
        self.score_nets = stage.merge.score_nets if stage.merge is not None else None

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor | None, Tensor | None]:
        """Per modality `B C' H' W'` to one output `B C H W` per stream, the next stage's inputs per modality, the last
        block's RGB weight on itself `B H W` if there is a fusion, and the scores `B E H W` of what is merged, if any.
        """
        features = [self.conv(image) for image in x]
        height, width = features[0].shape[-2:]
        tokens = [norm(f.flatten(2).transpose(1, 2)) for norm, f in zip(self.embed_norm, features, strict=True)]
        extras: list[Tensor] = []
        scores: list[Tensor] = []
        if self.score_nets is not None:
            scores = [
                net(_to_map(extra, height, width)) for net, extra in zip(self.score_nets, tokens[1:], strict=True)
            ]
            extras = [
                extra * (1.0 + score.flatten(2).transpose(1, 2))
                for score, extra in zip(scores, tokens[1:], strict=True)
            ]
            tokens = [tokens[0], reduce(torch.maximum, extras)]
        own_weight: Tensor | None = None
        for block in self.blocks:
            tokens, own_weight = block(tokens, height, width)
        tokens = [norm(stream) for norm, stream in zip(self.norm, tokens, strict=True)]
        outputs = [_to_map(stream, height, width) for stream in tokens]
        if own_weight is not None:
            own_weight = own_weight.mean(-1).view(-1, height, width)
        if not extras:
            return outputs, outputs, own_weight, None
        following = [outputs[0], *(_to_map(extra + tokens[1], height, width) for extra in extras)]
        return outputs, following, own_weight, torch.cat(scores, dim=1)


def _to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """`B N C` to `B C H W`."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class FoldedMixTransformer(nn.Module):
    """`MixTransformer`, folded."""

    def __init__(self, encoder: MixTransformer) -> None:
        super().__init__()
        self.stages = nn.ModuleList(FoldedStage(cast(Stage, stage)) for stage in encoder.stages)

    def forward(self, x: list[Tensor]) -> tuple[list[list[Tensor]], list[Tensor], Tensor | None]:
        """Per modality `B 3 H W` to one pyramid per stream, per stage the RGB weight on itself `B H_i W_i`, and the
        first stage's scores of the modalities it merges.
        """
        levels: list[list[Tensor]] = []
        own_weights = []
        first_scores: Tensor | None = None
        for index, stage in enumerate(self.stages):
            outputs, x, own_weight, scores = stage(x)
            if index == 0:
                first_scores = scores
            levels.append(outputs)
            if own_weight is not None:
                own_weights.append(own_weight)
        return [list(pyramid) for pyramid in zip(*levels, strict=True)], own_weights, first_scores

"""The Swin Transformer, folded: position biases become one table per block, projections of the fusion one GEMM.

Axes: B batch, N tokens, R = B·N rows, C channels, G fusion heads, H W the stage's map.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.encoders.swin import (
    Block,
    PatchMerging,
    Stage,
    SwinTransformer,
    WindowAttention,
    attend,
    pad_patches,
)
from geminifusion_model.encoders.windows import WindowPlan, merge_neighbors, window_plan
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.affine import Affine, split_norm
from geminifusion_model.inference_form.fusion import FoldedFusion


class FoldedWindowAttention(nn.Module):
    """`WindowAttention` of one image batch."""

    bias: Tensor

    def __init__(self, attention: WindowAttention) -> None:
        super().__init__()
        self.window = attention.window
        self.qkv = Affine(attention.qkv.weight, attention.qkv.bias)
        self.output = Affine(attention.output.weight, attention.output.bias)
        self.register_buffer("bias", attention.bias().detach().contiguous())

    def forward(self, x: Tensor, plan: WindowPlan) -> Tensor:
        """`B N C` to `B N C`."""
        windows = self.qkv(plan.split(x, self.window))
        return self.output(plan.join(attend(windows, self.bias, plan.mask)))


class FoldedSwinFusion(nn.Module):
    """`GeminiFusionBlock` with its output projection."""

    def __init__(self, fusion: GeminiFusionBlock) -> None:
        super().__init__()
        self.mix = FoldedFusion(fusion)
        self.output = nn.ModuleList(
            Affine(weight, bias) for weight, bias in zip(fusion.out_proj_weight, fusion.out_proj_bias, strict=True)
        )

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Per stream `R C` to `R C`, and the RGB stream's weight on its own values `R G`."""
        mixed, own_weight = self.mix(x)
        return [own + layer(m) for own, layer, m in zip(x, self.output, mixed, strict=True)], own_weight


class FoldedBlock(nn.Module):
    """One block of all streams."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.shifted = block.shifted
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attention = FoldedWindowAttention(block.attention)
        fusion = block.fusion
        self.fusion = FoldedSwinFusion(fusion) if isinstance(fusion, GeminiFusionBlock) else None
        # the other fusions have nothing to fold and run as they are
        self.exchange = fusion if self.fusion is None and not isinstance(fusion, nn.Identity) else None
        self.fc1 = Affine(block.mlp.fc1.weight, block.mlp.fc1.bias)
        self.fc2 = Affine(block.mlp.fc2.weight, block.mlp.fc2.bias)

    def forward(self, x: list[Tensor], plan: WindowPlan) -> tuple[list[Tensor], Tensor | None]:
        """Per stream `B N C` to `B N C`, and the RGB stream's weight on itself `R G` if there is a fusion."""
        branches = [self.attention(self.norm1(stream), plan) for stream in x]
        own_weight: Tensor | None = None
        if self.exchange is not None:
            branches = list(self.exchange(torch.stack(branches)).unbind(0))
        if self.fusion is not None:
            fused, own_weight = self.fusion([branch.flatten(0, 1) for branch in branches])
            branches = [rows.view_as(branch) for rows, branch in zip(fused, branches, strict=True)]
        x = [stream + branch for stream, branch in zip(x, branches, strict=True)]
        return [stream + self.fc2(F.gelu(self.fc1(self.norm2(stream)))) for stream in x], own_weight


class FoldedMerging(nn.Module):
    """`PatchMerging`; the norm's scale and shift go into the reduction."""

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        norm, weight = merging.norm, merging.reduction.weight.detach()
        self.eps = norm.eps
        self.reduction = Affine(weight * norm.weight.detach(), weight @ norm.bias.detach())

    def forward(self, x: Tensor, height: int, width: int) -> tuple[Tensor, int, int]:
        """`B N C` to `B N/4 2C`, and the new height and width."""
        merged, height, width = merge_neighbors(x, height, width)
        return self.reduction(F.layer_norm(merged, merged.shape[-1:], eps=self.eps)), height, width


class FoldedStage(nn.Module):
    """One stage of all streams."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.window = stage.window
        self.blocks = nn.ModuleList(FoldedBlock(cast(Block, block)) for block in stage.blocks)
        self.norm = split_norm(stage.norm)
        self.merge = FoldedMerging(stage.merge) if stage.merge is not None else None

    def forward(
        self, x: list[Tensor], height: int, width: int
    ) -> tuple[list[Tensor], list[Tensor], int, int, Tensor | None]:
        """Per stream `B N C` to outputs `B C H W`, the next stage's tokens, height and width, and the last block's RGB
        weight on itself `B H W` if there is a fusion.
        """
        plans = [window_plan(height, width, self.window, shifted, x[0]) for shifted in (False, True)]
        own_weight: Tensor | None = None
        for block in cast(Iterable[FoldedBlock], self.blocks):
            x, own_weight = block(x, plans[block.shifted])
        outputs = [
            norm(stream).unflatten(1, (height, width)).permute(0, 3, 1, 2)
            for norm, stream in zip(self.norm, x, strict=True)
        ]
        if own_weight is not None:
            own_weight = own_weight.mean(-1).view(-1, height, width)
        if self.merge is not None:
            merged = [self.merge(stream, height, width) for stream in x]
            x = [tokens for tokens, _, _ in merged]
            _, height, width = merged[0]
        return outputs, x, height, width, own_weight


class FoldedSwinTransformer(nn.Module):
    """`SwinTransformer`, folded."""

    def __init__(self, encoder: SwinTransformer) -> None:
        super().__init__()
        self.conv = encoder.patch_embed.conv
        self.embed_norm = split_norm(encoder.patch_embed.norm)
        self.stages = nn.ModuleList(FoldedStage(cast(Stage, stage)) for stage in encoder.stages)

    def forward(self, x: list[Tensor]) -> tuple[list[list[Tensor]], list[Tensor], None]:
        """Per modality `B 3 H W` to one pyramid per stream, per stage the RGB weight on itself `B H_i W_i`, and None:
        there are no scores, because a Swin merges no modalities.
        """
        features = [self.conv(pad_patches(image)) for image in x]
        height, width = features[0].shape[-2:]
        x = [norm(f.flatten(2).transpose(1, 2)) for norm, f in zip(self.embed_norm, features, strict=True)]
        levels: list[list[Tensor]] = []
        own_weights = []
        for stage in self.stages:
            outputs, x, height, width, own_weight = stage(x, height, width)
            levels.append(outputs)
            if own_weight is not None:
                own_weights.append(own_weight)
        return [list(pyramid) for pyramid in zip(*levels, strict=True)], own_weights, None

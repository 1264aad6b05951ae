"""Swin Transformer (arXiv:2103.14030) with two streams that are fused in every block, or with one.

Departures from the Mix Transformer, all of them the original's: the fusion stands behind the attention's own output
projection; the LayerNorms within blocks and of the patch merging are shared by the streams (eps 1e-5); only the one
behind the patch embedding and those of the stages' outputs belong to a stream (eps 1e-6), and a stage hands its
un-normed tokens on. Sides that are not multiples of a patch are padded with zeros, where the original fails.

Axes: S streams (1 or 2), B batch, C channels, H W the stage's map, N = H·W tokens, G attention heads, D channels of a
head, L = window² tokens of a window, V windows of an image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.encoder_sizes import SwinSize
from geminifusion_model.encoders.windows import WindowPlan, merge_neighbors, relative_position_index, window_plan
from geminifusion_model.fusions.registry import build_fusion, init_fusions
from geminifusion_model.streams import StreamDropPath, StreamLayerNorm, map_to_tokens, tokens_to_map

PATCH = 4


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels."""

    def __init__(self, channels: int, num_streams: int) -> None:
        super().__init__()
        self.num_streams = num_streams
        self.conv = nn.Conv2d(3, channels, PATCH, PATCH)
        self.norm = StreamLayerNorm(num_streams, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        """`SB 3 H' W'` to tokens `S B N C` and the new height and width."""
        feature = self.conv(pad_patches(x))
        return self.norm(map_to_tokens(feature, self.num_streams)), feature.shape[2], feature.shape[3]


def pad_patches(x: Tensor) -> Tensor:
    """Zeros at the right and bottom, so that a last incomplete patch counts; a complete row of zeros never does."""
    return F.pad(x, (0, PATCH - 1, 0, PATCH - 1))


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for every relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)

    def bias(self) -> Tensor:
        """The bias of every pair of tokens of a window, `G L L`."""
        return self.position_bias[self.relative_position_index].permute(2, 0, 1)

    def forward(self, x: Tensor, plan: WindowPlan) -> Tensor:
        """`B N C` to `B N C`."""
        windows = self.qkv(plan.split(x, self.window))
        return self.output(plan.join(attend(windows, self.bias(), plan.mask)))


def attend(qkv: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Attention within each window.

    Args:
        qkv: `B V L 3C`.
        bias: `G L L`.
        mask: `V L L`, or none.

    Returns:
        `B V L C`.
    """
    num_windows = qkv.shape[1]
    query, key, value = qkv.unflatten(-1, (3, bias.shape[0], -1)).permute(3, 0, 1, 4, 2, 5).unbind()  # each B V G L D
    if mask is None:
        merged = [part.flatten(0, 1) for part in (query, key, value)]
        context = _biased_attention(merged, bias.unsqueeze(0)).unflatten(0, (-1, num_windows))
    else:
        # windows join the heads here, so that the windows' own masks broadcast over the images of the batch
        merged = [part.flatten(1, 2) for part in (query, key, value)]
        masked = (bias + mask.unsqueeze(1)).flatten(0, 1).unsqueeze(0)
        context = _biased_attention(merged, masked).unflatten(1, (num_windows, -1))
    return context.transpose(2, 3).flatten(3)


def _biased_attention(parts: list[Tensor], bias: Tensor) -> Tensor:
    """Query, key and value `X Y L D`, four axes because exporters know no more, with a bias `1 Y L L`."""
    query, key, value = parts
    return F.scaled_dot_product_attention(query, key, value, bias)


class FeedForward(nn.Module):
    """Two linear maps."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`… C` to `… C`."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm transformer block for all streams."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        shifted: bool,
        mlp_ratio: int,
        drop_path: float,
        fusion: nn.Module,
    ) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        self.fusion = fusion
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels, mlp_ratio * channels)
        self.drop_path = StreamDropPath(drop_path)

    def forward(self, x: Tensor, plan: WindowPlan) -> Tensor:
        """`S B N C` to `S B N C`."""
        attended = self.attention(self.norm1(x).flatten(0, 1), plan)
        fused = self.fusion(attended.view_as(x))
        x = x + self.drop_path(fused)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Four neighboring tokens become one of twice the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor, height: int, width: int) -> tuple[Tensor, int, int]:
        """`B N C` to `B N/4 2C`, and the new height and width; odd sides are padded with zeros."""
        merged, height, width = merge_neighbors(x, height, width)
        return self.reduction(self.norm(merged)), height, width


class Stage(nn.Module):
    """Blocks, the norm of what leaves the encoder, and the merging that leads to the next stage."""

    def __init__(self, blocks: list[Block], channels: int, window: int, num_streams: int, is_last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(blocks)
        self.norm = StreamLayerNorm(num_streams, channels)
        self.merge = None if is_last else PatchMerging(channels)

    def forward(self, tokens: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, int, int]:
        """Tokens `S B N C` to the output map `SB C H W`, and the next stage's tokens, height and width."""
        plans = [window_plan(height, width, self.window, shifted, tokens) for shifted in (False, True)]
        for block in cast(Iterable[Block], self.blocks):
            tokens = block(tokens, plans[block.shifted])
        output = tokens_to_map(self.norm(tokens), height, width)
        if self.merge is None:
            return output, tokens, height, width
        merged, height, width = self.merge(tokens.flatten(0, 1), height, width)
        return output, merged.unflatten(0, (tokens.shape[0], -1)), height, width


class SwinTransformer(nn.Module):
    """The encoder: images of one size to a pyramid at 1/4, 1/8, 1/16 and 1/32, sizes rounded up."""

    def __init__(
        self, size: SwinSize, fusion: str, num_fusion_heads: int, drop_path_rate: float, *, num_streams: int
    ) -> None:
        super().__init__()
        self.channels = size.channels
        self.window = size.window
        self.patch_embed = PatchEmbed(size.channels[0], num_streams)
        last_block = sum(size.depths) - 1
        drop_paths = iter(drop_path_rate * index / last_block for index in range(last_block + 1))
        stages = []
        for index, channels in enumerate(size.channels):
            blocks = [
                Block(
                    channels,
                    size.heads[index],
                    size.window,
                    block % 2 == 1,
                    size.mlp_ratio,
                    next(drop_paths),
                    build_fusion(fusion, channels, num_fusion_heads),
                )
                for block in range(size.depths[index])
            ]
            is_last = index == len(size.channels) - 1
            stages.append(Stage(blocks, channels, size.window, num_streams, is_last))
        self.stages = nn.ModuleList(stages)

    def init_weights(self) -> None:
        """Swin's start values (the patch convolution keeps torch's); the fusions add their own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.position_bias, std=0.02)
        init_fusions(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """`SB 3 H W` to four maps `SB C_i H_i W_i`."""
        tokens, height, width = self.patch_embed(x)
        pyramid = []
        for stage in cast(Iterable[Stage], self.stages):
            output, tokens, height, width = stage(tokens, height, width)
            pyramid.append(output)
        return pyramid

"""Mix Transformer (SegFormer, arXiv:2105.15203) with two streams that are fused in every block, or with one.

Four stages from 1/4 of the image's side on, or as many and from where on as its size says.

All convolutions and linear maps are shared by the streams, all LayerNorms belong to one stream.
Up to four modalities enter: each stage embeds all of them, merges those beyond RGB into one stream (see
`modality_merge`), and runs its blocks on that pair.

Axes: M modalities, S streams (1 or 2), B batch, C channels, H W the stage's map, N = H·W tokens, N' after spatial
reduction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.encoder_sizes import MiTSize
from geminifusion_model.encoders.modality_merge import ModalityMerge
from geminifusion_model.fusions.registry import build_fusion, init_fusions
from geminifusion_model.streams import StreamDropPath, StreamLayerNorm, map_to_tokens, tokens_to_map


class PatchEmbed(nn.Module):
    """Overlapping patches by a strided convolution."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, num_modalities: int, eps: float
    ) -> None:
        super().__init__()
        self.num_modalities = num_modalities
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2)
        self.norm = StreamLayerNorm(num_modalities, channels, eps)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        """`MB C' H' W'` to tokens `M B N C` and the new height and width."""
        feature = self.conv(x)
        return self.norm(map_to_tokens(feature, self.num_modalities)), feature.shape[2], feature.shape[3]


class Reduction(nn.Module):
    """Shorten the key-value sequence by a convolution whose kernel is its stride; the remainder is dropped."""

    def __init__(self, channels: int, factor: int, num_streams: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, factor, factor)
        self.norm = StreamLayerNorm(num_streams, channels, eps)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """`S B N C` to `S B N' C`."""
        return self.norm(map_to_tokens(self.conv(tokens_to_map(tokens, height, width)), tokens.shape[0]))


class FusedAttention(nn.Module):
    """Self-attention within each stream, fusion of the two contexts, then the output projection."""

    def __init__(
        self, channels: int, heads: int, reduction: int, fusion: nn.Module, num_streams: int, embed_eps: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.reduce = Reduction(channels, reduction, num_streams, embed_eps) if reduction > 1 else None
        self.fusion = fusion
        self.output = nn.Linear(channels, channels)

    def context(self, x: Tensor, height: int, width: int) -> Tensor:
        """Self-attention within each stream: `S B N C` to `S B N C`."""
        source = x if self.reduce is None else self.reduce(x, height, width)
        query = self.query(x).unflatten(-1, (self.heads, -1)).flatten(0, 1).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (self.heads, -1)).flatten(0, 1).transpose(1, 2)
            for part in self.key_value(source).chunk(2, dim=-1)
        )
        context = F.scaled_dot_product_attention(query, key, value)
        return context.transpose(1, 2).reshape(x.shape)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """`S B N C` to `S B N C`."""
        context = self.context(x, height, width)
        return self.output(self.fusion(context))


class MixFeedForward(nn.Module):
    """Feed-forward with a depth-wise 3x3 convolution that carries the position."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """`S B N C` to `S B N C`."""
        hidden = self.depthwise(tokens_to_map(self.fc1(x), height, width))
        return self.fc2(F.gelu(map_to_tokens(hidden, x.shape[0])))


class Block(nn.Module):
    """One pre-norm transformer block for all streams."""

    def __init__(
        self,
        channels: int,
        heads: int,
        reduction: int,
        mlp_ratio: int,
        drop_path: float,
        fusion: nn.Module,
        num_streams: int,
        eps: float,
        embed_eps: float,
    ) -> None:
        super().__init__()
        self.norm1 = StreamLayerNorm(num_streams, channels, eps)
        self.attention = FusedAttention(channels, heads, reduction, fusion, num_streams, embed_eps)
        self.norm2 = StreamLayerNorm(num_streams, channels, eps)
        self.mlp = MixFeedForward(channels, mlp_ratio * channels)
        self.drop_path = StreamDropPath(drop_path)

    def attend(self, x: Tensor, height: int, width: int) -> Tensor:
        """The attention branch, before it is added: `S B N C` to `S B N C`."""
        return self.attention(self.norm1(x), height, width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """`S B N C` to `S B N C`."""
        x = x + self.drop_path(self.attend(x, height, width))
        return x + self.drop_path(self.mlp(self.norm2(x), height, width))


class Stage(nn.Module):
    """Patch embedding, the merge of further modalities, blocks and the norm of what leaves."""

    def __init__(
        self,
        patch_embed: PatchEmbed,
        merge: ModalityMerge | None,
        blocks: list[Block],
        channels: int,
        num_streams: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.merge = merge
        self.blocks = nn.ModuleList(blocks)
        self.norm = StreamLayerNorm(num_streams, channels, eps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`MB C' H' W'` to the stage's output `SB C H W` and the next stage's input `MB C H W`."""
        tokens, height, width = self.patch_embed(x)
        extras: Tensor | None = None
        if self.merge is not None:
            tokens, extras = self.merge(tokens, height, width)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        tokens = self.norm(tokens)
        output = tokens_to_map(tokens, height, width)
        if extras is None:
            return output, output
        return output, tokens_to_map(torch.cat([tokens[:1], extras + tokens[1:]]), height, width)


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> Iterator[float]:
    """Stochastic depth of all blocks in order, from 0 at the first to `rate` at the last."""
    last_block = sum(depths) - 1
    return iter([rate * index / last_block for index in range(last_block + 1)])


def build_blocks(
    size: MiTSize,
    level: int,
    drop_paths: Iterator[float],
    fusion: str,
    num_fusion_heads: int,
    *,
    num_streams: int,
    eps: float,
    embed_eps: float,
    last_block: type[Block] = Block,
) -> list[Block]:
    """The blocks of one level, the last of which may be of another type; each takes its rate from `drop_paths`."""
    depth, channels = size.depths[level], size.channels[level]
    return [
        (last_block if index == depth - 1 else Block)(
            channels,
            size.heads[level],
            size.reductions[level],
            size.mlp_ratio,
            next(drop_paths),
            build_fusion(fusion, channels, num_fusion_heads),
            num_streams,
            eps,
            embed_eps,
        )
        for index in range(depth)
    ]


class MixTransformer(nn.Module):
    """The encoder: images of one size to a pyramid of all streams.

    Its levels are at 1/4, 1/8, 1/16 and 1/32 of the images' sides, or as `size` says.

    Args:
        in_channels: of each modality's images.
        last_block: type of the last block of each stage.
    """

    def __init__(
        self,
        size: MiTSize,
        fusion: str,
        num_fusion_heads: int,
        drop_path_rate: float,
        *,
        num_modalities: int,
        num_streams: int,
        eps: float = 1e-6,
        embed_eps: float = 1e-6,
        in_channels: int = 3,
        last_block: type[Block] = Block,
    ) -> None:
        super().__init__()
        self.channels = size.channels
        drop_paths = drop_path_rates(drop_path_rate, size.depths)
        stages = []
        for index, channels in enumerate(size.channels):
            kernel, stride = size.first_patch if index == 0 else (3, 2)
            blocks = build_blocks(
                size,
                index,
                drop_paths,
                fusion,
                num_fusion_heads,
                num_streams=num_streams,
                eps=eps,
                embed_eps=embed_eps,
                last_block=last_block,
            )
            patch_embed = PatchEmbed(in_channels, channels, kernel, stride, num_modalities, embed_eps)
            merge = ModalityMerge(num_modalities - 1, channels) if num_modalities > num_streams else None
            stages.append(Stage(patch_embed, merge, blocks, channels, num_streams, eps))
            in_channels = channels
        self.stages = nn.ModuleList(stages)

    def init_weights(self) -> None:
        """SegFormer's start values; the fusions add their own."""
        init_mit_weights(self)
        for module in self.modules():
            if isinstance(module, ModalityMerge):
                module.init_weights()
        init_fusions(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """`MB C' H W` to one map `SB C_i H_i W_i` of each level."""
        pyramid = []
        for stage in self.stages:
            output, x = stage(x)
            pyramid.append(output)
        return pyramid


def init_mit_weights(net: nn.Module) -> None:
    """SegFormer's start values of all linear layers and convolutions in `net`."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
            assert module.bias is not None
            nn.init.zeros_(module.bias)

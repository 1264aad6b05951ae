"""The generator: one or two aligned images of a view to a third, by an encoder and a decoder of SegFormer's blocks.

The network of TokenFusion's image translation (arXiv:2204.08721), with GeminiFusion's module, or another fusion, where
its streams meet. All convolutions and linear maps are shared by the streams, all LayerNorms belong to one.

Axes: S streams, B batch, C channels, H W a level's map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.checkpoint import load_weights
from geminifusion_model.encoders.mit import Block, MixTransformer, build_blocks, drop_path_rates, init_mit_weights
from geminifusion_model.fusions.registry import fusion_penalty, init_fusions
from geminifusion_model.streams import StreamLayerNorm, map_to_tokens, tokens_to_map
from geminifusion_model.translation.checkpoint import read_translator
from geminifusion_model.translation.config import TOKEN_FUSION, TranslatorConfig
from geminifusion_model.translation.token_fusion import TokenFusionBlock, score_penalty
from geminifusion_model.translation.transforms import MULTIPLE

_EPS = 1e-6  # of every LayerNorm
_IMAGE_CHANNELS = 3
_OUTPUT_STD = 0.02  # pix2pix's (arXiv:1611.07004), of all its layers


class TranslationPrediction(NamedTuple):
    """Images in [-1, 1].

    `per_stream` holds one `B 3 H W` per input. `ensemble` is their weighted mean, detached from them, so its loss
    reaches only the weights; of one stream it is that stream's image.
    """

    per_stream: tuple[Tensor, ...]
    ensemble: Tensor


class Upsampling(nn.Module):
    """Twice the height and width: four channels of a pixel become its four successors (arXiv:1609.05158)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels // 4, channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """`SB C' H W` to `SB C 2H 2W`."""
        return self.conv(F.pixel_shuffle(feature, 2))


class DecoderLevel(nn.Module):
    """Upsampling, the encoder's map of the same size added, and blocks."""

    def __init__(self, in_channels: int, channels: int, blocks: list[Block], num_streams: int) -> None:
        super().__init__()
        self.num_streams = num_streams
        self.upsampling = Upsampling(in_channels, channels)
        self.blocks = nn.ModuleList(blocks)
        self.norm = StreamLayerNorm(num_streams, channels, _EPS)

    def forward(self, feature: Tensor, skip: Tensor) -> Tensor:
        """`SB C' H/2 W/2` and the encoder's `SB C H W` to `SB C H W`."""
        feature = self.upsampling(feature) + skip
        height, width = feature.shape[-2:]
        tokens = map_to_tokens(feature, self.num_streams)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return tokens_to_map(self.norm(tokens), height, width)


class Decoder(nn.Module):
    """From the encoder's pyramid back to images; its levels go from the second coarsest to the finest."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        sizes, fusion = config.sizes, config.fusion if config.where == "all" else "none"
        drop_paths = drop_path_rates(config.drop_path_rate, sizes.depths)
        self.levels = nn.ModuleList(
            DecoderLevel(
                sizes.channels[level + 1],
                sizes.channels[level],
                build_blocks(
                    sizes,
                    level,
                    drop_paths,
                    fusion,
                    config.num_fusion_heads,
                    num_streams=config.num_streams,
                    eps=_EPS,
                    embed_eps=_EPS,
                ),
                config.num_streams,
            )
            for level in reversed(range(len(sizes.channels) - 1))
        )
        self.upsampling = Upsampling(sizes.channels[0], sizes.channels[0])
        self.project = nn.Conv2d(sizes.channels[0], _IMAGE_CHANNELS, 1)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Maps `SB C_i H_i W_i`, the first of half the image's size, to images `SB 3 H W` in [-1, 1]."""
        *skips, feature = pyramid
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            feature = level(feature, skip)
        return self.project(self.upsampling(feature)).tanh()


class Generator(nn.Module):
    """Image-to-image translation of one or two pixel-aligned images."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_level_encoder(config, fusion=config.fusion)
        self.decoder = Decoder(config)
        if config.num_streams > 1:
            self.ensemble_logits = nn.Parameter(torch.ones(config.num_streams))
        self.encoder.init_weights()
        init_mit_weights(self.decoder)
        init_output(self.decoder.project)
        init_fusions(self.decoder)

    def forward(self, *images: Tensor) -> TranslationPrediction:
        """Translate a batch.

        Args:
            images: one `B 3 H W` float tensor in [-1, 1] per entry of `config.inputs`, in that order, all of one
                shape; H and W multiples of 32.

        Raises:
            ValueError: their number or shapes do not fit.
        """
        check_images(images, self.config.inputs)
        pyramid = self.encoder(torch.cat(images).contiguous(memory_format=torch.channels_last))
        per_stream = self.decoder(pyramid).chunk(self.config.num_streams)
        if self.config.num_streams == 1:
            return TranslationPrediction(per_stream, per_stream[0])
        weights = self.ensemble_logits.softmax(0)
        ensemble = sum(weight * stream.detach() for weight, stream in zip(weights, per_stream, strict=True))
        assert isinstance(ensemble, Tensor)
        return TranslationPrediction(per_stream, ensemble)

    @property
    def sums_penalty(self) -> bool:
        """Whether `penalty` is a sum over the batch, and not a mean."""
        return self.config.fusion == TOKEN_FUSION

    def penalty(self) -> Tensor | None:
        """What the last training pass adds to the loss for a sparse exchange; none for fusions that have no such thing.

        Of `token_fusion` the sum of its scores over the batch, of others the mean that segmentation takes too.
        """
        return score_penalty(self) if self.sums_penalty else fusion_penalty(self)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Generator:
        """A generator in eval mode with the weights of a checkpoint directory.

        Raises:
            CheckpointError: a file is missing or damaged, is of another task, or the weights do not fit the network.
        """
        net = cls(read_translator(Path(directory)).network)
        load_weights(net, Path(directory))
        return net.eval()


def init_output(layer: nn.Conv2d) -> None:
    """Small start values for a layer with few outputs: SegFormer's would saturate tanh and sigmoid from the start."""
    nn.init.normal_(layer.weight, std=_OUTPUT_STD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def build_level_encoder(config: TranslatorConfig, *, fusion: str, in_channels: int = _IMAGE_CHANNELS) -> MixTransformer:
    """The five levels from half the image's size on, before `init_weights` sets their start values."""
    exchanges = fusion == TOKEN_FUSION
    return MixTransformer(
        config.sizes,
        "none" if exchanges else fusion,
        config.num_fusion_heads,
        config.drop_path_rate,
        num_modalities=config.num_streams,
        num_streams=config.num_streams,
        eps=_EPS,
        embed_eps=_EPS,
        in_channels=in_channels,
        last_block=TokenFusionBlock if exchanges else Block,
    )


def check_images(images: tuple[Tensor, ...], names: tuple[str, ...]) -> None:
    """Refuse images that do not fit each other or the network.

    Raises:
        ValueError: their number is another than that of the names, they are not `B 3 H W` of one shape, or a side is
            no multiple of 32.
    """
    if len(images) != len(names):
        raise ValueError(f"got {len(images)} inputs; expected {len(names)}: {', '.join(names)}")
    shape = images[0].shape
    if len(shape) != 4 or shape[1] != _IMAGE_CHANNELS or any(image.shape != shape for image in images):
        shapes = ", ".join(f"{name} {tuple(image.shape)}" for name, image in zip(names, images, strict=True))
        raise ValueError(f"inputs are {shapes}; expected the same B 3 H W for all")
    if any(side < MULTIPLE or side % MULTIPLE for side in shape[2:]):
        raise ValueError(f"inputs are {shape[2]}x{shape[3]} pixels; expected multiples of {MULTIPLE} both ways")


def streams_of(prediction: TranslationPrediction) -> Iterator[tuple[str, Tensor]]:
    """The images of a prediction by name: `0`, `1`, and `ensemble` where it is a third."""
    yield from ((str(stream), image) for stream, image in enumerate(prediction.per_stream))
    if len(prediction.per_stream) > 1:
        yield "ensemble", prediction.ensemble

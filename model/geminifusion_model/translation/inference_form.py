"""The generator as it is exported: its blocks folded as a segmentation network's, its streams separate tensors.

Axes: B batch, C channels, H W a level's map.
"""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor, nn

from geminifusion_model.encoders.mit import Block
from geminifusion_model.inference_form.affine import split_norm
from geminifusion_model.inference_form.mit import FoldedBlock, FoldedMixTransformer
from geminifusion_model.translation.config import TOKEN_FUSION
from geminifusion_model.translation.generator import DecoderLevel, Generator


class TranslatorInferenceForm(nn.Module):
    """A trained generator, folded; its ensemble is the generator's within float rounding. It is copied, not changed.

    Raises:
        ValueError: its streams meet as TokenFusion's, which has no inference form.
    """

    def __init__(self, net: Generator) -> None:
        super().__init__()
        if net.config.fusion == TOKEN_FUSION:
            raise ValueError("streams that meet by token_fusion have no inference form; train one of another fusion")
        net = copy.deepcopy(net)
        self.config = net.config
        self.encoder = FoldedMixTransformer(net.encoder)
        self.levels = nn.ModuleList(_FoldedLevel(cast(DecoderLevel, level)) for level in net.decoder.levels)
        self.upsampling, self.project = net.decoder.upsampling, net.decoder.project
        weights = net.ensemble_logits.softmax(0).tolist() if net.config.num_streams > 1 else [1.0]
        self.weights: tuple[float, ...] = tuple(weights)
        self.requires_grad_(False)
        self.eval()

    def forward(self, *images: Tensor) -> Tensor:
        """`B 3 H W` in [-1, 1] per input, sides multiples of 32, to their ensemble of the same shape."""
        pyramids, _, _ = self.encoder(list(images))
        features = [pyramid[-1] for pyramid in pyramids]
        for index, level in enumerate(self.levels):
            features = level(features, [pyramid[-2 - index] for pyramid in pyramids])
        outputs = [self.project(self.upsampling(feature)).tanh() for feature in features]
        total = self.weights[0] * outputs[0]
        for weight, output in zip(self.weights[1:], outputs[1:], strict=True):
            total = total + weight * output
        return total


class _FoldedLevel(nn.Module):
    """One level of the decoder, of all streams."""

    def __init__(self, level: DecoderLevel) -> None:
        super().__init__()
        self.upsampling = level.upsampling
        self.blocks = nn.ModuleList(FoldedBlock(cast(Block, block)) for block in level.blocks)
        self.norm = split_norm(level.norm)

    def forward(self, features: list[Tensor], skips: list[Tensor]) -> list[Tensor]:
        """Per stream `B C' H/2 W/2` and `B C H W` to `B C H W`."""
        maps = [self.upsampling(feature) + skip for feature, skip in zip(features, skips, strict=True)]
        height, width = maps[0].shape[-2:]
        tokens = [each.flatten(2).transpose(1, 2) for each in maps]
        for block in self.blocks:
            tokens, _ = block(tokens, height, width)
        tokens = [norm(stream) for norm, stream in zip(self.norm, tokens, strict=True)]
        return [stream.unflatten(1, (height, width)).permute(0, 3, 1, 2) for stream in tokens]

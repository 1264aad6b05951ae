"""The discriminator: whether an image is the true partner of an input image, place by place.

Axes: S streams, B batch, H W the images, h w the coarsest map, 1/32 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.generator import build_level_encoder, init_output


class Discriminator(nn.Module):
    """The generator's encoder without a fusion, on an input and the image that is judged, for each stream.

    Weights are shared by the streams, except those of LayerNorms.
    """

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_level_encoder(config, fusion="none", in_channels=6)
        self.classify = nn.Conv2d(self.encoder.channels[-1], 1, 1)
        self.encoder.init_weights()
        init_output(self.classify)

    def forward(self, inputs: Sequence[Tensor], judged: Sequence[Tensor]) -> Tensor:
        """Logits of being true, `S B 1 h w`.

        Args:
            inputs: of each stream, `B 3 H W` in [-1, 1]; H and W multiples of 32.
            judged: the image of each stream, of the same shape.
        """
        pairs = torch.cat([torch.cat(pair, dim=1) for pair in zip(inputs, judged, strict=True)])
        coarsest = self.encoder(pairs.contiguous(memory_format=torch.channels_last))[-1]
        return self.classify(coarsest).unflatten(0, (self.config.num_streams, -1))

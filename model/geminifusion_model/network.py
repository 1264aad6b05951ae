"""The GeminiFusion network: an encoder of one or two streams, a shared decoder, the ensemble of their predictions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.checkpoint import load_weights, read_info, write_checkpoint
from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.decoder import AllMLPDecoder
from geminifusion_model.encoder_sizes import MIT_SIZES, SWIN_SIZES
from geminifusion_model.encoders.mit import MixTransformer
from geminifusion_model.encoders.swin import SwinTransformer

# Below this side the first stage has fewer than 8 rows, and its reduction by 8 nothing to keep.
MIN_SIDE = 29


class Prediction(NamedTuple):
    """Logits at 1/4 of the input size, rounded up, or at the input size with `config.upsample_logits`.

    `per_stream` holds one `B K H/4 W/4` per stream: RGB, and the other modality if there is one (of three or four, what
    the others were merged to). `ensemble` is their weighted mean, detached from them, so its loss reaches only the
    weights (the original's choice); of one stream it is that stream's logits.
    """

    per_stream: tuple[Tensor, ...]
    ensemble: Tensor


class GeminiFusion(nn.Module):
    """Semantic segmentation of one to four pixel-aligned images (arXiv:2406.01210).

    Built without any file or network access; `from_pretrained` and `load_official` bring weights.
    """

    def __init__(self, config: GeminiFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _build_encoder(config)
        self.decoder = AllMLPDecoder(
            self.encoder.channels, config.decoder_channels, config.num_classes, config.decoder_dropout
        )
        self.ensemble_logits = nn.Parameter(torch.ones(config.num_streams))
        self.encoder.init_weights()
        self.decoder.init_weights()

    def forward(self, *modalities: Tensor) -> Prediction:
        """Segment a batch.

        Args:
            modalities: one normalized `B 3 H W` float tensor per entry of `config.modalities`, in that order, all of
                one shape; H and W at least 29.

        Raises:
            ValueError: their number or shapes do not fit.
        """
        self._check(modalities)
        pyramid = self.encoder(torch.cat(modalities).contiguous(memory_format=torch.channels_last))
        logits = self.decoder(pyramid)
        if self.config.upsample_logits:
            logits = F.interpolate(logits, size=modalities[0].shape[-2:], mode="bilinear", align_corners=False)
        per_stream = logits.chunk(self.config.num_streams)
        weights = self.ensemble_logits.softmax(0)
        ensemble = sum(weight * stream.detach() for weight, stream in zip(weights, per_stream, strict=True))
        assert isinstance(ensemble, Tensor)
        return Prediction(tuple(per_stream), ensemble)

    def _check(self, modalities: tuple[Tensor, ...]) -> None:
        names = self.config.modalities
        if len(modalities) != len(names):
            raise ValueError(f"got {len(modalities)} inputs; expected {len(names)}: {', '.join(names)}")
        shape = modalities[0].shape
        if len(shape) != 4 or shape[1] != 3 or any(m.shape != shape for m in modalities):
            shapes = ", ".join(f"{n} {tuple(m.shape)}" for n, m in zip(names, modalities, strict=True))
            raise ValueError(f"inputs are {shapes}; expected the same B 3 H W for all")
        if min(shape[2:]) < MIN_SIDE:
            raise ValueError(f"inputs are {shape[2]}x{shape[3]} pixels; expected at least {MIN_SIDE}x{MIN_SIDE}")

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> GeminiFusion:
        """A network in eval mode with the weights of a checkpoint directory (`config.json` + `model.safetensors`).

        Raises:
            CheckpointError: a file is missing or damaged, or the weights do not fit the network.
        """
        directory = Path(directory)
        net = cls(read_info(directory).network)
        load_weights(net, directory)
        return net.eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, without a task; the directory is made if need be."""
        write_checkpoint(self, Path(directory))


def _build_encoder(config: GeminiFusionConfig) -> MixTransformer | SwinTransformer:
    """The encoder before `init_weights` sets its start values."""
    if config.encoder in SWIN_SIZES:
        return SwinTransformer(
            SWIN_SIZES[config.encoder],
            config.fusion,
            config.num_fusion_heads,
            config.drop_path_rate,
            num_streams=config.num_streams,
        )
    return MixTransformer(
        MIT_SIZES[config.encoder],
        config.fusion,
        config.num_fusion_heads,
        config.drop_path_rate,
        num_modalities=len(config.modalities),
        num_streams=config.num_streams,
        eps=config.norm_eps,
        embed_eps=config.embed_norm_eps,
    )

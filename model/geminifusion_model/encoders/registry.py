"""From a configuration to its encoder."""

from __future__ import annotations

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.encoders.mit import MixTransformer
from geminifusion_model.encoders.sizes import MIT_SIZES, SWIN_SIZES
from geminifusion_model.encoders.swin import SwinTransformer


def build_encoder(config: GeminiFusionConfig) -> MixTransformer | SwinTransformer:
    """The encoder without start values; `init_weights` sets them."""
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
    )

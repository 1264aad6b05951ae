"""The configuration of a GeminiFusion network: one frozen, validated value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from geminifusion_model.encoder_sizes import ENCODER_SIZES, SWIN_SIZES
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.validation import validated

SWIN_FUSION_HEADS = 8  # the original ignores its setting with a Swin encoder
MODALITIES = ("rgb", "depth", "thermal", "event", "lidar")


@dataclass(frozen=True, kw_only=True)
class GeminiFusionConfig:
    """The network, without its weights.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    encoder: str = "mit_b0"
    """`mit_b0` … `mit_b5`, or `swin_tiny`, `swin_small`, `swin_large`, `swin_large_window12`."""
    num_classes: int = 40
    """Logit channels, at least 1."""
    modalities: tuple[str, ...] = ("rgb", "depth")
    """Names in input order, `rgb` first; up to 4 with a MiT encoder, up to 2 with a Swin."""
    fusion: str = "geminifusion"
    """How the streams meet in every block: `geminifusion`; its ablations `pixel_attention`, `pixel_attention_noise`
    and `pixel_attention_relation`; the baselines `token_exchange`, `channel_exchange` and `cross_attention`; or
    `none`, the only one for a network that sees the RGB alone."""
    num_fusion_heads: int = 8
    """Heads of the pixel-wise fusion, the same at every stage; 8 with a Swin encoder."""
    decoder_channels: int = 256
    """Width of the all-MLP decoder."""
    upsample_logits: bool = False
    """Return logits at the input size, as the original's DeLiVER variant does (with 512 decoder channels)."""
    drop_path_rate: float = 0.1
    """Stochastic depth of the last block; it rises linearly from 0 at the first."""
    decoder_dropout: float = 0.1
    """Channel dropout before the classifier."""
    norm_eps: float = 1e-6
    """Epsilon of the LayerNorms of a MiT's blocks and stage outputs."""
    embed_norm_eps: float = 1e-6
    """Epsilon of the LayerNorms behind a MiT's convolutions, of patches and of keys and values: SegFormer has 1e-5."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        if self.encoder not in ENCODER_SIZES:
            raise ValueError(f"encoder is {self.encoder!r}; expected one of {', '.join(ENCODER_SIZES)}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; expected one of {', '.join(FUSIONS)}")
        if self.num_classes < 1:
            raise ValueError(f"num_classes is {self.num_classes}; expected at least 1")
        self._check_modalities()
        self._check_fusion_heads()
        if self.decoder_channels < 1:
            raise ValueError(f"decoder_channels is {self.decoder_channels}; expected at least 1")
        for name in ("drop_path_rate", "decoder_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 <= {name} < 1")
        for name in ("norm_eps", "embed_norm_eps"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}; expected 0 < {name} < 1")
            if self.encoder in SWIN_SIZES and value != 1e-6:
                raise ValueError(f"{name} is {value}; {self.encoder} has epsilons of its own, leave it at 1e-06")

    @property
    def num_streams(self) -> int:
        """Number of streams in a block and of predictions: 1 for the RGB alone, otherwise 2, the RGB and the other
        modality or the merge of several others.
        """
        return min(len(self.modalities), 2)

    def _check_modalities(self) -> None:
        names = self.modalities
        known = all(name in MODALITIES for name in names) and len(set(names)) == len(names)
        if not known or not 1 <= len(names) <= 4 or names[0] != "rgb":
            raise ValueError(
                f"modalities are {names}; expected 'rgb', alone or followed by up to three different ones of "
                f"{MODALITIES[1:]}"
            )
        if len(names) == 1 and self.fusion != "none":
            raise ValueError(
                f"fusion is {self.fusion!r} but modalities are {names}; one modality has nothing to be fused with: set "
                "fusion to 'none', or name a second modality"
            )
        if len(names) > 2 and self.encoder in SWIN_SIZES:
            raise ValueError(f"modalities are {names}; {self.encoder} takes up to two, use a MiT encoder for more")

    def _check_fusion_heads(self) -> None:
        if self.encoder in SWIN_SIZES and self.num_fusion_heads != SWIN_FUSION_HEADS:
            raise ValueError(
                f"num_fusion_heads is {self.num_fusion_heads}; {self.encoder} has {SWIN_FUSION_HEADS}, "
                "as published weights were trained with"
            )
        for channels in ENCODER_SIZES[self.encoder].channels:
            if self.num_fusion_heads < 1 or channels % self.num_fusion_heads:
                raise ValueError(
                    f"num_fusion_heads is {self.num_fusion_heads}; it must divide the {channels} channels of "
                    f"{self.encoder}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a plain dict for JSON or YAML."""
        return {**dataclasses.asdict(self), "modalities": list(self.modalities)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeminiFusionConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, of another type or out of range; the message names it.
        """
        return validated(cls, values, "network")

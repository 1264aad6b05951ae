"""What a GeminiFusion network is built from: one frozen, validated value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from geminifusion_model.encoders.sizes import MIT_SIZES
from geminifusion_model.fusions.names import FUSIONS

MODALITIES = ("rgb", "depth", "thermal", "event", "lidar")


@dataclass(frozen=True, kw_only=True)
class GeminiFusionConfig:
    """The network, without its weights.

    Args:
        encoder: `mit_b0` … `mit_b5`.
        num_classes: number of logit channels, at least 1.
        modalities: names in input order, `rgb` first.
        fusion: how the streams meet in every block; `geminifusion` or `none`.
        num_fusion_heads: heads of the pixel-wise fusion, the same at every stage.
        decoder_channels: width E of the all-MLP decoder.
        upsample_logits: return logits at the input size, as the original's DeLiVER variant does (with width 512).
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        decoder_dropout: channel dropout before the classifier.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    encoder: str = "mit_b0"
    num_classes: int = 40
    modalities: tuple[str, ...] = ("rgb", "depth")
    fusion: str = "geminifusion"
    num_fusion_heads: int = 8
    decoder_channels: int = 256
    upsample_logits: bool = False
    drop_path_rate: float = 0.1
    decoder_dropout: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        if self.encoder not in MIT_SIZES:
            raise ValueError(f"encoder is {self.encoder!r}; expected one of {', '.join(MIT_SIZES)}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; expected one of {', '.join(FUSIONS)}")
        if self.num_classes < 1:
            raise ValueError(f"num_classes is {self.num_classes}; expected at least 1")
        if len(self.modalities) != 2 or self.modalities[0] != "rgb" or self.modalities[1] not in MODALITIES[1:]:
            raise ValueError(
                f"modalities are {self.modalities}; expected ('rgb', other) with other one of {MODALITIES[1:]}"
            )
        for channels in MIT_SIZES[self.encoder].channels:
            if self.num_fusion_heads < 1 or channels % self.num_fusion_heads:
                raise ValueError(
                    f"num_fusion_heads is {self.num_fusion_heads}; it must divide the {channels} channels of "
                    f"{self.encoder}"
                )
        if self.decoder_channels < 1:
            raise ValueError(f"decoder_channels is {self.decoder_channels}; expected at least 1")
        for name in ("drop_path_rate", "decoder_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 <= {name} < 1")

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON or YAML."""
        return {**dataclasses.asdict(self), "modalities": list(self.modalities)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeminiFusionConfig:
        """The inverse of `to_dict`; raises `ValueError` for a field this version does not know."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown network fields {sorted(unknown)}; the file was written by another version of geminifusion"
            )
        return cls(**values)

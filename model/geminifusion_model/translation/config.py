"""The configuration of a translator: one frozen, validated value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict

from geminifusion_model.encoder_sizes import GENERATOR_SIZES, MiTSize
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.translation.domains import check_names
from geminifusion_model.validation import validated

# the exchange of the network that the task comes from, behind the projection of each level's last block
TOKEN_FUSION = "token_fusion"  # noqa: S105 - no secret
TRANSLATOR_FUSIONS = (*FUSIONS, TOKEN_FUSION)


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig:
    """The generator, and the discriminator that it is trained against, without their weights.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    size: str = "gen_b0"
    """`gen_b0`, `gen_b1` or `gen_b2`: widths and depths of the generator; the discriminator is as its encoder."""
    inputs: tuple[str, ...] = ("rgb", "edge_occlusion")
    """The domains of one or two aligned input images, in order."""
    target: str = "depth"
    """The domain of the image that is made of them."""
    fusion: str = "geminifusion"
    """How two streams meet: one of a segmentation network's fusions, in its place, or `token_fusion`, TokenFusion's
    exchange at the end of each encoder level; `none`, the only one for a single input."""
    where: Literal["encoder", "all"] = "encoder"
    """Whether the streams meet in the encoder's blocks, or in those of the decoder as well."""
    num_fusion_heads: int = 8
    """Heads of the pixel-wise fusion, the same at every level."""
    drop_path_rate: float = 0.1
    """Stochastic depth of the encoder's last block; it rises linearly from 0 at the first. The decoder's blocks take
    the same rates from the first on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if self.size not in GENERATOR_SIZES:
            raise ValueError(f"size is {self.size!r}; expected one of {', '.join(GENERATOR_SIZES)}")
        if self.fusion not in TRANSLATOR_FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; expected one of {', '.join(TRANSLATOR_FUSIONS)}")
        check_names(self.inputs, self.target)
        if len(self.inputs) == 1 and self.fusion != "none":
            raise ValueError(
                f"fusion is {self.fusion!r} but {self.inputs[0]} is the only input, which has nothing to be fused "
                "with: set fusion to 'none', or name a second input"
            )
        if self.where not in ("encoder", "all"):
            raise ValueError(f"where is {self.where!r}; expected 'encoder' or 'all'")
        if self.fusion == TOKEN_FUSION and self.where == "all":
            raise ValueError("where is 'all' with fusion 'token_fusion', which exchanges in the encoder alone")
        if self.num_fusion_heads < 1 or self.sizes.channels[0] % self.num_fusion_heads:
            raise ValueError(
                f"num_fusion_heads is {self.num_fusion_heads}; it must divide the {self.sizes.channels[0]} channels "
                f"of {self.size}"
            )
        if not 0.0 <= self.drop_path_rate < 1.0:
            raise ValueError(f"drop_path_rate is {self.drop_path_rate}; expected 0 <= drop_path_rate < 1")

    @property
    def sizes(self) -> MiTSize:
        """Widths and depths of the generator's levels."""
        return GENERATOR_SIZES[self.size]

    @property
    def num_streams(self) -> int:
        """One for each input."""
        return len(self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a plain dict for JSON or YAML."""
        return {**dataclasses.asdict(self), "inputs": list(self.inputs)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TranslatorConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, of another type or out of range; the message names it.
        """
        return validated(cls, values, "network")

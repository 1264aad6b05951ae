"""From a fusion's name to its layer."""

from __future__ import annotations

from torch import nn

from geminifusion_model.fusions.geminifusion import GeminiFusionBlock


def build_fusion(name: str, channels: int, num_heads: int) -> nn.Module:
    """A layer that maps `2 R C` to `2 R C`.

    Raises:
        ValueError: no fusion has this name.
    """
    if name == "geminifusion":
        return GeminiFusionBlock(channels, num_heads)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"fusion is {name!r}; see geminifusion_model.fusions.names.FUSIONS")

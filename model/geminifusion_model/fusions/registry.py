"""From a fusion's name to its layer."""

from __future__ import annotations

from torch import Tensor, nn

from geminifusion_model.fusions.channel_exchange import ChannelExchange
from geminifusion_model.fusions.cross_attention import CrossAttention
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.fusions.token_exchange import TokenExchange

# noise, relation: the rows of the paper's table 9
_PIXELWISE = {
    "geminifusion": (True, True),
    "pixel_attention": (False, False),
    "pixel_attention_noise": (True, False),
    "pixel_attention_relation": (False, True),
}
_HAVE_START_VALUES = (GeminiFusionBlock, TokenExchange, CrossAttention)


def build_fusion(name: str, channels: int, num_heads: int) -> nn.Module:
    """A layer that maps `2 B N C` to `2 B N C`.

    Raises:
        ValueError: no fusion has this name.
    """
    if name in _PIXELWISE:
        noise, relation = _PIXELWISE[name]
        return GeminiFusionBlock(channels, num_heads, noise=noise, relation=relation)
    if name == "token_exchange":
        return TokenExchange(channels)
    if name == "channel_exchange":
        return ChannelExchange(channels)
    if name == "cross_attention":
        return CrossAttention(channels, num_heads)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"fusion is {name!r}; see geminifusion_model.fusions.names.FUSIONS")


def init_fusions(net: nn.Module) -> None:
    """Set the start values of every fusion in `net`, after those of its linear layers."""
    for module in net.modules():
        if isinstance(module, _HAVE_START_VALUES):
            module.init_weights()


def fusion_penalty(net: nn.Module) -> Tensor | None:
    """The mean sparsity penalty of the fusions that have one, after a training pass; none otherwise."""
    terms = [
        term
        for module in net.modules()
        if isinstance(module, TokenExchange | ChannelExchange) and (term := module.penalty()) is not None
    ]
    return sum(terms[1:], terms[0]) / len(terms) if terms else None

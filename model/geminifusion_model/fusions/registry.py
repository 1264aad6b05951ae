"""Fusions by name. Torch is imported where a layer is built, so that a configuration can be checked without it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_fusion(name: str, channels: int, num_heads: int) -> nn.Module:
    """A layer that maps `2 B N C` to `2 B N C`.

    Raises:
        ValueError: no fusion has this name.
    """
    if name not in _BUILDERS:
        raise ValueError(f"fusion is {name!r}; expected one of {', '.join(FUSIONS)}")
    return _BUILDERS[name](channels, num_heads)


def init_fusions(net: nn.Module) -> None:
    """Set the start values of every fusion in `net`, after those of its linear layers."""
    from geminifusion_model.fusions.cross_attention import CrossAttention
    from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
    from geminifusion_model.fusions.token_exchange import TokenExchange

    for module in net.modules():
        if isinstance(module, GeminiFusionBlock | TokenExchange | CrossAttention):
            module.init_weights()


def fusion_penalty(net: nn.Module) -> Tensor | None:
    """The mean sparsity penalty of the fusions that have one, after a training pass; none otherwise."""
    from geminifusion_model.fusions.channel_exchange import ChannelExchange
    from geminifusion_model.fusions.token_exchange import TokenExchange

    terms = [
        term
        for module in net.modules()
        if isinstance(module, TokenExchange | ChannelExchange) and (term := module.penalty()) is not None
    ]
    return sum(terms[1:], terms[0]) / len(terms) if terms else None


def _pixelwise(channels: int, num_heads: int, *, noise: bool, relation: bool) -> nn.Module:
    from geminifusion_model.fusions.geminifusion import GeminiFusionBlock

    return GeminiFusionBlock(channels, num_heads, noise=noise, relation=relation)


def _token_exchange(channels: int, _: int) -> nn.Module:
    from geminifusion_model.fusions.token_exchange import TokenExchange

    return TokenExchange(channels)


def _channel_exchange(channels: int, _: int) -> nn.Module:
    from geminifusion_model.fusions.channel_exchange import ChannelExchange

    return ChannelExchange(channels)


def _cross_attention(channels: int, num_heads: int) -> nn.Module:
    from geminifusion_model.fusions.cross_attention import CrossAttention

    return CrossAttention(channels, num_heads)


def _none(_: int, __: int) -> nn.Module:
    from torch import nn

    return nn.Identity()


_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "geminifusion": partial(_pixelwise, noise=True, relation=True),
    # the rows of the paper's table 9
    "pixel_attention": partial(_pixelwise, noise=False, relation=False),
    "pixel_attention_noise": partial(_pixelwise, noise=True, relation=False),
    "pixel_attention_relation": partial(_pixelwise, noise=False, relation=True),
    "token_exchange": _token_exchange,
    "channel_exchange": _channel_exchange,
    "cross_attention": _cross_attention,
    "none": _none,
}

FUSIONS = tuple(_BUILDERS)  # the names a configuration may give

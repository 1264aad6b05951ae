"""The published encoder sizes, as data (no torch, so a configuration can be checked without it)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MiTSize:
    """Widths and depths of the Mix Transformer's stages (SegFormer, arXiv:2105.15203, table 6).

    Kernel and stride of the first stage's patches are given, those of all others are 3 and 2.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratio: int = 4
    first_patch: tuple[int, int] = (7, 4)


@dataclass(frozen=True, kw_only=True)
class SwinSize:
    """Widths, depths and window side, in tokens, of a Swin Transformer (arXiv:2103.14030, sec. 3.3)."""

    channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int = 7
    mlp_ratio: int = 4


_WIDE = (64, 128, 320, 512)

MIT_SIZES: dict[str, MiTSize] = {
    "mit_b0": MiTSize(channels=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "mit_b1": MiTSize(channels=_WIDE, depths=(2, 2, 2, 2)),
    "mit_b2": MiTSize(channels=_WIDE, depths=(3, 4, 6, 3)),
    "mit_b3": MiTSize(channels=_WIDE, depths=(3, 4, 18, 3)),
    "mit_b4": MiTSize(channels=_WIDE, depths=(3, 8, 27, 3)),
    "mit_b5": MiTSize(channels=_WIDE, depths=(3, 6, 40, 3)),
}


def _generator_size(first: int, depths: tuple[int, ...]) -> MiTSize:
    """Five levels from half the image's side on; each has twice the channels of the one before."""
    return MiTSize(
        channels=tuple(first << level for level in range(5)),
        depths=depths,
        heads=(1, 2, 4, 8, 16),
        reductions=(16, 8, 4, 2, 1),
        first_patch=(3, 2),
    )


# of TokenFusion's image translation (arXiv:2204.08721), b3 to b5 left out
GENERATOR_SIZES: dict[str, MiTSize] = {
    "gen_b0": _generator_size(32, (2, 2, 2, 2, 2)),
    "gen_b1": _generator_size(64, (2, 2, 2, 2, 2)),
    "gen_b2": _generator_size(64, (3, 4, 4, 6, 3)),
}

_SWIN_LARGE = (192, 384, 768, 1536)

SWIN_SIZES: dict[str, SwinSize] = {
    "swin_tiny": SwinSize(channels=(96, 192, 384, 768), depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "swin_small": SwinSize(channels=(96, 192, 384, 768), depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "swin_large": SwinSize(channels=_SWIN_LARGE, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
    "swin_large_window12": SwinSize(channels=_SWIN_LARGE, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
}

ENCODER_SIZES: dict[str, MiTSize | SwinSize] = {**MIT_SIZES, **SWIN_SIZES}

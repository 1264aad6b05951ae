"""Latencies as an SVG plot: a bar to the median of each case, a line on to its 99th percentile."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_LEFT, _RIGHT, _TOP, _ROW, _BAR = 330, 120, 56, 30, 16
_WIDTH = 960
_COLORS = ("#2f6fb3", "#d9822b", "#3a9d5d", "#8a5fb5", "#b5485d", "#6b7785")


class Bar(NamedTuple):
    """One case. Milliseconds; `group` decides the color."""

    title: str
    group: str
    p50: float
    p90: float
    p99: float


def latency_svg(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """The plot, readable on any background.

    Args:
        bars: from top to bottom, at least one.
    """
    span = max(bar.p99 for bar in bars) or 1.0
    step = _round_step(span / 5)
    scale = (_WIDTH - _LEFT - _RIGHT) / span
    bottom = _TOP + _ROW * len(bars)
    groups = list(dict.fromkeys(bar.group for bar in bars))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 40}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{bottom + 40}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="16" fill="#222222">{escape(title)}</text>',
        f'<text x="12" y="41" font-size="11" fill="#666666">{escape(subtitle)}</text>',
    ]
    tick = 0.0
    while tick <= span:
        x = _LEFT + tick * scale
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" font-size="11" fill="#666666" text-anchor="middle">{tick:g}</text>'
        )
        tick += step
    parts.append(f'<text x="{_LEFT}" y="{bottom + 32}" font-size="11" fill="#666666">ms; bar p50, line p90, p99</text>')
    for index, bar in enumerate(bars):
        parts += _drawn(bar, _TOP + _ROW * index, scale, _COLORS[groups.index(bar.group) % len(_COLORS)])
    return "\n".join([*parts, "</svg>\n"])


def _drawn(bar: Bar, top: float, scale: float, color: str) -> list[str]:
    middle = top + _ROW / 2
    p50, p90, p99 = (_LEFT + value * scale for value in (bar.p50, bar.p90, bar.p99))
    end = f"M{p90:.1f} {middle - 5:.1f}v10M{p99:.1f} {middle - 5:.1f}v10"
    return [
        f'<text x="{_LEFT - 10}" y="{middle + 4:.1f}" font-size="12" fill="#222222" text-anchor="end">'
        f"{escape(bar.title)}</text>",
        f'<rect x="{_LEFT}" y="{middle - _BAR / 2:.1f}" width="{p50 - _LEFT:.1f}" height="{_BAR}" fill="{color}"/>',
        f'<path d="M{p50:.1f} {middle:.1f}H{p99:.1f}{end}" stroke="#222222" fill="none"/>',
        f'<text x="{p99 + 8:.1f}" y="{middle + 4:.1f}" font-size="12" fill="#222222">{bar.p50:.1f} ms</text>',
    ]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 1.0
    while power > rough:
        power /= 10
    while power * 10 <= rough:
        power *= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)

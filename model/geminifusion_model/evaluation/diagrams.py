"""Diagrams as inline SVG; the style sheet of the page sets their colors."""

from __future__ import annotations

import math

from markupsafe import Markup

from geminifusion_model.evaluation.calibration import Reliability

_SIZE, _LEFT, _BOTTOM, _TOP = 300, 42, 40, 8


def reliability_diagram(reliability: Reliability) -> Markup:
    """Accuracy against confidence: one bar per bin, more opaque with more pixels, its gap to the diagonal hatched."""
    pixels = reliability.pixels
    total = max(int(pixels.sum()), 1)
    width = _SIZE / len(pixels)
    hatch = f"gap-{reliability.temperature:g}"  # unique on a page that shows several temperatures
    parts = [
        f'<pattern id="{hatch}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="gap" x1="0" y1="0" x2="0" y2="6"/></pattern>'
    ]
    for tick in range(0, 101, 20):
        at = _SIZE * tick / 100
        x, y = _LEFT + at, _TOP + _SIZE - at
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _SIZE}" y1="{y:g}" y2="{y:g}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:g}" text-anchor="end">{tick}</text>')
        parts.append(f'<text x="{x:g}" y="{_TOP + _SIZE + 16}" text-anchor="middle">{tick}</text>')
    for index, (count, accuracy, confidence) in enumerate(
        zip(pixels, reliability.accuracy(), reliability.confidence(), strict=True)
    ):
        if not count:
            continue
        x = _LEFT + index * width
        share = 100 * count / total
        top, middle = _height(accuracy), _height(confidence)
        low, high = min(top, middle), max(top, middle)
        opacity = 0.25 + 0.75 * math.sqrt(count / max(int(pixels.max()), 1))
        parts.append(
            f"<g><title>confidence {confidence:.1%}, accuracy {accuracy:.1%}, {share:.1f} % of pixels</title>"
            f'<rect class="bar" x="{x + 1:.2f}" y="{top:.2f}" width="{width - 2:.2f}" '
            f'height="{_TOP + _SIZE - top:.2f}" opacity="{opacity:.2f}"/>'
            f'<rect x="{x + 1:.2f}" y="{low:.2f}" width="{width - 2:.2f}" '
            f'height="{high - low:.2f}" fill="url(#{hatch})"/></g>'
        )
    right, base = _LEFT + _SIZE, _TOP + _SIZE
    parts.append(f'<line class="ideal" x1="{_LEFT}" y1="{base}" x2="{right}" y2="{_TOP}"/>')
    parts.append(f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{right}" y2="{base}"/>')
    parts.append(f'<text x="{_LEFT + _SIZE / 2:g}" y="{base + 34}" text-anchor="middle">confidence, %</text>')
    parts.append(
        f'<text transform="translate(11 {_TOP + _SIZE / 2:g}) rotate(-90)" text-anchor="middle">accuracy, %</text>'
    )
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="reliability" viewBox="0 0 {right + 16} {base + _BOTTOM}" role="img" '
        f'aria-label="Reliability diagram, expected calibration error {reliability.expected_error():.1f} percent">'
        f"{''.join(parts)}</svg>"
    )


def interval_bar(value: float, low: float = math.nan, high: float = math.nan) -> Markup:
    """A bar of 0…100 with its interval as a whisker; empty for a value that is not a number."""
    if math.isnan(value):
        return Markup('<span class="meter"></span>')
    whisker = ""
    if high - low >= 0.1:  # also false without an interval
        whisker = f'<i class="whisker" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
    return Markup(  # noqa: S704 - numbers only
        f'<span class="meter"><i class="fill" style="width:{value:.2f}%"></i>{whisker}</span>'
    )


def _height(share: float) -> float:
    return _TOP + _SIZE * (1 - share)

"""The named ways to turn a network and labeled frames into a score.

Two scores compare only under one protocol, so its name is printed with every number and its facts are in this file
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

AbsentClass = Literal["skipped", "zero"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Resizing before the network, upsampling of logits after it, and the treatment of absent classes.

    Args:
        name: as it is printed.
        source: where the protocol comes from.
        shorter_side: the frame is resized so that its shorter side has this many pixels, the other side rounded; None
            leaves it as it is.
        multiple: both sides are then enlarged to multiples of this.
        measurement_interpolation: how modalities other than RGB are resized; RGB always bilinearly.
        resize_labels: truth is resized with the frame (nearest), and scored there; otherwise at its own size.
        logit_interpolation: how logits reach the size of the truth.
        scales: the network sees the frame at each of these sizes; class probabilities are averaged.
        flip: and its mirror image at each.
        absent_class: what a class neither present nor predicted does to the mean: `skipped`, or counts as `zero`.
    """

    name: str
    source: str
    shorter_side: int | None = None
    multiple: int = 1
    measurement_interpolation: Interpolation = "nearest"
    resize_labels: bool = False
    logit_interpolation: Interpolation = "bilinear"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    absent_class: AbsentClass = "skipped"

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales are {self.scales}; expected at least one, all positive")
        if self.multiple < 1 or (self.shorter_side is not None and self.shorter_side < 1):
            raise ValueError(f"shorter_side {self.shorter_side} and multiple {self.multiple} must be at least 1")

    @property
    def keeps_frames(self) -> bool:
        """True if the network sees each frame once, at its own size."""
        return self.shorter_side is None and self.multiple == 1 and self.scales == (1.0,) and not self.flip

    def resize_steps(self, height: int, width: int, scale: float = 1.0) -> tuple[tuple[int, int], ...]:
        """The heights and widths a frame of this size is resized to, one after the other, for one of `scales`.

        Two steps, because the original resizes to the shorter side and then again to the multiple.
        """
        factor = scale
        if self.shorter_side is not None:
            factor *= self.shorter_side / min(height, width)
        first = round(height * factor), round(width * factor)
        second = _up_to(first[0], self.multiple), _up_to(first[1], self.multiple)
        return first, second

    def label_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a frame of this size is scored."""
        return self.resize_steps(height, width)[-1] if self.resize_labels else (height, width)

    def describe(self) -> str:
        """All facts of the protocol in one sentence."""
        size = "frames as they are" if self.shorter_side is None else f"frames resized to {self.shorter_side} pixels"
        if self.multiple > 1:
            size += f", sides up to multiples of {self.multiple}"
        views = "one view"
        if len(self.scales) > 1:
            views = f"scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        if self.flip:
            views += " with mirror images"
        if len(self.scales) > 1 or self.flip:
            views += ", probabilities averaged"
        truth = "truth resized with the frame (nearest)" if self.resize_labels else "truth at its own size"
        absent = {"skipped": "left out of the mean", "zero": "counted as 0"}[self.absent_class]
        return (
            f"{size}; {views}; logits enlarged with {self.logit_interpolation} interpolation; {truth}; classes neither "
            f"present nor predicted {absent} ({self.source})"
        )


def _up_to(side: int, multiple: int) -> int:
    return max(math.ceil(side / multiple), 1) * multiple


_ALL = (
    Protocol(
        name="original-nyu-single-scale",
        source="the original's NYUDv2 test; its resize to a shorter side of 480 leaves 480x640 frames alone",
        logit_interpolation="bicubic",
    ),
    Protocol(
        name="original-sun",
        source="the original's SUN RGB-D test",
        shorter_side=480,
        multiple=32,
        measurement_interpolation="bilinear",
        resize_labels=True,
        logit_interpolation="bicubic",
    ),
    Protocol(
        name="sunrgbd-test-native",
        source="ours: the network sees what it sees in the original's SUN RGB-D test, the truth is not touched",
        shorter_side=480,
        multiple=32,
        measurement_interpolation="bilinear",
        logit_interpolation="bicubic",
    ),
    Protocol(name="native-labels", source="ours; the labels of the exported graph"),
    Protocol(
        name="multi-scale-flip",
        source="ours, with the scales of the DeLiVER code's unused multi-scale test",
        multiple=32,
        scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        flip=True,
    ),
    Protocol(
        name="deliver-val-resized",
        source="the original's DeLiVER validation",
        shorter_side=1024,
        multiple=32,
        measurement_interpolation="bilinear",
        resize_labels=True,
        absent_class="zero",
    ),
    Protocol(
        name="deliver-test-native",
        source="ours: the network sees what it sees in validation, the truth is not touched",
        shorter_side=1024,
        multiple=32,
        measurement_interpolation="bilinear",
        absent_class="zero",
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def protocol_named(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]

"""Values that requests, settings and results share. Standard library only: clients import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Align = Literal["none", "resize", "register"]
Isolation = Literal["thread", "process"]  # where an engine or a decoder runs: in the server, or in its own process
CloudFormat = Literal["ply", "pcd", "cloud-npz"]
MaskFormat = Literal["png", "palette", "json", "npz", "overlay", "ply", "pcd", "cloud-npz"]
Priority = Literal["high", "normal"]
SensorPolicy = Literal["reject", "warn", "drop-modality", "synthesize"]

DEFAULT_SENSOR_POLICY: SensorPolicy = "warn"
CLOUD_FORMATS: tuple[CloudFormat, ...] = get_args(CloudFormat)
MASK_FORMATS: tuple[MaskFormat, ...] = get_args(MaskFormat)
PRIORITIES = get_args(Priority)
SENSOR_POLICIES = get_args(SensorPolicy)


@dataclass(frozen=True, kw_only=True)
class SensorHealth:
    """State of a sensor, as far as one frame shows it.

    Args:
        holes: share of pixels without a measurement, 0…1; 0 for pictures of 8 bits.
        saturated: share of pixels at the end of the range, 0…1: every channel 255 for colour, the farthest reading for
            depth where that is shared by many.
        noise: standard deviation of the noise: grey levels of 255 for pictures of 8 bits, metres for depth, stored
            numbers for others. By Immerkær, Fast Noise Variance Estimation, Computer Vision and Image Understanding 64
            (1996), on the middle of the frame.
        problem: what makes the frame worthless, or None.
    """

    holes: float
    saturated: float
    noise: float
    problem: str | None = None


NOT_ASSESSED = SensorHealth(holes=0.0, saturated=0.0, noise=0.0)

"""What is known of a sensor from one frame of it. Standard library only: clients import it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SensorHealth:
    """One frame of one sensor.

    Args:
        holes: share of pixels that were not measured, 0…1; 0 for colour.
        saturated: share of pixels at the end of the range, 0…1: every channel 255 for colour, the farthest reading for
            depth where that is shared by many.
        noise: standard deviation of the noise: grey levels of 255 for colour, metres for depth. By Immerkær, Fast Noise
            Variance Estimation, Computer Vision and Image Understanding 64 (1996), on the middle of the frame.
        problem: what makes the frame worthless, or None.
    """

    holes: float
    saturated: float
    noise: float
    problem: str | None = None


UNJUDGED = SensorHealth(holes=0.0, saturated=0.0, noise=0.0)

"""Largest batch for each image size, given the measured times of batches of some sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOLERANCE = 1.10  # of the best time per image: less is within the noise of a measurement


@dataclass(frozen=True, kw_only=True)
class BatchTiming:
    """Measured time of batches of one image size: `seconds[i]` for `batches[i]` images of `height` x `width`."""

    height: int
    width: int
    batches: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def preferred(self) -> int:
        """The smallest batch whose time per image is within `TOLERANCE` of the best."""
        per_image = [total / size for size, total in zip(self.batches, self.seconds, strict=True)]
        allowed = TOLERANCE * min(per_image)
        return next(size for size, each in zip(self.batches, per_image, strict=True) if each <= allowed)

    @property
    def preferred_pixels(self) -> int:
        """Pixels of a batch of the preferred size."""
        return self.preferred * self.height * self.width

    def table(self) -> str:
        """One line for the log: `640x480: 1 in 52.1 ms, 2 in 110.0 ms -> 1`."""
        runs = (f"{size} in {1000 * seconds:.1f} ms" for size, seconds in zip(self.batches, self.seconds, strict=True))
        return f"{self.width}x{self.height}: {', '.join(runs)} -> {self.preferred}"


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Largest batch for each image size.

    A measured size takes its preferred batch. Another takes as many images as the preferred batch of the measured size
    nearest in pixels holds pixels: what saturates a device is the work, not the number of images.

    Args:
        most: images together, whatever was measured, and where nothing was.
        most_pixels: pixels together, a single image excepted; bounds the memory of a run.
        timings: measurements; none for a batch that the operator set.
    """

    most: int = 1
    most_pixels: int = 2**62
    timings: tuple[BatchTiming, ...] = ()

    def limit(self, height: int, width: int) -> int:
        """The most images of this size to run together, at least 1."""
        pixels = height * width
        wanted = self.most
        if self.timings:
            nearest = min(self.timings, key=lambda timing: _ratio(timing.height * timing.width, pixels))
            same = (nearest.height, nearest.width) == (height, width)
            wanted = nearest.preferred if same else nearest.preferred_pixels // pixels
        return max(1, min(wanted, self.most, self.most_pixels // pixels))

    def description(self) -> dict[str, Any]:
        """JSON-ready form for the model list."""
        return {
            "most": self.most,
            "most_pixels": self.most_pixels,
            "measured": [
                {
                    "height": timing.height,
                    "width": timing.width,
                    "preferred": timing.preferred,
                    "batch_ms": {
                        str(size): round(1000 * seconds, 3)
                        for size, seconds in zip(timing.batches, timing.seconds, strict=True)
                    },
                }
                for timing in self.timings
            ],
        }


def _ratio(one: int, other: int) -> float:
    return max(one / other, other / one)

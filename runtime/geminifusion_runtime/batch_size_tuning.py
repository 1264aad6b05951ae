"""How many images of a size to run together: measured at warm-up, because it depends on the machine.

On an accelerator a batch of eight may be answered almost three times as fast as eight single images; on a CPU large
images only lose by company. So t(n) is measured for n = 1, 2, 4, 8…, and the smallest n is taken whose t(n)/n is within
a tenth of the best: more would delay the first of a batch and gain next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST_BATCH = 32  # tried at warm-up; a device that wants more has its operator say so
TOLERANCE = 1.10  # of the best time per image: less is within the noise of a measurement


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What one size took: `seconds[i]` is the time of a batch of `batches[i]` images of `height` x `width`."""

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
        """Of a batch of the preferred size."""
        return self.preferred * self.height * self.width

    def table(self) -> str:
        """For the log: `640x480: 1 in 52.1 ms, 2 in 110.0 ms -> 1`."""
        runs = (f"{size} in {1000 * seconds:.1f} ms" for size, seconds in zip(self.batches, self.seconds, strict=True))
        return f"{self.width}x{self.height}: {', '.join(runs)} -> {self.preferred}"


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How many images of each size may run together.

    A size that was measured takes its preferred batch. Another takes as many images as the preferred batch of the
    measured size nearest in pixels holds pixels: what saturates a device is the work, not the number of images.

    Args:
        most: images together, whatever was measured; what is taken where nothing was.
        most_pixels: together, a single image excepted; bounds the memory of a run.
        calibrations: what was measured; none for a batch that the operator set.
    """

    most: int = 1
    most_pixels: int = 2**62
    calibrations: tuple[Calibration, ...] = ()

    def limit(self, height: int, width: int) -> int:
        """The most images of this size to run together, at least 1."""
        pixels = height * width
        wanted = self.most
        if self.calibrations:
            nearest = min(self.calibrations, key=lambda one: _ratio(one.height * one.width, pixels))
            same = (nearest.height, nearest.width) == (height, width)
            wanted = nearest.preferred if same else nearest.preferred_pixels // pixels
        return max(1, min(wanted, self.most, self.most_pixels // pixels))

    def description(self) -> dict[str, Any]:
        """For the model list; JSON-ready."""
        return {
            "most": self.most,
            "most_pixels": self.most_pixels,
            "measured": [
                {
                    "height": one.height,
                    "width": one.width,
                    "preferred": one.preferred,
                    "batch_ms": {
                        str(size): round(1000 * seconds, 3)
                        for size, seconds in zip(one.batches, one.seconds, strict=True)
                    },
                }
                for one in self.calibrations
            ],
        }


def _ratio(one: int, other: int) -> float:
    return max(one / other, other / one)


def calibrate(
    run: Callable[[int], object],
    *,
    height: int,
    width: int,
    most: int,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration:
    """Time batches of 1, 2, 4… images until more do not help, or time is up.

    Stops after the first batch whose time per image is a tenth worse than the best so far, and before one that would
    not end within the budget. A batch of one is always measured.

    Args:
        run: runs a batch of so many images; each size is run once unmeasured, then twice, and the faster counts.
        height, width: of the images.
        most: the largest batch to try.
        budget_s: seconds for all of it.
    """
    began = clock()
    batches: list[int] = []
    seconds: list[float] = []
    size = 1
    while size <= most:
        fits = True
        if batches:
            expected = 3 * 2 * seconds[-1]  # at worst, a batch of twice the size takes twice as long
            fits = clock() - began + expected <= budget_s
        if not fits:
            break
        run(size)
        timed = []
        for _ in range(2):
            start = clock()
            run(size)
            timed.append(clock() - start)
        batches.append(size)
        seconds.append(max(min(timed), 1e-9))
        best = min(total / count for count, total in zip(batches, seconds, strict=True))
        if seconds[-1] / size > TOLERANCE * best:
            break
        size *= 2
    return Calibration(height=height, width=width, batches=tuple(batches), seconds=tuple(seconds))

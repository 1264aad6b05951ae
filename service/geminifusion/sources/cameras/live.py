"""What all cameras have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base import Intrinsics, SourceFrame

WIDTH, HEIGHT, RATE = 640, 480, 30


class LiveCamera(ABC):
    """Frames until nobody asks for more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count: int | None = None
        self.period_s: float | None = 1 / RATE
        self.notes: list[str] = []

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, each as soon as it is there."""
        number = 0
        while True:
            rgb, depth = self.capture()
            yield SourceFrame(
                name=f"{self.name}_{number:06d}",
                images={"rgb": rgb, "depth": depth},
                stamp_ns=time.time_ns(),
                offset_ms=0.0,
                intrinsics=self.intrinsics(),
                frame_id=f"{self.name}_color_optical_frame",
            )
            number += 1

    @abstractmethod
    def capture(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The next colour image, `H W 3` uint8 RGB, and its depth, `H W` uint16 millimetres or float32 metres."""

    @abstractmethod
    def intrinsics(self) -> Intrinsics:
        """fx, fy, cx, cy of the colour camera at this size."""

    @abstractmethod
    def close(self) -> None:
        """Stop the camera."""

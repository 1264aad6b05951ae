"""Cameras as clients describe them: intrinsics of a pinhole, and the pose of one camera in another.

Standard library only. Camera axes everywhere: x right, y down, z forward, in metres. Pixels are counted from the centre
of the top left one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_NARROWEST_DEG, _WIDEST_DEG = 0.5, 175.0  # of view, along the wider side
_OTHER_SIZE = (0.7, 1.4)  # factors by which intrinsics must be wrong to be those of another size
_SAME_FACTOR = 0.06  # by which the two axes may differ then, as principal points are off the middle by some per cent
_DOUBTFUL_SIZE = (0.93, 1.07)  # factors outside which it may be: 0.95 is KITTI's own, 1.06 nuScenes'
_ROTATION_TOLERANCE = 1e-3  # of the products of a rotation's rows: as many digits as people copy
_FARTHEST_BASELINE_M = 20.0  # between cameras that look at one scene; more is millimetres


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A pinhole camera: focal lengths and principal point in pixels of its image.

    Raises:
        ValueError: a focal length is not above 0.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if min(self.fx, self.fy) <= 0:
            raise ValueError(f"focal lengths are {self.fx}, {self.fy}; expected positive numbers of pixels")

    @classmethod
    def of(cls, values: Sequence[float]) -> Intrinsics:
        """The camera of `fx, fy, cx, cy`."""
        fx, fy, cx, cy = values
        return cls(fx=fx, fy=fy, cx=cx, cy=cy)

    def resized(self, size: tuple[int, int], new_size: tuple[int, int]) -> Intrinsics:
        """The camera of the same image brought from one size, height and width, to another."""
        down, across = new_size[0] / size[0], new_size[1] / size[1]
        return Intrinsics(
            fx=self.fx * across,
            fy=self.fy * down,
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
        )

    def problem(self, size: tuple[int, int]) -> str | None:
        """Why this cannot be the camera of an image of `size`, height and width, as the end of a sentence; or None."""
        height, width = size
        angle = max(2 * math.degrees(math.atan(side / 2 / f)) for side, f in ((width, self.fx), (height, self.fy)))
        if not _NARROWEST_DEG <= angle <= _WIDEST_DEG:
            return f"give an image of {width}x{height} an angle of view of {angle:.3g} degrees"
        across, down = (self.cx + 0.5) / width, (self.cy + 0.5) / height
        factor = across + down  # 1 for a principal point in the middle
        if not _OTHER_SIZE[0] < factor < _OTHER_SIZE[1] and abs(across - down) < _SAME_FACTOR * factor:
            return f"are those of an image of about {self._centered_size}, and this one has {width}x{height}"
        if not (-0.5 <= across <= 1.5 and -0.5 <= down <= 1.5):
            return f"have their principal point at {self.cx:g},{self.cy:g}, far outside an image of {width}x{height}"
        return None

    def doubt(self, size: tuple[int, int]) -> str | None:
        """Why this may be the camera of another image than one of `size` that `problem` takes; or None.

        The principal point is what tells the size: off the middle by both axes alike in an image that was resized, and
        by each in its own way in one that was cropped.
        """
        height, width = size
        across, down = (self.cx + 0.5) / width, (self.cy + 0.5) / height
        factor = across + down
        if _DOUBTFUL_SIZE[0] <= factor <= _DOUBTFUL_SIZE[1] and abs(across - down) < _SAME_FACTOR * factor:
            return None
        return (
            f"have their principal point in the middle of an image of about {self._centered_size}, and this one has "
            f"{width}x{height}"
        )

    @property
    def _centered_size(self) -> str:
        """Width and height of the image in whose middle the principal point is."""
        return f"{round(2 * self.cx + 1)}x{round(2 * self.cy + 1)}"


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where one camera is, seen from another: `p' = R p + t`.

    Attributes:
        rotation: three rows of R.
        translation: t in metres.
    """

    rotation: tuple[tuple[float, float, float], ...]
    translation: tuple[float, float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Pose:
        """The pose of the twelve numbers of `[R|t]`, row by row.

        Raises:
            ValueError: R is no rotation, or t is longer than any baseline; the text is the end of a sentence.
        """
        rows = [tuple(values[4 * row : 4 * row + 3]) for row in range(3)]
        products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
        off = max(abs(products[i][j] - (i == j)) for i in range(3) for j in range(3))
        if not off <= _ROTATION_TOLERANCE:
            raise ValueError(
                f"have a matrix that is no rotation: the products of its rows are off by {off:.3g}; "
                "send [R|t] row by row, twelve numbers, R with rows of length 1 at right angles"
            )
        (a, b, c), (d, e, f), (g, h, i) = rows
        if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:
            raise ValueError("have a matrix that mirrors; send a rotation, whose determinant is 1, not -1")
        x, y, z = (float(values[4 * row + 3]) for row in range(3))
        if math.hypot(x, y, z) > _FARTHEST_BASELINE_M:
            raise ValueError(
                f"put the cameras {math.hypot(x, y, z):.4g} m apart; send the translation in metres, not millimetres"
            )
        return cls(rotation=((a, b, c), (d, e, f), (g, h, i)), translation=(x, y, z))

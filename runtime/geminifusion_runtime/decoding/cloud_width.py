"""Whether the numbers of a LiDAR's file without a header are four a point, as KITTI's are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POINT_NUMBERS = 4
_OTHER_WIDTHS = (3, 5, 6, 7)  # numbers of a point in files that others write; 8 cannot be told from 4
_TELLING_NUMBERS = 256  # that a file has to have before its order says anything
_LOOKED_AT = 2**18  # numbers of a file, to bound the time
_REPEATS = 0.7  # of the differences at the distance of 4, which sweeps of 4 exceed at any other distance
_UNORDERED = 1.1  # the same, where nothing repeats at 4 either
_LOWEST_REFLECTANCE = -1.0  # below it they are decibels, if the file is of 4


def evidence_of_another_width(numbers: NDArray[np.float32]) -> str | None:
    """What shows that a point has another number of numbers, if anything does.

    Numbers of one column are nearer to each other than those of two, in whatever order the points are: so the mean
    difference of numbers is least at the distance of a point's width. Scales are compressed, as metres and intensities
    are far apart. A file whose every fourth number is a reflectance of 0 to 1 is taken as it is.

    Args:
        numbers: of the file, in order.

    Returns:
        The middle of a sentence; None where nothing speaks against four.
    """
    reflectance = numbers[POINT_NUMBERS - 1 :: POINT_NUMBERS]
    if len(numbers) < _TELLING_NUMBERS or ((reflectance >= 0) & (reflectance <= 1)).all():
        return None
    levels = np.arcsinh(numbers[:_LOOKED_AT].astype(np.float64))

    def difference(distance: int) -> float:
        with np.errstate(invalid="ignore"):  # of infinities, which are refused later
            return float(np.abs(levels[distance:] - levels[:-distance]).mean())

    # Beams that alternate make neighbors differ and every other point alike.
    expected = min(difference(POINT_NUMBERS), difference(2 * POINT_NUMBERS))
    found = {width: difference(width) for width in _OTHER_WIDTHS}
    least = min(found.values())
    if least < _REPEATS * expected:
        width = next(width for width, value in found.items() if value < 1.2 * least)  # 3 rather than its double
        return f"its numbers repeat every {width}"
    if float(reflectance.min()) < _LOWEST_REFLECTANCE and least < _UNORDERED * expected:
        low, high = float(reflectance.min()), float(reflectance.max())
        return f"every fourth number is to be a reflectance of 0 to 1, and they run from {low:.4g} to {high:.4g}"
    return None

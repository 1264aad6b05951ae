"""Cameras as users have them, as the numbers of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError

Numbers = Sequence[float] | Sequence[Sequence[float]] | NDArray[Any]
"""Numbers in a row, or a matrix."""


def intrinsics_numbers(value: Numbers, name: str = "intrinsics") -> tuple[float, ...]:
    """`fx, fy, cx, cy` of these four numbers, or of a camera matrix of 3 by 3.

    Raises:
        InvalidInputError: it is a matrix of another kind; what are no numbers at all the options reject.
    """
    array = _array(value, name)
    if array.ndim != 2:
        return tuple(map(float, array))
    if array.shape != (3, 3) or array[0, 1] or array[1, 0] or array[2].tolist() != [0, 0, 1]:
        raise InvalidInputError(
            f"{name} is a matrix of {' x '.join(map(str, array.shape))} that no pinhole has; give fx, fy, cx, cy, or "
            "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    return (float(array[0, 0]), float(array[1, 1]), float(array[0, 2]), float(array[1, 2]))


def extrinsics_numbers(value: Numbers) -> tuple[float, ...]:
    """The twelve numbers of `[R|t]`, from them in a row, or from a matrix of 3 by 4 or 4 by 4.

    Raises:
        InvalidInputError: it is a matrix of another kind.
    """
    array = _array(value, "extrinsics")
    if array.ndim == 2 and array.shape == (4, 4) and array[3].tolist() == [0, 0, 0, 1]:
        array = array[:3]
    if array.ndim == 2 and array.shape != (3, 4):
        raise InvalidInputError(
            f"extrinsics is a matrix of {' x '.join(map(str, array.shape))}; give [R|t], 3 x 4, with t in metres"
        )
    return tuple(map(float, array.ravel()))


def _array(value: Numbers, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name} is {str(value)[:100]!r}, expected numbers") from None
    if array.ndim not in (1, 2):
        raise InvalidInputError(f"{name} is {str(value)[:100]!r}, expected numbers in a row or a matrix")
    return array

"""Reading image files into the arrays of a `Sample`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import DatasetError

# For stored depth without a stated unit, by the type it is stored in.
METRES_PER_UNIT = {"uint16": 0.001, "uint8": 10.0 / 255.0, "float32": 1.0, "float64": 1.0}


@dataclass(frozen=True, kw_only=True)
class LabelCode:
    """The mapping of stored label values to class indices: `void` values are ignored, `offset` is added to all others.

    Negative results are ignored too. Values beyond the classes are left as they are, for the doctor to find.
    """

    offset: int = 0
    void: tuple[int, ...] = (255,)
    ignore_index: int = 255


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """`H W 3` uint8 in RGB order.

    Raises:
        DatasetError: the file is missing or no image.
    """
    image = cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def read_metres(path: Path, metres_per_unit: float | None) -> NDArray[np.float32]:
    """A depth map, `H W` float32 metres, 0 where nothing was measured.

    Args:
        path: an 8-bit, 16-bit or float image, or an `.npy` array.
        metres_per_unit: None takes 16 bits for millimetres, 8 bits for steps of 10 m / 255 and floats for metres.

    Raises:
        DatasetError: the file is missing, no image, or has more than one channel.
    """
    stored = _decoded(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2:
        raise DatasetError(f"{path} is {_described(stored)}; expected one depth channel")
    if metres_per_unit is None:
        if stored.dtype.name not in METRES_PER_UNIT:
            raise DatasetError(f"{path} is {_described(stored)}; expected 8 or 16 bits or floats, or a given unit")
        metres_per_unit = METRES_PER_UNIT[stored.dtype.name]
    metres = stored.astype(np.float32) * np.float32(metres_per_unit)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))


def read_values(path: Path, channels: int, bits: int | None = None) -> NDArray[np.float32]:
    """Stored values as they are: `H W` float32 for one channel, `H W 3` (RGB order) for three.

    One stored channel is repeated where three are wanted; three equal ones are one.

    Args:
        bits: that the network was told the values have; any number if None.

    Raises:
        DatasetError: the file is missing, no image, holds three different channels where one is wanted, or a value
            that has more bits.
    """
    stored = _decoded(path, cv2.IMREAD_UNCHANGED).astype(np.float32)
    if bits is not None and stored.size and np.nanmax(stored) >= 2**bits:
        raise DatasetError(
            f"{path} holds values up to {np.nanmax(stored):g}; expected {bits} bits: say `bits: 16`, and the `range` "
            "your sensor measures in"
        )
    if stored.ndim == 3 and stored.shape[2] >= 3 and path.suffix.lower() != ".npy":
        stored = stored[..., 2::-1]  # OpenCV reads BGR and BGRA
    if channels == 3:
        image = np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else stored
        if image.shape[2] != 3:
            raise DatasetError(f"{path} is {_described(stored)}; expected one or three channels")
        return np.ascontiguousarray(image)
    if stored.ndim == 3:
        if not (stored == stored[..., :1]).all():
            raise DatasetError(f"{path} is {_described(stored)}; expected one channel, or three equal ones")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored)


def read_labels(path: Path, code: LabelCode) -> NDArray[np.uint8]:
    """Class indices, `H W` uint8; of a color image the first channel.

    Raises:
        DatasetError: the file is missing, no image, or holds a class above 255.
    """
    stored = _decoded(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim == 3:
        stored = stored[..., 2 if stored.shape[2] >= 3 else 0]
    if stored.dtype == np.uint8:
        return _label_table(code)[stored]
    values = stored.astype(np.int64)
    if values.size and values.max() > 255:
        raise DatasetError(f"{path} holds label {values.max()}; expected 0 to 255")
    return _label_table(code)[values]


def _label_table(code: LabelCode) -> NDArray[np.uint8]:
    classes = np.arange(256) + code.offset
    classes[list(code.void)] = code.ignore_index
    classes[(classes < 0) | (classes > 255)] = code.ignore_index
    return classes.astype(np.uint8)


def _decoded(path: Path, flags: int) -> NDArray[np.integer | np.floating]:
    if path.suffix.lower() == ".npy":
        try:
            return cast(NDArray[np.floating], np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} is not a readable array ({error}); copy the data set again") from None
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f"{path} is not a readable image; copy the data set again")
    return cast(NDArray[np.integer], image)


def _described(image: NDArray[np.integer | np.floating]) -> str:
    return f"{'x'.join(map(str, image.shape))} {image.dtype}"

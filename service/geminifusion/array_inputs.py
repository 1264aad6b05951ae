"""Images as other libraries hold them (PIL, torch, OpenCV, masked arrays) to plain NumPy arrays.

None of these libraries is imported: what an object is, the module of its type tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError
from .images import PlainImage

_LARGEST = 2**16 - 1
# Modes of PIL whose pixels are numbers of a sensor, and not colors.
_MEASURED_MODES = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N", "L")


def is_image(value: object) -> bool:
    """Whether a value is one of the kinds of images that clients take."""
    return isinstance(value, str | Path | bytes | np.ndarray) or _library(value) in _READERS


def plain_image(value: Any, name: str) -> PlainImage:  # noqa: ANN401 - of any library
    """The image of a modality as a path, as bytes or as a NumPy array.

    Args:
        value: a path; bytes; a NumPy array, masked ones with what they mask as "no measurement"; a PIL image; a torch
            tensor, `C H W` or `H W C`, of any device; an OpenCV UMat. OpenCV's own order of colors cannot be told from
            RGB: give `image[..., ::-1]`.
        name: of the modality.

    Raises:
        InvalidInputError: it is nothing of these, or holds what no image of the modality can.
    """
    reader = None if isinstance(value, np.ndarray) else _READERS.get(_library(value))
    if reader is not None:
        value = reader(value, name)
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(value, name)
    if isinstance(value, str | Path | bytes | np.ndarray):
        return value
    raise InvalidInputError(
        f"{name} is a {type(value).__name__}; give a path, bytes, a NumPy array, a PIL image or a torch tensor"
    )


def _library(value: object) -> str:
    """The library that a value's type, or one that it inherits from, belongs to, if its images are read here."""
    roots = (kind.__module__.partition(".")[0] for kind in type(value).__mro__)
    return next((root for root in roots if root in _READERS), "")


def _from_pil(image: Any, name: str) -> NDArray[Any]:  # noqa: ANN401 - PIL's
    if name == "rgb" or image.mode not in _MEASURED_MODES:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return _narrow(np.asarray(image), name)


def _from_torch(tensor: Any, name: str) -> NDArray[Any]:  # noqa: ANN401 - torch's
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    array = np.asarray(tensor.numpy())
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return _narrow(array, name)


def _from_opencv(image: Any, _: str) -> Any:  # noqa: ANN401 - OpenCV's
    return image.get()


def _narrow(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Whole numbers of more bits than images have, which is how these libraries hold 16 bits, as uint16."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize == 1 or array.dtype == np.uint16 or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > _LARGEST:
        raise InvalidInputError(f"{name} has values from {low} to {high}; give those of 16 bits, 0 to {_LARGEST}")
    return array.astype(np.uint16)


def _unmasked(array: np.ma.MaskedArray[Any, Any], name: str) -> NDArray[Any]:
    masked = int(np.ma.getmaskarray(array).sum())
    if not masked:
        return np.asarray(array.data)
    if array.dtype.kind == "f":
        return np.asarray(array.filled(np.nan))
    if name == "depth":
        return np.asarray(array.filled(0))
    raise InvalidInputError(
        f"{name} is masked at {masked} pixels, and which of its numbers means no measurement only you know: give "
        f"floats, or fill it and name the value by {name}_invalid"
    )


_READERS = {"PIL": _from_pil, "torch": _from_torch, "cv2": _from_opencv}

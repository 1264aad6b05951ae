"""Images as users have them (path, bytes, array) to the bytes of a request field, and back to pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.orientation import TIFF_SIGNATURES, without_orientation
from geminifusion_runtime.png_encoder import encode_png

from .errors import InvalidInputError, requires_extra


class _ArrayInterface(Protocol):
    """What PIL images and torch tensors share with arrays; `array_inputs` reads them."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class _Tensor(Protocol):
    def __array__(self, *arguments: Any) -> NDArray[Any]: ...  # noqa: ANN401 - NumPy's protocol


PlainImage = str | Path | bytes | NDArray[Any]
ImageInput = PlainImage | _ArrayInterface | _Tensor


def image_bytes(image: PlainImage, name: str) -> bytes:
    """The encoded image of one modality.

    Args:
        image: a file, whose content is sent; bytes, sent as they are; or an array: `H W 3` uint8, `H W` uint8 or uint16
            become PNG, without loss; floats and `H W 3` uint16 become npy.
        name: of the modality.

    Raises:
        InvalidInputError: the file cannot be read, or the array is of another shape or type.
    """
    if not isinstance(image, np.ndarray):
        return file_bytes(image, name)
    check_array(image, name)
    image = in_native_order(image)
    if image.dtype == np.uint8 or (image.dtype == np.uint16 and image.ndim == 2):
        return encode_png(image)
    buffer = io.BytesIO()
    stored = image.astype("<f4") if np.issubdtype(image.dtype, np.floating) else image.astype("<u2", copy=False)
    np.save(buffer, stored, allow_pickle=False)
    return buffer.getvalue()


def in_native_order(image: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this machine's byte order; arrays of cameras, PGM and FITS files are often big-endian."""
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def check_array(image: NDArray[Any], name: str) -> None:
    """Check that an array can be the image of a modality.

    Raises:
        InvalidInputError: saying what came and what to give.
    """
    is_color = image.ndim == 3 and image.shape[2] == 3
    if name == "rgb" and not (is_color and image.dtype == np.uint8 and image.size):
        raise InvalidInputError(f"rgb is a {image.dtype} array of shape {image.shape}; give HxWx3 uint8 in RGB order")
    has_values = image.dtype.newbyteorder("=") in (np.uint8, np.uint16) or np.issubdtype(image.dtype, np.floating)
    if not image.size or not has_values or not (is_color or image.ndim == 2):
        raise InvalidInputError(
            f"{name} is a {image.dtype} array of shape {image.shape}; give HxW or HxWx3 of uint8 (a picture), uint16 "
            f"(stored numbers, for distances with {name}_scale, 0.001 for millimetres) or floats (metres for distances)"
        )


def file_bytes(source: str | Path | bytes, name: str) -> bytes:
    """The content of a file, or bytes as they are."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str | Path):
        raise InvalidInputError(f"{name} is a {type(source).__name__}; give a path, bytes or a numpy array")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{name} file {str(source)!r} cannot be read ({error.strerror or error}); check the path"
        ) from None


def stored_values(image: bytes | NDArray[Any]) -> NDArray[Any]:
    """Pixels of an image as stored, `H W` or `H W 3` in RGB order; an EXIF rotation is ignored, as by the service.

    Raises:
        InvalidInputError: the bytes are no image.
        MissingExtraError: OpenCV is not installed.
    """
    if isinstance(image, np.ndarray):
        return in_native_order(image)
    if image.startswith(np.lib.format.MAGIC_PREFIX):
        return in_native_order(np.asarray(np.load(io.BytesIO(image), allow_pickle=False)).squeeze())
    with requires_extra("decoding an image", "client"):
        import cv2
    stored = without_orientation(image) if image[:4] in TIFF_SIGNATURES else image
    pixels = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise InvalidInputError("the image cannot be decoded; give a PNG, JPEG or WebP file")
    return pixels if pixels.ndim == 2 else pixels[..., 2::-1]


def picture(image: bytes | NDArray[Any]) -> NDArray[np.uint8]:
    """An image to draw on, `H W 3` uint8 RGB: distances and stored numbers in false colors, as the service shows them.

    Raises:
        InvalidInputError: the bytes are no image.
        MissingExtraError: OpenCV is not installed, and is needed.
    """
    values = stored_values(image)
    if values.dtype == np.uint8 and values.ndim == 3:
        return values
    with requires_extra("false colors", "client"):
        from geminifusion_runtime.encoding.views import view
    return view(values)

"""Reading image files into the arrays of a `Sample`, by the decoders that the service reads requests with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.task import ModalityEncoding
from geminifusion_model.validation import validated
from geminifusion_runtime.artifact import ModalitySpec
from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.decoding.images import (
    check_pixels,
    check_tiff_compression,
    decode_depth,
    decode_pixels,
    decode_rgb,
)
from geminifusion_runtime.decoding.orientation import read_orientation
from geminifusion_runtime.decoding.pictures import decode_picture
from geminifusion_runtime.errors import DepthScaleRequiredError, GeminiFusionError

MAX_PIXELS = 2**28  # of one file; bounds what a damaged header makes us allocate


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DatasetError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None


def orientation_of(path: Path) -> int:
    """The orientation that a file asks for, which no reader here applies: 1 is as stored.

    Raises:
        DatasetError: it is missing or cannot be read.
    """
    return read_orientation(read_bytes(path))


def unreadable(error: GeminiFusionError) -> str:
    """A decoder's message, which speaks to a client, for whoever owns the file."""
    return str(error).replace("; send ", "; store ")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """`H W 3` uint8 in RGB order, as stored: an EXIF orientation is not applied, for labels do not have it.

    Raises:
        DatasetError: the file is missing, damaged, or of a kind that the service would refuse.
    """
    try:
        return decode_rgb(read_bytes(path), max_pixels=MAX_PIXELS, field=str(path))
    except GeminiFusionError as error:
        raise DatasetError(unreadable(error)) from None


def read_metres(
    path: Path, metres_per_unit: float | None, *, metres_per_step: float | None = None
) -> NDArray[np.float32]:
    """A depth map, `H W` float32 metres, 0 where nothing was measured.

    Args:
        path: an 8-bit or 16-bit image, a float TIFF, or an `.npy` array.
        metres_per_unit: None takes 16 bits for millimetres and floats for metres, as the service does.
        metres_per_step: of 8 bits where `metres_per_unit` is None, in a layout that says so.

    Raises:
        DatasetError: the file is missing, damaged, or of a kind that the service would refuse; so are 8 bits without a
            unit, which cannot be known.
    """
    data = read_bytes(path)
    scale = metres_per_unit
    try:
        if scale is None and metres_per_step is not None and read_header(data, str(path)).bits == 8:
            scale = metres_per_step
        return decode_depth(data, max_pixels=MAX_PIXELS, depth_scale=scale, field=str(path)).metres
    except DepthScaleRequiredError:
        raise DatasetError(
            f"{path} has 8 bits, and nothing says how many metres one step is; give metres_per_unit (10 m over 255 "
            "steps are 0.0392)"
        ) from None
    except GeminiFusionError as error:
        raise DatasetError(unreadable(error)) from None


def read_picture(path: Path, encoding: ModalityEncoding) -> NDArray[np.float32]:
    """Stored values of a sensor as its encoding takes them, `H W` or `H W 3` float32.

    Raises:
        DatasetError: the file is missing or damaged, or has other bits or channels than the encoding says; so would
            the service refuse it.
    """
    data = read_bytes(path)
    try:
        _check_bits(data, path, encoding)
        picture = decode_picture(data, _spec(encoding), max_pixels=MAX_PIXELS)
    except GeminiFusionError as error:
        raise DatasetError(f"{path}: {unreadable(error)}") from None
    return picture.pixels.astype(np.float32)


def read_values(path: Path, channels: int) -> NDArray[np.float32]:
    """Stored values of any number of bits: `H W` float32 for one channel, `H W 3` (RGB order) for three.

    One stored channel is repeated where three are wanted; three equal ones are one. For the layouts of published data
    sets, whose files are what they are.

    Raises:
        DatasetError: the file is missing, damaged, or holds three different channels where one is wanted.
    """
    data = read_bytes(path)
    try:
        header = read_header(data, str(path))
        check_pixels(header, MAX_PIXELS, str(path))
        check_tiff_compression(header, str(path))
        stored = decode_pixels(data, header, str(path)).astype(np.float32)
    except GeminiFusionError as error:
        raise DatasetError(unreadable(error)) from None
    if stored.ndim == 3 and stored.shape[2] != 3:
        raise DatasetError(f"{path} has {header.channels} channels; expected one or three")
    if channels == 3:
        return np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else np.ascontiguousarray(stored)
    if stored.ndim == 3:
        if not (stored == stored[..., :1]).all():
            raise DatasetError(f"{path} has three different channels; expected one, or three equal ones")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored)


def _check_bits(data: bytes, path: Path, encoding: ModalityEncoding) -> None:
    """Refuse a file of other bits than were declared: in training it is the declaration that can be mended."""
    header = read_header(data, encoding.name)
    if encoding.encoding != "raw" or (header.bits == 8) == (encoding.unit == "intensity"):
        return
    if header.bits <= 8:
        raise DatasetError(
            f"{path} has {header.bits} bits, and {encoding.name} is declared with bits: 16; leave bits out"
        )
    check_pixels(header, MAX_PIXELS, encoding.name)
    stored = decode_pixels(data, header, encoding.name)
    raise DatasetError(
        f"{path} has {header.bits} bits, and {encoding.name} is declared with 8, to which it would be clipped; say "
        f"bits: 16, and the range that the sensor measures in (this file has {stored.min():g} to {stored.max():g})"
    )


def _spec(encoding: ModalityEncoding) -> ModalitySpec:
    """The encoding as an artifact carries it."""
    return validated(
        ModalitySpec,
        {
            **dataclasses.asdict(encoding),
            "dtype": "uint8" if encoding.unit == "intensity" else "float32",
            "channels": encoding.channels,
        },
        "modality",
    )

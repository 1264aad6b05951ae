"""The image in a message of `sensor_msgs`, as `load()` and the client take images.

The messages of rosbags, rclpy and rospy have the same fields, so any of them will do.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..images import stored_values
from .rvl import decode_rvl

# Channels as stored, and which of them are red, green and blue.
_COLOR = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8uc3": (3, (2, 1, 0)),  # OpenCV's order, in which drivers without an encoding of their own publish
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8uc1": (1, (0, 0, 0)),
}
_DEPTH: dict[str, np.dtype[Any]] = {"16uc1": np.dtype("u2"), "mono16": np.dtype("u2"), "32fc1": np.dtype("f4")}
# What `compressed_depth_image_transport` puts before the image: its format, and how inverse depth was quantized.
_COMPRESSED_DEPTH = struct.Struct("<iff")


def color_image(message: Any) -> bytes | NDArray[np.uint8]:  # noqa: ANN401 - of any of the libraries
    """The colour image of an `Image` (`H W 3` uint8, RGB) or a `CompressedImage` (the file, as it is).

    Raises:
        InvalidInputError: an encoding that is no colour image, or fewer bytes than the size asks for.
    """
    if is_compressed(message):
        if "compressedDepth" in message.format:
            raise InvalidInputError(f"the colour image is {message.format!r}; name the topic of the colour camera")
        return bytes(message.data)
    if message.encoding.lower() not in _COLOR:
        raise InvalidInputError(
            f"the colour image has encoding {message.encoding!r}, which is none of {', '.join(_COLOR)}; record a "
            "colour topic (image_proc makes one of raw Bayer and YUV images)"
        )
    channels, order = _COLOR[message.encoding.lower()]
    pixels = _rows(message, np.dtype("u1"), channels)
    return np.ascontiguousarray(pixels[..., list(order)])


def depth_image(message: Any) -> bytes | NDArray[np.uint16] | NDArray[np.float32]:  # noqa: ANN401
    """The depth of an `Image` or a `CompressedImage`: integers are millimetres, floats are metres.

    Returns:
        `H W` uint16 or float32, 0 or NaN where nothing was measured; or a PNG of 16 bits, as it is.

    Raises:
        InvalidInputError: an encoding that is no depth, or a message that holds less than it says.
    """
    if is_compressed(message):
        return _compressed_depth(message)
    if message.encoding.lower() not in _DEPTH:
        raise InvalidInputError(
            f"the depth image has encoding {message.encoding!r}; expected 16UC1 (millimetres) or 32FC1 (metres)"
        )
    return np.ascontiguousarray(_rows(message, _DEPTH[message.encoding.lower()], 1)[..., 0])


def is_compressed(message: Any) -> bool:  # noqa: ANN401
    """Whether a message is a `CompressedImage`."""
    return hasattr(message, "format")


def _rows(message: Any, kind: np.dtype[Any], channels: int) -> NDArray[Any]:  # noqa: ANN401
    """The pixels, `H W C`, in this machine's byte order and without the padding of the rows."""
    row_bytes = message.width * channels * kind.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if not message.height or not message.width or message.step < row_bytes or data.size < message.height * message.step:
        raise InvalidInputError(
            f"an image of {message.width}x{message.height} pixels ({message.encoding}) holds {data.size} bytes in rows "
            f"of {message.step}; the recording is damaged there"
        )
    rows = data[: message.height * message.step].reshape(message.height, message.step)[:, :row_bytes]
    stored = np.ascontiguousarray(rows).view(kind.newbyteorder(">" if message.is_bigendian else "<"))
    return stored.reshape(message.height, message.width, channels).astype(kind, copy=False)


def _compressed_depth(message: Any) -> bytes | NDArray[np.uint16] | NDArray[np.float32]:  # noqa: ANN401
    data, encoding = bytes(message.data), message.format.partition(";")[0].strip().lower()
    if "compressedDepth" not in message.format:  # a PNG of 16 bits on the topic of colour images; decoding tells
        return data
    if encoding not in _DEPTH or len(data) <= _COMPRESSED_DEPTH.size:
        raise InvalidInputError(
            f"the compressed depth is {message.format!r} of {len(data)} bytes; expected 16UC1 or 32FC1 with its header"
        )
    _, scale, shift = _COMPRESSED_DEPTH.unpack_from(data)
    file = data[_COMPRESSED_DEPTH.size :]
    is_rvl = "rvl" in message.format.lower()
    if _DEPTH[encoding].kind == "u":
        return decode_rvl(file) if is_rvl else file
    quantized = decode_rvl(file) if is_rvl else stored_values(file)
    with np.errstate(divide="ignore"):
        metres = np.float32(scale) / (quantized.astype(np.float32) - np.float32(shift))
    return np.where(quantized == 0, np.float32("nan"), metres)

"""The arguments of a request as the client takes them, checked and encoded for any transport."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import SegmentOptions, parse_values
from geminifusion_runtime.types import Align, Priority, SensorPolicy

from .errors import InvalidInputError
from .images import ImageInput, depth_bytes, rgb_bytes

Frame = ImageInput | tuple[ImageInput, ImageInput]
"""The rgb alone, or rgb and depth."""


class FrameOptions(TypedDict, total=False):
    """Options of the frames of a stream, as type checkers see them.

    `geminifusion_runtime.options.SegmentOptions` describes each, and a test compares the two. It has `format` and
    `classes` as well, which a client has no use for: a result always has the labels and the classes.
    """

    model: str | None
    depth_scale: float | None
    depth_invalid: float | Sequence[float]
    align: Align
    sensor_policy: SensorPolicy | None
    confidence: bool
    gate: bool
    disagreement: bool
    priority: Priority
    deadline_ms: float | None


class CallOptions(FrameOptions, total=False):
    """Options of a single request, which may have a name as well."""

    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class SegmentCall:
    """One request, ready for any transport.

    Attributes:
        images: the encoded images by modality.
        options: as sent; the request always has an id.
        request_id: the id.
        source: the rgb that the result shows, encoded or `H W 3` uint8.
    """

    images: Mapping[str, bytes]
    options: SegmentOptions
    request_id: str
    source: bytes | NDArray[np.uint8]


def segment_call(rgb: ImageInput, depth: ImageInput | None, options: Mapping[str, Any]) -> SegmentCall:
    """Check and encode the arguments of `Client.segment`.

    Raises:
        InvalidInputError: an image or an option cannot be sent as it is.
    """
    # Naming the request here lets even an error that never reached the server be matched with its log.
    request_id = options.get("request_id") or secrets.token_hex(8)
    checked = checked_options({**options, "request_id": request_id, "format": "json"})
    encoded = rgb_bytes(rgb)
    return SegmentCall(
        images={"rgb": encoded} if depth is None else {"rgb": encoded, "depth": depth_bytes(depth)},
        options=checked,
        request_id=request_id,
        source=rgb if isinstance(rgb, np.ndarray) else encoded,
    )


def frame_call(frame: Frame, options: Mapping[str, Any]) -> SegmentCall:
    """Check and encode one frame of `Client.stream`.

    Raises:
        InvalidInputError: an image or an option cannot be sent as it is.
    """
    rgb, depth = frame if isinstance(frame, tuple) else (frame, None)
    return segment_call(rgb, depth, options)


def checked_options(values: Mapping[str, Any]) -> SegmentOptions:
    """The options of these values.

    Raises:
        InvalidInputError: an unknown name, or a value of the wrong type or out of range.
    """
    try:
        return parse_values(values)
    except InvalidOptionError as error:
        raise InvalidInputError(str(error)) from None

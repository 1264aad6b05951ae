"""The arguments of a request as the client takes them, checked and encoded for any transport."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import OptionSet, unknown_option
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.types import Align, Priority, SensorPolicy

from .array_inputs import is_image, plain_image
from .cameras import Numbers, extrinsics_numbers, intrinsics_numbers
from .errors import InvalidInputError
from .images import ImageInput, image_bytes

T = TypeVar("T", bound=RequestOptions)
Frame = ImageInput | tuple[ImageInput, ImageInput] | Mapping[str, ImageInput]
"""The rgb alone, rgb and depth, or images by modality."""


LOCAL_OPTIONS = (
    "depth_scale",
    "depth_invalid",
    "intrinsics",
    "rgb_intrinsics",
    "extrinsics",
    "align",
    "sensor_policy",
)
"""The options about the images, so that they hold without a server too; those of modalities do as well."""


class FrameOptions(TypedDict, total=False):
    """Options of the frames of a stream, as type checkers see them.

    `geminifusion_runtime.options.SegmentOptions` describes each, and a test compares the two. It has `format`,
    `overlay_on` and `classes` as well, which a client has no use for: a result always has the labels and the classes,
    and draws overlays itself. `NAME_scale` and `NAME_invalid` of other modalities than depth are options as well.
    """

    model: str | None
    depth_scale: float | None
    depth_invalid: float | Sequence[float]
    intrinsics: Numbers
    rgb_intrinsics: Numbers
    extrinsics: Numbers
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
        sources: the images that the result is drawn on, by modality, encoded or as arrays.
    """

    images: Mapping[str, bytes]
    options: SegmentOptions
    request_id: str
    sources: Mapping[str, bytes | NDArray[Any]]


def segment_call(images: Mapping[str, ImageInput], options: Mapping[str, Any]) -> SegmentCall:
    """Check and encode the images, by modality, and options of a request.

    Raises:
        InvalidInputError: an image or an option cannot be sent as it is.
    """
    if not images:
        raise InvalidInputError("no image was given; give one of each modality of the model, such as rgb and depth")
    # Naming the request here lets even an error that never reached the server be matched with its log.
    request_id = options.get("request_id") or secrets.token_hex(8)
    checked = checked_options({**options, "request_id": request_id, "format": "json"})
    plain = {name: plain_image(image, name) for name, image in images.items()}
    encoded = {name: image_bytes(image, name) for name, image in plain.items()}
    return SegmentCall(
        images=encoded,
        options=checked,
        request_id=request_id,
        sources={name: image if isinstance(image, np.ndarray) else encoded[name] for name, image in plain.items()},
    )


def split_arguments(
    rgb: ImageInput | None, depth: ImageInput | None, others: Mapping[str, Any]
) -> tuple[dict[str, ImageInput], dict[str, Any]]:
    """The images by modality, and the options, among the arguments of a call.

    Args:
        rgb, depth: those that have a place of their own; None where there is none.
        others: further images by modality, and options.

    Raises:
        InvalidInputError: a name that is no option, with a value that is no image.
    """
    images = {name: image for name, image in (("rgb", rgb), ("depth", depth)) if image is not None}
    options = {}
    for name, value in others.items():
        if SEGMENT_OPTIONS.has(name):
            options[name] = value
        elif value is not None:
            images[name] = modality_image(name, value, OPTION_NAMES)
    return images, options


def frame_call(frame: Frame, options: Mapping[str, Any]) -> SegmentCall:
    """Check and encode one frame of `Client.stream`.

    Raises:
        InvalidInputError: an image or an option cannot be sent as it is.
    """
    if isinstance(frame, Mapping):
        return segment_call(frame, options)
    rgb, depth = frame if isinstance(frame, tuple) else (frame, None)
    return segment_call(split_arguments(rgb, depth, {})[0], options)


def checked_options(values: Mapping[str, Any]) -> SegmentOptions:
    """The options of these values.

    Raises:
        InvalidInputError: an unknown name, or a value of the wrong type or out of range.
    """
    values = dict(values)
    for name in ("intrinsics", "rgb_intrinsics"):
        if name in values:
            values[name] = intrinsics_numbers(values[name], name)
    if "extrinsics" in values:
        values["extrinsics"] = extrinsics_numbers(values["extrinsics"])
    return parsed(SEGMENT_OPTIONS, values)


def parsed(options: OptionSet[T], values: Mapping[str, Any]) -> T:
    """The options of these values, of any task.

    Raises:
        InvalidInputError: an unknown name, or a value of the wrong type or out of range.
    """
    try:
        return options.parse_values(values)
    except InvalidOptionError as error:
        raise InvalidInputError(str(error)) from None


def modality_image(name: str, value: object, known: Sequence[str]) -> ImageInput:
    """The image of a modality that came by its name, which could as well be a misspelt option.

    Args:
        known: the options.

    Raises:
        InvalidInputError: it is no image, or a path that cannot be read.
    """
    if not is_image(value):
        raise InvalidInputError(
            f"{unknown_option(name, known)}; or, if {name} is a modality of the model, give it as a path, bytes "
            "or an array"
        )
    if isinstance(value, str) and not Path(value).is_file():
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; or did you mean the option {near[0]}?" if near else ""
        raise InvalidInputError(f"{name} file {value!r} cannot be read; check the path{hint}")
    return value  # type: ignore[return-value]  # is_image said so

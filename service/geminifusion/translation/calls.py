"""The arguments of a translation as users have them, checked and encoded for any transport."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.tasks.translation.options import TRANSLATE_OPTIONS, TranslateOptions
from geminifusion_runtime.types import Priority, SensorPolicy

from ..array_inputs import plain_image
from ..errors import InvalidInputError
from ..images import ImageInput, image_bytes
from ..options import modality_image, parsed

LOCAL_OPTIONS = ("depth_scale", "depth_invalid", "align", "sensor_policy")
"""The options that hold without a server too; those of other inputs do as well."""


class TranslationCallOptions(TypedDict, total=False):
    """Options of a translation, as type checkers see them; `TranslateOptions` describes each.

    It has `format` as well, which a client has no use for: a result always has the values themselves.
    """

    model: str | None
    depth_scale: float | None
    depth_invalid: float | Sequence[float]
    align: Literal["none", "resize"]
    sensor_policy: SensorPolicy | None
    priority: Priority
    deadline_ms: float | None
    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class TranslateCall:
    """One request, ready for any transport.

    Attributes:
        images: the encoded images by input.
        options: as sent; the request always has an id.
        request_id: the id.
        sources: the images, encoded or as arrays.
    """

    images: Mapping[str, bytes]
    options: TranslateOptions
    request_id: str
    sources: Mapping[str, bytes | NDArray[Any]]


def split_inputs(arguments: Mapping[str, Any]) -> tuple[dict[str, ImageInput], dict[str, Any]]:
    """The images by input, and the options, among the arguments of a call.

    Raises:
        InvalidInputError: a name that is no option, with a value that is no image.
    """
    images: dict[str, ImageInput] = {}
    options: dict[str, Any] = {}
    for name, value in arguments.items():
        if TRANSLATE_OPTIONS.has(name):
            options[name] = value
        elif value is not None:
            images[name] = modality_image(name, value, TRANSLATE_OPTIONS.names)
    if not images:
        raise InvalidInputError(
            "no image was given; give one of each input of the model, such as rgb and edge_occlusion"
        )
    return images, options


def translate_call(arguments: Mapping[str, Any]) -> TranslateCall:
    """Check and encode the images and options of a request.

    Raises:
        InvalidInputError: an image or an option cannot be sent as it is.
    """
    images, options = split_inputs(arguments)
    # Naming the request here lets even an error that never reached the server be matched with its log.
    request_id = options.get("request_id") or secrets.token_hex(8)
    checked = parsed(TRANSLATE_OPTIONS, {**options, "request_id": request_id, "format": "npy"})
    plain = {name: plain_image(image, name) for name, image in images.items()}
    encoded = {name: image_bytes(image, name) for name, image in plain.items()}
    return TranslateCall(
        images=encoded,
        options=checked,
        request_id=request_id,
        sources={name: image if isinstance(image, np.ndarray) else encoded[name] for name, image in plain.items()},
    )

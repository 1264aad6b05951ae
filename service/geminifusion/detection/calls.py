"""The arguments of a detection as users have them, checked and encoded for any transport."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.decoding.clouds import DecodedCloud, declared_points, decode_cloud
from geminifusion_runtime.detection.calibration import Calibration, decode_calibration
from geminifusion_runtime.errors import GeminiFusionError, TooManyPointsError
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectOptions
from geminifusion_runtime.types import Priority, SensorPolicy

from ..array_inputs import plain_image
from ..errors import InvalidInputError
from ..images import ImageInput, file_bytes, image_bytes
from ..options import parsed
from .results import DetectionSources

CloudInput = str | Path | bytes | NDArray[Any]
"""KITTI's `.bin` or an `.npy` as a path or bytes, or an array `P 4` or `P 3`."""
CalibrationInput = str | Path | bytes | Calibration | Mapping[str, Any]
"""KITTI's text or JSON as a path or bytes, a `Calibration`, or a mapping as JSON has it."""

LOCAL_OPTIONS = ("min_score", "sensor_policy")
"""The options that hold without a server too."""
_MOST_POINTS = 2**24  # of a caller's own cloud; a server has a limit of its own


class DetectionCallOptions(TypedDict, total=False):
    """Options of a detection, as type checkers see them; `DetectOptions` describes each."""

    model: str | None
    min_score: float | None
    sensor_policy: SensorPolicy | None
    priority: Priority
    deadline_ms: float | None
    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class DetectCall:
    """One request, ready for any transport.

    Attributes:
        parts: `rgb`, `points` and `calibration`, encoded.
        options: as sent; the request always has an id.
        request_id: the id.
        sources: what the result is drawn on.
        warnings: about the points as they were given; a server sees only what was made of them.
    """

    parts: Mapping[str, bytes]
    options: DetectOptions
    request_id: str
    sources: DetectionSources
    warnings: tuple[str, ...] = ()

    def all_warnings(self, of_server: Iterable[str]) -> tuple[str, ...]:
        """The warnings of a response and those of the call, each once."""
        return tuple(dict.fromkeys((*of_server, *self.warnings)))


def detect_call(
    rgb: ImageInput, points: CloudInput, calibration: CalibrationInput, options: Mapping[str, Any]
) -> DetectCall:
    """Check and encode the parts and options of a request.

    Raises:
        InvalidInputError: a part or an option cannot be sent as it is.
    """
    # Naming the request here lets even an error that never reached the server be matched with its log.
    request_id = options.get("request_id") or secrets.token_hex(8)
    checked = parsed(DETECT_OPTIONS, {**options, "request_id": request_id, "format": "json"})
    image = plain_image(rgb, "rgb")
    encoded = image_bytes(image, "rgb")
    cloud, found = read_cloud(points), read_calibration(calibration)
    return DetectCall(
        parts={
            "rgb": encoded,
            "points": cloud.points.astype("<f4", copy=False).tobytes(),
            "calibration": strict_json.dumps(found.as_document()).encode(),
        },
        options=checked,
        request_id=request_id,
        sources=DetectionSources(
            rgb=image if isinstance(image, np.ndarray) else encoded, points=cloud.points, calibration=found
        ),
        warnings=cloud.warnings,
    )


def read_cloud(points: CloudInput) -> DecodedCloud:
    """The points of a cloud, `P 4` float32, and what is odd about them.

    Raises:
        InvalidInputError: it cannot be read, is no cloud, or is beyond what anybody records.
    """
    data = points if isinstance(points, np.ndarray) else file_bytes(points, "points")
    try:
        return decode_cloud(data, max_points=_MOST_POINTS)
    except TooManyPointsError:
        raise InvalidInputError(
            f"points has {declared_points(data)} points, expected at most {_MOST_POINTS}; give one sweep"
        ) from None
    except GeminiFusionError as error:
        raise InvalidInputError(str(error)) from None


def read_calibration(calibration: CalibrationInput) -> Calibration:
    """The calibration.

    Raises:
        InvalidInputError: it cannot be read, or is none.
    """
    if isinstance(calibration, Calibration):
        return calibration
    if isinstance(calibration, Mapping):
        try:
            data = strict_json.dumps({name: _plain(value) for name, value in calibration.items()}).encode()
        except TypeError as error:
            raise InvalidInputError(f"calibration holds what is no number ({error}); give lists of numbers") from None
    else:
        data = file_bytes(calibration, "calibration")
    try:
        return decode_calibration(data)
    except GeminiFusionError as error:
        raise InvalidInputError(str(error)) from None


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value

"""Requests and responses of the HTTP interface as pure functions."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.encoding.run_lengths import labels_from_runs
from geminifusion_runtime.option_sets import as_text, given_values
from geminifusion_runtime.printable import escape_in
from geminifusion_runtime.types import SensorHealth

from .errors import InvalidResponseError, ServerError, error_of_status
from .options import SegmentCall
from .response_limits import check_class_count, check_size
from .results import ClassShare, ClassSpace, Result

# What reading a document raises that is not as expected, whatever it holds.
NOT_OURS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def segment_query(call: SegmentCall) -> dict[str, str]:
    """The query of `POST /v1/segment`."""
    return as_text(call.options)


def frame_message(call: SegmentCall) -> bytes:
    """A frame of the WebSocket `/v1/stream`: the length of the header, the header, the images."""
    sizes = {name: len(data) for name, data in call.images.items()}
    header = strict_json.dumps({"images": sizes, **given_values(call.options)}).encode()
    return b"".join((struct.pack("<I", len(header)), header, *call.images.values()))


def result_from_json(body: bytes, call: SegmentCall) -> Result:
    """The result in a response of `format=json`.

    Raises:
        InvalidResponseError: the body is no such response.
    """
    try:
        facts = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise not_ours(error) from error
    return result_from_facts(facts, call)


def result_from_facts(facts: dict[str, Any], call: SegmentCall) -> Result:
    """The result in the JSON object of a response.

    Raises:
        InvalidResponseError: the object is no such response, or one to other images.
    """
    try:
        facts = escape_in(facts)  # type: ignore[assignment]  # an object stays one
        height, width = int(facts["size"]["height"]), int(facts["size"]["width"])
        check_size(height, width, call.sources)
        check_class_count(len(facts["classes"]), len(facts["mask"]["rle"]))
        runs = {int(mask["class_id"]): str(mask["counts"]) for mask in facts["mask"]["rle"]}
        return Result(
            labels=labels_from_runs(runs, height, width),
            classes=tuple(
                ClassShare(
                    id=byte(entry["id"]),
                    name=str(entry["name"]),
                    color=(byte(entry["color"][0]), byte(entry["color"][1]), byte(entry["color"][2])),
                    pixels=int(entry["pixels"]),
                    fraction=float(entry["fraction"]),
                    median_depth_m=_optional_float(entry["median_depth_m"]),
                    nearest_depth_m=_optional_float(entry.get("nearest_depth_m")),
                    space=_space(entry.get("space")),
                )
                for entry in facts["classes"]
            ),
            model=str(facts["model"]),
            confidence=_half_map(facts.get("confidence")),
            gate=_half_map(facts.get("gate")),
            disagreement=_half_map(facts.get("disagreement")),
            modality_weights={
                str(name): weights
                for name, entry in sorted(facts.get("modality_weights", {}).items())
                if (weights := _half_map(entry)) is not None
            },
            sensors={str(name): SensorHealth(**health) for name, health in facts.get("sensors", {}).items()},
            timings_ms={str(stage): float(ms) for stage, ms in facts["timings_ms"].items()},
            warnings=tuple(map(str, facts["warnings"])),
            request_id=str(facts["request_id"]),
            batch_size=int(facts["batch_size"]),
            sources=call.sources,
            posted=call.options,
        )
    except NOT_OURS as error:
        raise not_ours(error) from error


def _space(entry: dict[str, Any] | None) -> ClassSpace | None:
    if entry is None:
        return None
    return ClassSpace(
        points=int(entry["points"]),
        nearest_m=float(entry["nearest_m"]),
        box_min_m=_point(entry["box_min_m"]),
        box_max_m=_point(entry["box_max_m"]),
        area_m2=float(entry["area_m2"]),
        volume_m3=float(entry["volume_m3"]),
    )


def _point(values: list[float]) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def byte(value: Any) -> int:  # noqa: ANN401 - of a response
    """A class index, or one of the three values of a color.

    Raises:
        ValueError: it is out of range.
    """
    if not 0 <= int(value) <= 255:
        raise ValueError(f"{value} is no number from 0 to 255")
    return int(value)


def not_ours(error: Exception) -> InvalidResponseError:
    """The error for a response that does not parse."""
    return InvalidResponseError(
        f"the response is not one of geminifusion's ({type(error).__name__}: {str(error)[:200]}); "
        "check the address, and that client and server are of the same release"
    )


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> ServerError:
    """The error of a response whose status is 400 or above, problem document or not."""
    request_id = headers.get("x-request-id")
    retry_after = seconds(headers.get("retry-after"))
    try:
        problem = json.loads(body)
        detail, code = str(problem["detail"]), str(problem["code"])
        request_id = str(problem["request_id"])
    except NOT_OURS:
        text = body[:200].decode("utf-8", "replace").strip() or "no text"
        return error_of_status(
            f"the server responded {status}: {text}",
            code=None, status=status, request_id=request_id, retry_after=retry_after,
        )  # fmt: skip
    return error_of_status(detail, code=code, status=status, request_id=request_id, retry_after=retry_after)


def seconds(text: str | None) -> float | None:
    """A `Retry-After` in seconds; None for its date form and for what is no number."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _half_map(entry: dict[str, Any] | None) -> NDArray[np.float32] | None:
    if entry is None:
        return None
    if entry["dtype"] != "float16":
        raise ValueError(f"a map of type {entry['dtype']!r}, expected float16")
    return half_map(base64.b64decode(entry["data"], validate=True), entry["shape"])


def half_map(data: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
    """A map `H W` of its float16 values.

    Raises:
        ValueError: it is no map, or not of these values.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"a map of {width}x{height} values")
    return np.frombuffer(data, "<f2").reshape(height, width).astype(np.float32)


def _optional_float(value: float | None) -> float | None:
    return None if value is None else float(value)

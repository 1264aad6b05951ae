"""Responses of `POST /v1/translate` as results."""

from __future__ import annotations

import json
from collections.abc import Mapping

from geminifusion_runtime.printable import escape_controls
from geminifusion_runtime.types import SensorHealth

from ..response_limits import check_size
from ..wire import NOT_OURS, not_ours
from .calls import TranslateCall
from .results import TranslationResult, read_output

_STAGES = ("decode", "queue", "compute", "encode")


def translation_from_response(body: bytes, headers: Mapping[str, str], call: TranslateCall) -> TranslationResult:
    """The result in a response of `format=npy`; `headers` by name in lower case.

    Raises:
        InvalidResponseError: it is no such response, or one to other images.
    """
    try:
        output = read_output(body)
        check_size(output.shape[0], output.shape[1], call.sources, what="an image")
        warnings = json.loads(headers.get("x-geminifusion-warnings", "[]"))
        return TranslationResult(
            output=output,
            domain=escape_controls(headers["x-geminifusion-domain"]),
            model=escape_controls(headers["x-geminifusion-model"]),
            timings_ms={stage: float(headers[f"x-geminifusion-{stage}-ms"]) for stage in _STAGES},
            warnings=tuple(map(escape_controls, warnings)),
            sensors=dict(map(_sensor, filter(None, headers.get("x-geminifusion-sensors", "").split("; ")))),
            request_id=escape_controls(headers["x-request-id"]),
            batch_size=int(headers["x-geminifusion-batch-size"]),
            sources=call.sources,
        )
    except NOT_OURS as error:
        raise not_ours(error) from error


def _sensor(text: str) -> tuple[str, SensorHealth]:
    """`rgb holes=0 saturated=0.1 noise=2` as a name and a state."""
    name, *values = text.split(" ")
    numbers = {key: float(value) for key, _, value in (each.partition("=") for each in values)}
    return escape_controls(name), SensorHealth(
        holes=numbers["holes"], saturated=numbers["saturated"], noise=numbers["noise"]
    )

"""Responses of `POST /v1/detect` as results."""

from __future__ import annotations

import json
from typing import Any

from geminifusion_runtime.detection.results import boxes_from_document
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.printable import escape_in
from geminifusion_runtime.types import SensorHealth

from ..response_limits import check_size
from ..wire import NOT_OURS, not_ours
from .calls import DetectCall
from .results import DetectionResult

MAX_RESPONSE_BYTES = 2**22  # a thousand boxes have half a megabyte


def detection_from_json(body: bytes, call: DetectCall) -> DetectionResult:
    """The result in a response of `format=json`.

    Raises:
        InvalidResponseError: the body is no such response, or one to another image.
    """
    try:
        facts: Any = escape_in(json.loads(body))
        height, width = int(facts["size"]["height"]), int(facts["size"]["width"])
        check_size(height, width, {"rgb": call.sources.rgb}, what="boxes")
        return DetectionResult(
            found=boxes_from_document(facts["boxes"], [str(name) for name in facts["classes"]]),
            size=(height, width),
            num_points=int(facts["num_points"]),
            model=str(facts["model"]),
            timings_ms={str(stage): float(ms) for stage, ms in facts["timings_ms"].items()},
            warnings=call.all_warnings(map(str, facts["warnings"])),
            sensors={str(name): SensorHealth(**health) for name, health in facts.get("sensors", {}).items()},
            request_id=str(facts["request_id"]),
            batch_size=int(facts["batch_size"]),
            grid=GridSettings(**facts["grid"]),
            sources=call.sources,
        )
    except NOT_OURS as error:
        raise not_ours(error) from error

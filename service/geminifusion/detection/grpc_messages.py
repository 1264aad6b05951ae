"""Detections as messages of protos/geminifusion/v1."""

from __future__ import annotations

import numpy as np

from geminifusion_runtime.detection.boxes import BOX_NUMBERS, CameraBoxes
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.selection import Detections
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.printable import escape_controls
from geminifusion_service.api.v1.grpc_options import DETECT_MESSAGES
from geminifusion_service.pb import detection_pb2 as pb

from ..grpc_calls import read_message
from ..grpc_fields import sensors_of
from ..response_limits import check_size
from ..wire import NOT_OURS, not_ours
from .calls import DetectCall
from .results import DetectionResult
from .wire import MAX_RESPONSE_BYTES


def detect_message(call: DetectCall) -> pb.DetectRequest:
    """The request."""
    return pb.DetectRequest(
        rgb=call.parts["rgb"],
        points=call.parts["points"],
        calibration=call.parts["calibration"],
        **DETECT_MESSAGES.fields(call.options),
    )


def detection_from_bytes(data: bytes, call: DetectCall) -> DetectionResult:
    """The result in a response.

    Raises:
        InvalidResponseError: it makes no sense, or is one to another image.
    """
    response = read_message(pb.DetectResponse, data, MAX_RESPONSE_BYTES)
    try:
        check_size(response.height, response.width, {"rgb": call.sources.rgb}, what="boxes")
        return DetectionResult(
            found=_boxes(response),
            size=(response.height, response.width),
            num_points=response.num_points,
            model=escape_controls(response.model),
            timings_ms={field.name: value for field, value in response.timings_ms.ListFields()},
            warnings=call.all_warnings(map(escape_controls, response.warnings)),
            sensors=sensors_of(response.sensors),
            request_id=escape_controls(response.request_id),
            batch_size=response.batch_size,
            grid=GridSettings(
                low=tuple(response.range.low),
                high=tuple(response.range.high),
                pillar_size=tuple(response.range.pillar_size),
            ),
            sources=call.sources,
        )
    except NOT_OURS as error:
        raise not_ours(error) from error


def _boxes(response: pb.DetectResponse) -> FrameBoxes:
    boxes, count = response.boxes, len(response.boxes)
    labels = [box.class_id for box in boxes]
    if any(label >= len(response.classes) for label in labels):
        raise ValueError(f"a box has a class that is none of {len(response.classes)}")
    return FrameBoxes(
        detections=Detections(
            np.array([list(box.lidar) for box in boxes], np.float32).reshape(count, BOX_NUMBERS),
            np.array([box.score for box in boxes], np.float32).reshape(count),
            np.array(labels, np.uint8).reshape(count),
        ),
        camera=CameraBoxes(
            location=np.array([list(box.location) for box in boxes], np.float64).reshape(count, 3),
            dimensions=np.array([list(box.dimensions) for box in boxes], np.float64).reshape(count, 3),
            rotation_y=np.array([box.rotation_y for box in boxes], np.float64).reshape(count),
        ),
        rectangles=np.array([list(box.image) for box in boxes], np.float64).reshape(count, 4),
        alphas=np.array([box.alpha for box in boxes], np.float64).reshape(count),
        class_names=tuple(map(escape_controls, response.classes)),
    )

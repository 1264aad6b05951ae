"""Between our request and answer and the messages of protos/geminifusion/v1."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from geminifusion_service.errors import HTTP_STATUS, InvalidOptionError, ServiceError
from geminifusion_service.exchange import SegmentOptions, SegmentRequest, SegmentResponse
from geminifusion_service.models.model import Model
from geminifusion_service.outputs.masks import MaskFormat
from geminifusion_service.pb import segmentation_pb2 as pb

_FORMATS: dict[pb.MaskFormat, MaskFormat] = {
    pb.MASK_FORMAT_UNSPECIFIED: "png",
    pb.MASK_FORMAT_PNG: "png",
    pb.MASK_FORMAT_PALETTE: "palette",
    pb.MASK_FORMAT_RLE: "json",
    pb.MASK_FORMAT_NPZ: "npz",
    pb.MASK_FORMAT_OVERLAY: "overlay",
}
_NUMBERS = {mask_format: number for number, mask_format in _FORMATS.items()}


def request_from(message: pb.SegmentRequest, *, time_left_s: float | None) -> SegmentRequest:
    """Our request; its deadline is the earlier of the message's and the call's own.

    Raises:
        InvalidOptionError: a value out of range.
    """
    if message.format not in _FORMATS:
        raise InvalidOptionError(f"format is {message.format}, expected one of {pb.MaskFormat.keys()}")
    deadlines = [message.deadline_ms] if message.HasField("deadline_ms") else []
    # A call without deadline may report one of centuries; one that has just passed reports 0 or less.
    if time_left_s is not None and time_left_s < 3600:
        deadlines.append(max(1000 * time_left_s, 0.001))
    return SegmentRequest(
        images=dict(message.images),
        options=SegmentOptions(
            model=message.model or None,
            depth_scale=message.depth_scale if message.HasField("depth_scale") else None,
            format=_FORMATS[message.format],
            confidence=message.confidence,
            gate=message.gate,
            classes=message.classes,
            deadline_ms=min(deadlines, default=None),
            request_id=message.request_id or None,
        ),
    )


def response_message(response: SegmentResponse) -> pb.SegmentResponse:
    """The answer as a message."""
    assert response.format is not None, "a message always carries a file or run lengths"
    timings = response.timings
    message = pb.SegmentResponse(
        model=response.model,
        request_id=response.request_id,
        height=response.height,
        width=response.width,
        format=_NUMBERS[response.format],
        mask=response.mask,
        classes=[
            pb.ClassShare(
                id=share.id,
                name=share.name,
                color=_color(share.color),
                pixels=share.pixels,
                fraction=share.fraction,
                median_depth_m=share.median_depth_m,
            )
            for share in response.classes
        ],
        rle=[pb.RunLengths(class_id=runs.class_id, counts=runs.counts) for runs in response.rle],
        timings_ms=pb.Timings(
            decode=timings.decode, queue=timings.queue, compute=timings.compute, encode=timings.encode
        ),
        batch_size=response.batch_size,
        warnings=response.warnings,
    )
    if response.confidence is not None:
        message.confidence.CopyFrom(_plane(response.confidence))
    if response.gate is not None:
        message.gate.CopyFrom(_plane(response.gate))
    return message


def error_message(error: ServiceError) -> pb.Error:
    """The error as one frame of a stream has it."""
    return pb.Error(
        code=error.code,
        message=str(error),
        http_status=int(HTTP_STATUS[type(error)]),
        retry_after_s=error.retry_after_s,
    )


def model_message(model: Model) -> pb.ModelDescription:
    """A model as the listing has it."""
    metadata = model.metadata
    return pb.ModelDescription(
        name=metadata.name,
        version=metadata.version,
        classes=[
            pb.ClassDescription(id=spec.id, name=spec.name, color=_color(spec.color)) for spec in metadata.classes
        ],
        json=json.dumps(model.description()),
    )


def _color(color: tuple[int, int, int]) -> pb.Color:
    red, green, blue = color
    return pb.Color(red=red, green=green, blue=blue)


def _plane(values: NDArray[np.float16]) -> pb.Plane:
    height, width = values.shape
    return pb.Plane(height=height, width=width, float16=values.astype("<f2", copy=False).tobytes())

"""Requests and responses as messages of protos/geminifusion/v1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact import SegmentationMetadata
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
from geminifusion_service.models.description import describe_model
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.request import SegmentResponse, TaskRequest, TaskResponse

_MIN_GZIP_BYTES = 8192  # bytes of run lengths and maps


def request_from(message: pb.SegmentRequest, *, milliseconds_left: float | None) -> TaskRequest:
    """The request in a message; its deadline is the earlier of the message's and the call's own.

    Raises:
        InvalidOptionError: a value out of range.
    """
    options = SEGMENT_MESSAGES.parse(message, milliseconds_left=milliseconds_left)
    return TaskRequest(parts=dict(message.images), options=options)


def gains_from_gzip(message: pb.SegmentResponse) -> bool:
    """Whether compressing a response is worth the time: run lengths and maps shrink, files are compressed already."""
    return not message.mask and message.ByteSize() >= _MIN_GZIP_BYTES


def response_message(response: SegmentResponse) -> pb.SegmentResponse:
    """The response as a message."""
    assert response.format is not None, "a message always carries a file or run lengths"
    message = pb.SegmentResponse(
        model=response.model,
        request_id=response.request_id,
        height=response.height,
        width=response.width,
        format=SEGMENT_MESSAGES.number("format", response.format),
        mask=response.mask,
        classes=[
            pb.ClassShare(
                id=share.id,
                name=share.name,
                color=_color(share.color),
                pixels=share.pixels,
                fraction=share.fraction,
                median_depth_m=share.median_depth_m,
                nearest_depth_m=share.nearest_depth_m,
                space=None if share.space is None else pb.ClassSpace(**vars(share.space)),
            )
            for share in response.classes
        ],
        rle=[pb.RunLengths(class_id=runs.class_id, counts=runs.counts) for runs in response.rle],
        timings_ms=timings_message(response),
        batch_size=response.batch_size,
        warnings=response.warnings,
        sensors=sensors_message(response),
    )
    if response.confidence is not None:
        message.confidence.CopyFrom(_plane(response.confidence))
    if response.gate is not None:
        message.gate.CopyFrom(_plane(response.gate))
    if response.disagreement is not None:
        message.disagreement.CopyFrom(_plane(response.disagreement))
    for name, weights in response.modality_weights.items():
        message.modality_weights[name].CopyFrom(_plane(weights))
    return message


def timings_message(response: TaskResponse) -> pb.Timings:
    """Milliseconds of each stage."""
    return pb.Timings(**vars(response.timings))


def sensors_message(response: TaskResponse) -> dict[str, pb.SensorHealth]:
    """Health of each sensor by modality name."""
    return {
        name: pb.SensorHealth(holes=one.holes, saturated=one.saturated, noise=one.noise, problem=one.problem)
        for name, one in response.sensors.items()
    }


def error_message(error: GeminiFusionError) -> pb.Error:
    """The error of one frame of a stream."""
    return pb.Error(
        code=error.code,
        message=str(error),
        http_status=int(error.http_status),
        retry_after_s=error.retry_after_s,
    )


def model_message(model: Model) -> pb.ModelDescription:
    """A model for the list of models."""
    metadata = model.metadata
    return pb.ModelDescription(
        name=metadata.name,
        version=metadata.version,
        classes=[
            pb.ClassDescription(id=spec.id, name=spec.name, color=_color(spec.color))
            for spec in (metadata.classes if isinstance(metadata, SegmentationMetadata) else ())
        ],
        json=strict_json.dumps(describe_model(model)),
    )


def _color(color: tuple[int, int, int]) -> pb.Color:
    red, green, blue = color
    return pb.Color(red=red, green=green, blue=blue)


def _plane(values: NDArray[np.float16]) -> pb.Plane:
    height, width = values.shape
    return pb.Plane(height=height, width=width, float16=values.astype("<f2", copy=False).tobytes())

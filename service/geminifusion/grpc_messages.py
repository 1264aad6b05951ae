"""Segmentations as messages of protos/geminifusion/v1."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.encoding.run_lengths import labels_from_runs
from geminifusion_runtime.printable import escape_controls, escape_in
from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
from geminifusion_service.pb import segmentation_pb2 as pb

from .errors import InvalidResponseError
from .grpc_calls import read_message
from .grpc_fields import sensors_of
from .options import SegmentCall
from .response_limits import MAX_DOCUMENT_BYTES, check_class_count, check_size, max_response_bytes
from .results import ClassShare, ClassSpace, Result
from .wire import NOT_OURS, byte, half_map, not_ours


def segment_message(call: SegmentCall, *, supersedable: bool = False) -> pb.SegmentRequest:
    """The request, or a frame of a stream."""
    return pb.SegmentRequest(images=call.images, supersedable=supersedable, **SEGMENT_MESSAGES.fields(call.options))


def models_from_bytes(data: bytes) -> list[dict[str, Any]]:
    """The models of a response.

    Raises:
        InvalidResponseError: it is no list of models.
    """
    response = read_message(pb.ListModelsResponse, data, MAX_DOCUMENT_BYTES)
    try:
        return [dict(escape_in(json.loads(model.json))) for model in response.models]  # type: ignore[call-overload]
    except NOT_OURS:
        raise InvalidResponseError("the list of models is not one of geminifusion's; check the address") from None


def result_from_bytes(data: bytes, call: SegmentCall) -> Result:
    """The result in a response.

    Raises:
        InvalidResponseError: it is no such response, or one to other images.
    """
    return result_from_message(read_message(pb.SegmentResponse, data, max_response_bytes(call.sources)), call)


def result_from_message(response: pb.SegmentResponse, call: SegmentCall) -> Result:
    """The result in a message.

    Raises:
        InvalidResponseError: it makes no sense, or is one to other images.
    """
    try:
        check_size(response.height, response.width, call.sources)
        check_class_count(len(response.classes), len(response.rle))
        return _checked_result(response, call)
    except NOT_OURS as error:
        raise not_ours(error) from error


def _checked_result(response: pb.SegmentResponse, call: SegmentCall) -> Result:
    return Result(
        labels=labels_from_runs({runs.class_id: runs.counts for runs in response.rle}, response.height, response.width),
        classes=tuple(
            ClassShare(
                id=byte(share.id),
                name=escape_controls(share.name),
                color=(byte(share.color.red), byte(share.color.green), byte(share.color.blue)),
                pixels=share.pixels,
                fraction=share.fraction,
                median_depth_m=share.median_depth_m if share.HasField("median_depth_m") else None,
                nearest_depth_m=share.nearest_depth_m if share.HasField("nearest_depth_m") else None,
                space=_space(share.space) if share.HasField("space") else None,
            )
            for share in response.classes
        ),
        model=escape_controls(response.model),
        confidence=_plane(response.confidence) if response.HasField("confidence") else None,
        gate=_plane(response.gate) if response.HasField("gate") else None,
        disagreement=_plane(response.disagreement) if response.HasField("disagreement") else None,
        # sorted, because a map of a message has no order
        modality_weights={
            escape_controls(name): _plane(response.modality_weights[name]) for name in sorted(response.modality_weights)
        },
        sensors=sensors_of(response.sensors),
        timings_ms={field.name: value for field, value in response.timings_ms.ListFields()},
        warnings=tuple(map(escape_controls, response.warnings)),
        request_id=escape_controls(response.request_id),
        batch_size=response.batch_size,
        sources=call.sources,
        posted=call.options,
    )


def _space(space: pb.ClassSpace) -> ClassSpace:
    (left, top, front), (right, bottom, back) = space.box_min_m, space.box_max_m
    return ClassSpace(
        points=space.points,
        nearest_m=space.nearest_m,
        box_min_m=(left, top, front),
        box_max_m=(right, bottom, back),
        area_m2=space.area_m2,
        volume_m3=space.volume_m3,
    )


def _plane(plane: pb.Plane) -> NDArray[np.float32]:
    return half_map(plane.float16, (plane.height, plane.width))

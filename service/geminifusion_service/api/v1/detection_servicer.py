"""`geminifusion.v1.Detection`: translates between messages and the segmenter."""

from __future__ import annotations

import grpc

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.api.v1.grpc_call import GrpcCalls
from geminifusion_service.api.v1.grpc_messages import sensors_message, timings_message
from geminifusion_service.api.v1.grpc_options import DETECT_MESSAGES
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pb import detection_pb2 as pb
from geminifusion_service.pb import detection_pb2_grpc
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import DetectResponse, TaskRequest, detect_response_of
from geminifusion_service.transport.grpc.call_admission import current_ticket, milliseconds_left
from geminifusion_service.transport.grpc.status import abort

DETECTION_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Detection"].full_name
_PARTS = ("rgb", "points", "calibration")


class DetectionServicer(detection_pb2_grpc.DetectionServicer):
    """The calls of the service."""

    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._calls = GrpcCalls(segmenter, metrics)

    async def Detect(self, request: pb.DetectRequest, context: grpc.aio.ServicerContext) -> pb.DetectResponse:
        """Detect objects in one frame."""
        try:
            response = await self._calls.respond(
                lambda: TaskRequest(
                    parts={name: content for name in _PARTS if (content := getattr(request, name))},
                    options=DETECT_MESSAGES.parse(request, milliseconds_left=milliseconds_left(context)),
                ),
                request.request_id,
                current_ticket(),
                lambda made: response_message(detect_response_of(made)),
            )
        except GeminiFusionError as error:
            await abort(context, error)
        if response.file:
            context.disable_next_message_compression()  # it is compressed already
        return response


def response_message(response: DetectResponse) -> pb.DetectResponse:
    """The response as a message."""
    assert response.format is not None, "a message always has a format"
    found, grid = response.found, response.grid
    boxes, scores, labels = found.detections
    return pb.DetectResponse(
        model=response.model,
        request_id=response.request_id,
        height=response.height,
        width=response.width,
        num_points=response.num_points,
        classes=found.class_names,
        boxes=[
            pb.Box(
                class_id=int(labels[index]),
                score=float(scores[index]),
                lidar=boxes[index].tolist(),
                location=found.camera.location[index].tolist(),
                dimensions=found.camera.dimensions[index].tolist(),
                rotation_y=float(found.camera.rotation_y[index]),
                alpha=float(found.alphas[index]),
                image=found.rectangles[index].tolist(),
            )
            for index in range(len(found))
        ],
        file=response.file,
        format=DETECT_MESSAGES.number("format", response.format),
        range=pb.Range(low=grid.low, high=grid.high, pillar_size=grid.pillar_size),
        timings_ms=timings_message(response),
        batch_size=response.batch_size,
        warnings=response.warnings,
        sensors=sensors_message(response),
    )

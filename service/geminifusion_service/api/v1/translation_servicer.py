"""`geminifusion.v1.Translation`: translates between messages and the segmenter."""

from __future__ import annotations

import grpc

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.tasks.translation.encoding import DEPTH_SCALE
from geminifusion_service.api.v1.grpc_call import GrpcCalls
from geminifusion_service.api.v1.grpc_messages import sensors_message, timings_message
from geminifusion_service.api.v1.grpc_options import TRANSLATE_MESSAGES
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pb import translation_pb2 as pb
from geminifusion_service.pb import translation_pb2_grpc
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest, TranslateResponse, translate_response_of
from geminifusion_service.transport.grpc.call_admission import current_ticket, milliseconds_left
from geminifusion_service.transport.grpc.status import abort

TRANSLATION_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Translation"].full_name


class TranslationServicer(translation_pb2_grpc.TranslationServicer):
    """The calls of the service."""

    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._calls = GrpcCalls(segmenter, metrics)

    async def Translate(self, request: pb.TranslateRequest, context: grpc.aio.ServicerContext) -> pb.TranslateResponse:
        """Translate one view."""
        try:
            response = await self._calls.respond(
                lambda: TaskRequest(
                    parts=dict(request.images),
                    options=TRANSLATE_MESSAGES.parse(request, milliseconds_left=milliseconds_left(context)),
                ),
                request.request_id,
                current_ticket(),
                lambda made: response_message(translate_response_of(made)),
            )
        except GeminiFusionError as error:
            await abort(context, error)
        context.disable_next_message_compression()  # files are compressed already, or on a fast network
        return response


def response_message(response: TranslateResponse) -> pb.TranslateResponse:
    """The response as a message."""
    assert response.format is not None, "a message always has a format"
    scaled = response.output.ndim == 2 and response.format == "png"
    return pb.TranslateResponse(
        model=response.model,
        request_id=response.request_id,
        height=response.height,
        width=response.width,
        format=TRANSLATE_MESSAGES.number("format", response.format),
        domain=response.domain,
        file=response.file,
        depth_scale=DEPTH_SCALE if scaled else None,
        timings_ms=timings_message(response),
        batch_size=response.batch_size,
        warnings=response.warnings,
        sensors=sensors_message(response),
    )

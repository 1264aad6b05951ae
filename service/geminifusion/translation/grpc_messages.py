"""Translations as messages of protos/geminifusion/v1."""

from __future__ import annotations

from geminifusion_runtime.printable import escape_controls
from geminifusion_service.api.v1.grpc_options import TRANSLATE_MESSAGES
from geminifusion_service.pb import translation_pb2 as pb

from ..grpc_calls import read_message
from ..grpc_fields import sensors_of
from ..response_limits import check_size, max_response_bytes
from ..wire import NOT_OURS, not_ours
from .calls import TranslateCall
from .results import TranslationResult, read_output


def translate_message(call: TranslateCall) -> pb.TranslateRequest:
    """The request."""
    return pb.TranslateRequest(images=call.images, **TRANSLATE_MESSAGES.fields(call.options))


def translation_from_bytes(data: bytes, call: TranslateCall) -> TranslationResult:
    """The result in a response.

    Raises:
        InvalidResponseError: it makes no sense, or is one to other images.
    """
    response = read_message(pb.TranslateResponse, data, max_response_bytes(call.sources))
    try:
        output = read_output(response.file)
        check_size(output.shape[0], output.shape[1], call.sources, what="an image")
        return TranslationResult(
            output=output,
            domain=escape_controls(response.domain),
            model=escape_controls(response.model),
            timings_ms={field.name: value for field, value in response.timings_ms.ListFields()},
            warnings=tuple(map(escape_controls, response.warnings)),
            sensors=sensors_of(response.sensors),
            request_id=escape_controls(response.request_id),
            batch_size=response.batch_size,
            sources=call.sources,
        )
    except NOT_OURS as error:
        raise not_ours(error) from error

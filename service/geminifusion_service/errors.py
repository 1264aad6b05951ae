"""Errors that only a server raises, beside those of the runtime, which have the same base.

GeminiFusionError
├── BadRequestError
│   ├── EmptyBodyError
│   └── MalformedBodyError
├── TooLargeError
│   └── BodyTooLargeError
├── UnsupportedTypeError
│   └── UnsupportedBodyError
├── NotFoundError
│   └── ModelNotFoundError
├── UnauthenticatedError        no API key, or an unknown one
├── ForbiddenError              not allowed by the operator
├── RateLimitedError            beyond the rate of this key; retry later
├── MethodNotAllowedError
├── MisdirectedRequestError     for another host than this server
├── BodyTimeoutError            the body did not arrive in time
├── DeadlineExceededError       the client's own deadline passed
├── ModelLoadError              a load by request that failed; what served before still does
│   └── ModelMemoryError
├── FrameSupersededError        a newer frame of the same stream replaced this one
├── QueueFullError              rejected at once; retry later
├── NotReadyError               starting or stopping; retry elsewhere or later
├── EngineLostError             the engine's process died with this request; retry
├── DecoderLostError            the processes that decoded this request's images died; retry once
└── InternalError               a defect of the server; the log has the traceback
    └── EngineFailedError       the runtime failed on this very item

Standard library only: the gRPC client imports it for the HTTP status of each code.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from geminifusion_runtime.errors import BadRequestError, GeminiFusionError, TooLargeError, UnsupportedTypeError


class EmptyBodyError(BadRequestError):
    """The request has no body."""

    code = "empty_body"


class MalformedBodyError(BadRequestError):
    """The body is not what its content type says."""

    code = "malformed_body"


class BodyTooLargeError(TooLargeError):
    """More bytes than this server accepts."""

    code = "body_too_large"


class UnsupportedBodyError(UnsupportedTypeError):
    """A content type of the request that is not supported."""

    code = "unsupported_media_type"


class NotFoundError(GeminiFusionError):
    """No such path."""

    code = "not_found"
    http_status = HTTPStatus.NOT_FOUND
    grpc_status = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """No such model here."""

    code = "model_not_found"


class UnauthenticatedError(GeminiFusionError):
    """No API key came, or an unknown one."""

    code = "unauthenticated"
    http_status = HTTPStatus.UNAUTHORIZED
    grpc_status = "UNAUTHENTICATED"


class ForbiddenError(GeminiFusionError):
    """Not allowed by the operator."""

    code = "forbidden"
    http_status = HTTPStatus.FORBIDDEN
    grpc_status = "PERMISSION_DENIED"


class RateLimitedError(GeminiFusionError):
    """More requests with one key than its rate allows."""

    code = "rate_limited"
    http_status = HTTPStatus.TOO_MANY_REQUESTS
    grpc_status = "RESOURCE_EXHAUSTED"
    retry_after_s = 1


class MethodNotAllowedError(GeminiFusionError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    http_status = HTTPStatus.METHOD_NOT_ALLOWED
    grpc_status = "UNIMPLEMENTED"


class MisdirectedRequestError(GeminiFusionError):
    """The host that the request names is none of this server's names."""

    code = "misdirected_request"
    http_status = HTTPStatus.MISDIRECTED_REQUEST
    grpc_status = "INVALID_ARGUMENT"


class BodyTimeoutError(GeminiFusionError):
    """The body took too long to arrive."""

    code = "body_timeout"
    http_status = HTTPStatus.REQUEST_TIMEOUT
    grpc_status = "DEADLINE_EXCEEDED"


class DeadlineExceededError(GeminiFusionError):
    """The deadline that the client set has passed."""

    code = "deadline_exceeded"
    http_status = HTTPStatus.GATEWAY_TIMEOUT
    grpc_status = "DEADLINE_EXCEEDED"


class ModelLoadError(GeminiFusionError):
    """A model could not be loaded; what served before still does."""

    code = "model_load_failed"
    http_status = HTTPStatus.CONFLICT
    grpc_status = "FAILED_PRECONDITION"


class ModelMemoryError(ModelLoadError):
    """A model does not fit into the memory that all models may take together."""

    code = "model_memory"


class FrameSupersededError(GeminiFusionError):
    """A newer frame of the stream came before work on this one had begun, and the client had asked for the newest."""

    code = "frame_superseded"
    http_status = HTTPStatus.CONFLICT
    grpc_status = "ABORTED"


class QueueFullError(GeminiFusionError):
    """The server holds as many requests as its limits allow."""

    code = "queue_full"
    http_status = HTTPStatus.TOO_MANY_REQUESTS
    grpc_status = "RESOURCE_EXHAUSTED"
    retry_after_s = 1


class NotReadyError(GeminiFusionError):
    """No model is loaded and warm yet, or the server is stopping."""

    code = "not_ready"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    grpc_status = "UNAVAILABLE"
    retry_after_s = 1


class EngineLostError(GeminiFusionError):
    """The process of the engine died while it ran this request, or keeps dying; the next one is being started."""

    code = "engine_lost"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    grpc_status = "UNAVAILABLE"
    retry_after_s = 1


class DecoderLostError(GeminiFusionError):
    """Two processes died while they decoded the images of this request."""

    code = "decoder_lost"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    grpc_status = "UNAVAILABLE"
    retry_after_s = 1


class InternalError(GeminiFusionError):
    """A defect of the server; the text reveals nothing internal."""

    code = "internal"


class EngineFailedError(InternalError):
    """The runtime failed on this item, even when it ran alone."""

    code = "engine_failed"


def _below(error: type[GeminiFusionError]) -> Iterator[type[GeminiFusionError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


ERRORS: Final = {error.code: error for error in _below(GeminiFusionError)}
"""Every error by its code, those of the runtime included; parents before children."""


def public_error(error: BaseException) -> GeminiFusionError:
    """The error that a client may see: `error` itself if it is one of the tree, else one that reveals nothing."""
    if isinstance(error, GeminiFusionError):
        return error
    return InternalError("the server failed on this request; report it with the request id")

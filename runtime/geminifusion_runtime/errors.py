"""Every error a client can meet, and what it is called on each transport.

ServiceError
├── BadRequestError             the request itself cannot be read
│   ├── EmptyBodyError
│   ├── MalformedBodyError
│   ├── MissingPartError
│   ├── UnknownPartError
│   ├── InvalidOptionError
│   └── UndecodableImageError
├── TooLargeError               a limit of this server
│   ├── BodyTooLargeError
│   └── ImageTooLargeError
├── UnsupportedTypeError        well formed, but of a kind we do not read
│   ├── UnsupportedBodyError
│   └── UnsupportedImageError
├── UnprocessableError          each part is readable, together they make no sense
│   ├── SizeMismatchError
│   ├── ImageTooSmallError
│   ├── SizeNotServedError
│   ├── SensorBrokenError
│   └── DepthScaleRequiredError
├── NotFoundError
│   └── ModelNotFoundError
├── UnauthenticatedError        no key, or one that is not known
├── ForbiddenError              the operator has not allowed this
├── RateLimitedError            this key asks more often than it may; retry later
├── MethodNotAllowedError
├── BodyTimeoutError            the body did not arrive in time
├── DeadlineExceededError       the client's own deadline passed
├── ModelLoadError              an operator's load that came to nothing; what served before still does
│   └── ModelMemoryError
├── FrameSupersededError        a stream's own newer frame took the place of this one
├── QueueFullError              refused at once; retry later
├── NotReadyError               starting or stopping; retry elsewhere or later
├── EngineLostError             the engine's process died with this request; retry
├── DecoderLostError            the process that decoded this request's images died; retry once
└── InternalError               our fault; the log has the traceback
    └── EngineError             the runtime failed on this very item

Only these show their text to clients. The `code` of a class is part of the public interface and never
changes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar, Final


class ServiceError(Exception):
    """Base of the tree. The message says what came, what was expected, and what to do."""

    code: ClassVar[str] = "internal"
    retry_after_s: int | None = None

    @property
    def title(self) -> str:
        """The code in words, the same for every error of a class."""
        return self.code.replace("_", " ").capitalize()


class BadRequestError(ServiceError):
    """The request cannot be read."""

    code = "bad_request"


class EmptyBodyError(BadRequestError):
    """Nothing was posted."""

    code = "empty_body"


class MalformedBodyError(BadRequestError):
    """The body is not what its content type says."""

    code = "malformed_body"


class MissingPartError(BadRequestError):
    """A modality the model needs was not sent."""

    code = "missing_part"


class UnknownPartError(BadRequestError):
    """A part the model has no input for."""

    code = "unknown_part"


class InvalidOptionError(BadRequestError):
    """An option nobody knows, or a value outside its range."""

    code = "invalid_option"


class UndecodableImageError(BadRequestError):
    """Not an image, or one that is cut short or damaged."""

    code = "undecodable_image"


class TooLargeError(ServiceError):
    """Beyond a limit of this server."""

    code = "too_large"


class BodyTooLargeError(TooLargeError):
    """More bytes than this server accepts."""

    code = "body_too_large"


class ImageTooLargeError(TooLargeError):
    """More pixels than this server decodes; known from the header alone."""

    code = "image_too_large"


class UnsupportedTypeError(ServiceError):
    """A format we do not read."""

    code = "unsupported_type"


class UnsupportedBodyError(UnsupportedTypeError):
    """The content type of the request."""

    code = "unsupported_media_type"


class UnsupportedImageError(UnsupportedTypeError):
    """A readable image of a kind that would have to be guessed at: CMYK, 16-bit colour, animated."""

    code = "unsupported_image"


class UnprocessableError(ServiceError):
    """The parts are readable but do not fit each other or the model."""

    code = "unprocessable"


class SizeMismatchError(UnprocessableError):
    """The modalities differ in size."""

    code = "size_mismatch"


class ImageTooSmallError(UnprocessableError):
    """A side is below what the model takes."""

    code = "image_too_small"


class SizeNotServedError(UnprocessableError):
    """The runtime was built for a range of sizes and this one is outside."""

    code = "size_not_served"


class SensorBrokenError(UnprocessableError):
    """A frame no working sensor delivers, where the policy is not to answer it."""

    code = "sensor_broken"


class DepthScaleRequiredError(UnprocessableError):
    """8-bit depth, whose unit cannot be known."""

    code = "depth_scale_required"


class NotFoundError(ServiceError):
    """No such path."""

    code = "not_found"


class ModelNotFoundError(NotFoundError):
    """No such model here."""

    code = "model_not_found"


class UnauthenticatedError(ServiceError):
    """No API key came, or one that is not known."""

    code = "unauthenticated"


class RateLimitedError(ServiceError):
    """One key asks more often than it may."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ForbiddenError(ServiceError):
    """The operator has not allowed this."""

    code = "forbidden"


class MethodNotAllowedError(ServiceError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class BodyTimeoutError(ServiceError):
    """The body took too long to arrive."""

    code = "body_timeout"


class DeadlineExceededError(ServiceError):
    """The deadline the client set has passed."""

    code = "deadline_exceeded"


class ModelLoadError(ServiceError):
    """A model could not be loaded; what served before still does."""

    code = "model_load_failed"


class ModelMemoryError(ModelLoadError):
    """A model does not fit into what models may take together."""

    code = "model_memory"


class FrameSupersededError(ServiceError):
    """A newer frame of the stream came before work on this one had begun, as the client had asked for."""

    code = "frame_superseded"


class QueueFullError(ServiceError):
    """As many requests as the server will hold are being worked on."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReadyError(ServiceError):
    """No model is loaded and warm yet, or the server is stopping."""

    code = "not_ready"
    retry_after_s = 1


class EngineLostError(ServiceError):
    """The process of the engine died while it ran this request, or keeps dying; the next one is being started."""

    code = "engine_lost"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DecoderLostError(ServiceError):
    """Two processes died while they decoded the images of this request."""

    code = "decoder_lost"
    retry_after_s = 1


class InternalError(ServiceError):
    """Our fault; the text tells nothing of the inside."""

    code = "internal"


class EngineError(InternalError):
    """The runtime failed on this item, also when it ran alone."""

    code = "engine_failed"


HTTP_STATUS: Final[dict[type[ServiceError], HTTPStatus]] = {
    ServiceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    BadRequestError: HTTPStatus.BAD_REQUEST,
    EmptyBodyError: HTTPStatus.BAD_REQUEST,
    MalformedBodyError: HTTPStatus.BAD_REQUEST,
    MissingPartError: HTTPStatus.BAD_REQUEST,
    UnknownPartError: HTTPStatus.BAD_REQUEST,
    InvalidOptionError: HTTPStatus.BAD_REQUEST,
    UndecodableImageError: HTTPStatus.BAD_REQUEST,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnsupportedBodyError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnsupportedImageError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnprocessableError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SizeMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImageTooSmallError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SizeNotServedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SensorBrokenError: HTTPStatus.UNPROCESSABLE_ENTITY,
    DepthScaleRequiredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ModelNotFoundError: HTTPStatus.NOT_FOUND,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
    ModelLoadError: HTTPStatus.CONFLICT,
    ModelMemoryError: HTTPStatus.CONFLICT,
    FrameSupersededError: HTTPStatus.CONFLICT,
    QueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineLostError: HTTPStatus.SERVICE_UNAVAILABLE,
    DecoderLostError: HTTPStatus.SERVICE_UNAVAILABLE,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# Names of grpc.StatusCode members: this file stays on the standard library.
GRPC_STATUS: Final[dict[type[ServiceError], str]] = {
    ServiceError: "INTERNAL",
    BadRequestError: "INVALID_ARGUMENT",
    EmptyBodyError: "INVALID_ARGUMENT",
    MalformedBodyError: "INVALID_ARGUMENT",
    MissingPartError: "INVALID_ARGUMENT",
    UnknownPartError: "INVALID_ARGUMENT",
    InvalidOptionError: "INVALID_ARGUMENT",
    UndecodableImageError: "INVALID_ARGUMENT",
    # RESOURCE_EXHAUSTED would tell clients to try the same bytes again.
    TooLargeError: "INVALID_ARGUMENT",
    BodyTooLargeError: "INVALID_ARGUMENT",
    ImageTooLargeError: "INVALID_ARGUMENT",
    UnsupportedTypeError: "INVALID_ARGUMENT",
    UnsupportedBodyError: "INVALID_ARGUMENT",
    UnsupportedImageError: "INVALID_ARGUMENT",
    UnprocessableError: "INVALID_ARGUMENT",
    SizeMismatchError: "INVALID_ARGUMENT",
    ImageTooSmallError: "INVALID_ARGUMENT",
    SizeNotServedError: "INVALID_ARGUMENT",
    SensorBrokenError: "INVALID_ARGUMENT",
    DepthScaleRequiredError: "INVALID_ARGUMENT",
    NotFoundError: "NOT_FOUND",
    ModelNotFoundError: "NOT_FOUND",
    UnauthenticatedError: "UNAUTHENTICATED",
    ForbiddenError: "PERMISSION_DENIED",
    RateLimitedError: "RESOURCE_EXHAUSTED",
    MethodNotAllowedError: "UNIMPLEMENTED",
    BodyTimeoutError: "DEADLINE_EXCEEDED",
    DeadlineExceededError: "DEADLINE_EXCEEDED",
    ModelLoadError: "FAILED_PRECONDITION",
    ModelMemoryError: "FAILED_PRECONDITION",
    FrameSupersededError: "ABORTED",
    QueueFullError: "RESOURCE_EXHAUSTED",
    NotReadyError: "UNAVAILABLE",
    EngineLostError: "UNAVAILABLE",
    DecoderLostError: "UNAVAILABLE",
    InternalError: "INTERNAL",
    EngineError: "INTERNAL",
}


def public_error(error: BaseException) -> ServiceError:
    """The error a client may see: itself if it is ours, else one that says nothing of the inside."""
    if isinstance(error, ServiceError):
        return error
    return InternalError("the server failed on this request; report it with the request id")

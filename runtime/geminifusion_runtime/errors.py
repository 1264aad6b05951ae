"""Errors of a frame or a request, and the status of each over HTTP and gRPC.

GeminiFusionError
├── BadRequestError             the request itself cannot be read
│   ├── MissingPartError
│   ├── UnknownPartError
│   ├── InvalidOptionError
│   ├── WrongTaskError
│   ├── UndecodableImageError
│   ├── UndecodablePointsError
│   └── UndecodableCalibrationError
├── TooLargeError               beyond a limit
│   ├── ImageTooLargeError
│   └── TooManyPointsError
├── UnsupportedTypeError        well formed, but of a kind that is not supported
│   └── UnsupportedImageError
└── UnprocessableError          each part is readable, together they make no sense
    ├── SizeMismatchError
    ├── ImageTooSmallError
    ├── SizeNotServedError
    ├── SensorBrokenError
    ├── DepthScaleRequiredError
    ├── CalibrationMismatchError
    └── NoPointsInRangeError

Those that only a server can raise are in `geminifusion_service.errors`. Clients see the text of these classes and of no
others. The `code` of a class is part of the public interface and never changes.

Standard library only: clients import both modules.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class GeminiFusionError(Exception):
    """Base of the tree. The message says what came, what was expected, and what to do.

    A subclass sets its own `code`; the statuses are inherited unless it sets them.

    Args:
        message: the text that clients see.
        retry_after_s: seconds after which a client may try again; None takes the default of the class.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    grpc_status: ClassVar[str] = "INTERNAL"  # a member of grpc.StatusCode by name, because grpc may not be installed
    retry_after_s: int | None = None  # None: sending the same request again is of no use

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    @property
    def title(self) -> str:
        """The code in words, the same for every error of a class."""
        return self.code.replace("_", " ").capitalize()


class BadRequestError(GeminiFusionError):
    """The request cannot be read."""

    code = "bad_request"
    http_status = HTTPStatus.BAD_REQUEST
    grpc_status = "INVALID_ARGUMENT"


class MissingPartError(BadRequestError):
    """A modality that the model needs was not sent."""

    code = "missing_part"


class UnknownPartError(BadRequestError):
    """A part that the model has no input for."""

    code = "unknown_part"


class InvalidOptionError(BadRequestError):
    """An option that does not exist, or a value outside its range."""

    code = "invalid_option"


class WrongTaskError(BadRequestError):
    """A request for one task that means a model for another; the message says where it belongs."""

    code = "wrong_task"


class UndecodableImageError(BadRequestError):
    """Not an image, or one that is truncated or damaged."""

    code = "undecodable_image"


class UndecodablePointsError(BadRequestError):
    """Not a point cloud, or one whose numbers no LiDAR delivers."""

    code = "undecodable_points"


class UndecodableCalibrationError(BadRequestError):
    """Not a calibration, or matrices that no camera and LiDAR have."""

    code = "undecodable_calibration"


class TooLargeError(GeminiFusionError):
    """Beyond a limit of this server."""

    code = "too_large"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    grpc_status = "INVALID_ARGUMENT"  # RESOURCE_EXHAUSTED would tell clients to try the same bytes again


class ImageTooLargeError(TooLargeError):
    """More pixels than this server decodes, judged by the image's header."""

    code = "image_too_large"


class TooManyPointsError(TooLargeError):
    """More points than this server takes, judged by the cloud's size."""

    code = "too_many_points"


class UnsupportedTypeError(GeminiFusionError):
    """A format that is not supported."""

    code = "unsupported_type"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    grpc_status = "INVALID_ARGUMENT"


class UnsupportedImageError(UnsupportedTypeError):
    """A readable image of an ambiguous kind: CMYK, 16-bit colour, animated."""

    code = "unsupported_image"


class UnprocessableError(GeminiFusionError):
    """The parts are readable but do not fit each other or the model."""

    code = "unprocessable"
    http_status = HTTPStatus.UNPROCESSABLE_ENTITY
    grpc_status = "INVALID_ARGUMENT"


class SizeMismatchError(UnprocessableError):
    """The modalities differ in size."""

    code = "size_mismatch"


class ImageTooSmallError(UnprocessableError):
    """A side is shorter than the model's minimum."""

    code = "image_too_small"


class SizeNotServedError(UnprocessableError):
    """A size outside the range that the runtime was built for."""

    code = "size_not_served"


class SensorBrokenError(UnprocessableError):
    """A frame that no working sensor delivers, where the sensor policy rejects it."""

    code = "sensor_broken"


class DepthScaleRequiredError(UnprocessableError):
    """8-bit depth without `depth_scale`: its unit cannot be known."""

    code = "depth_scale_required"


class CalibrationMismatchError(UnprocessableError):
    """The calibration is that of an image of another size."""

    code = "calibration_mismatch"


class NoPointsInRangeError(UnprocessableError):
    """No point of the cloud lies where the model looks."""

    code = "no_points_in_range"

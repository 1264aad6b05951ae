"""What can go wrong on the client's side of the wire, in one tree.

ClientError
├── InvalidInputError         an image or an option was wrong before anything was sent
├── MissingExtraError         a library that comes with an optional part of the package is not installed
├── ServerUnreachableError    no connection to the address
├── ResponseTimeoutError      no response within the client's timeout
├── InvalidResponseError      something responded, but not this service
└── ServerError               the service responded with an error: `code` says which
    ├── RequestRejectedError  4xx: sending the same again gives the same
    ├── ServerBusyError       429, 503: worth a retry, after `retry_after` seconds when the server said so
    └── DeadlineExceededError 504: not ready within the deadline of the request
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geminifusion_runtime.printable import escape_controls


class ClientError(Exception):
    """There is no result; the message says what came, what was expected and what to do.

    Attributes:
        code: stable word for programs, such as `size_mismatch` or `unreachable`.
        status: HTTP status; over gRPC the HTTP status that corresponds; None when no response came.
        request_id: name of the request in the server's log.
    """

    code = "client_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        message = escape_controls(message)  # part of it may be a server's, and it is printed
        super().__init__(message)
        self.message = message
        self.code = escape_controls(code) if code else type(self).code
        self.status = status
        self.request_id = request_id if request_id is None else escape_controls(request_id)


class InvalidInputError(ClientError, ValueError):
    """The image, the depth or an option cannot be sent as it is."""

    code = "invalid_input"


class MissingExtraError(ClientError, ModuleNotFoundError):
    """A library is not installed; the message says how to install it."""

    code = "missing_extra"


class ServerUnreachableError(ClientError, ConnectionError):
    """Nothing responds at the address."""

    code = "unreachable"


class ResponseTimeoutError(ClientError, TimeoutError):
    """The server took longer than the client's timeout."""

    code = "timeout"


class InvalidResponseError(ClientError):
    """The response does not follow the protocol: another service, or another version of this one."""

    code = "invalid_response"


class ServerError(ClientError):
    """The service responded with an error of its own."""

    code = "server_error"


class RequestRejectedError(ServerError):
    """The request itself is at fault."""

    code = "rejected"


class ServerBusyError(ServerError):
    """The server is full or not ready; `retry_after` is its advice in seconds, when it gave one."""

    code = "busy"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, request_id=request_id)
        self.retry_after = retry_after


class DeadlineExceededError(ServerError):
    """The deadline sent with the request passed before its mask was ready."""

    code = "deadline"


@contextmanager
def requires_extra(what: str, extra: str) -> Iterator[None]:
    """Put around imports of what `extra` of the package installs, and `what` needs.

    Raises:
        MissingExtraError: a library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f'{what} needs {error.name}; run: pip install "geminifusion[{extra}]"') from None


def error_of_status(
    message: str, *, code: str | None, status: int, request_id: str | None, retry_after: float | None = None
) -> ServerError:
    """The error of the tree for an HTTP status, or its gRPC counterpart, of 400 and above."""
    if status in (429, 503):
        return ServerBusyError(message, code=code, status=status, request_id=request_id, retry_after=retry_after)
    if status == 504:
        return DeadlineExceededError(message, code=code, status=status, request_id=request_id)
    kind = RequestRejectedError if 400 <= status < 500 else ServerError
    return kind(message, code=code, status=status, request_id=request_id)

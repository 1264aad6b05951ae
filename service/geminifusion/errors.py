"""What can go wrong on the client's side of the wire, in one tree.

ClientError
├── BadInput              the picture or an option was wrong before anything was sent
├── ServerUnreachable     no connection to the address
├── AnswerTimeout         no answer within the client's timeout
├── BadAnswer             something answered, but not this service
└── ServerError           the service answered with an error: `code` says which
    ├── RequestRefused    4xx: sending the same again gives the same
    ├── ServerBusy        429, 503: worth trying again, after `retry_after` seconds when the server said so
    └── DeadlineMissed    504: not ready within the deadline of the request
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ClientError(Exception):
    """An answer could not be had; the message says what came, what was expected and what to do.

    Attributes:
        code: stable word for programs, such as `size_mismatch` or `unreachable`.
        status: HTTP status; over gRPC the HTTP status that corresponds; None when no answer came.
        request_id: what the server's log calls this request, or would.
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
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status
        self.request_id = request_id


class BadInput(ClientError, ValueError):
    """The picture, the depth or an option cannot be sent as it is."""

    code = "bad_input"


class ServerUnreachable(ClientError, ConnectionError):
    """Nothing answers at the address."""

    code = "unreachable"


class AnswerTimeout(ClientError, TimeoutError):
    """The server took longer than the client's timeout."""

    code = "timeout"


class BadAnswer(ClientError):
    """The answer does not follow the wire: another service, or another version of this one."""

    code = "bad_answer"


class ServerError(ClientError):
    """The service understood the connection and answered with an error of its own."""

    code = "server_error"


class RequestRefused(ServerError):
    """The request itself is at fault."""

    code = "refused"


class ServerBusy(ServerError):
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


class DeadlineMissed(ServerError):
    """The deadline sent with the request passed before its mask was ready."""

    code = "deadline"


@contextmanager
def needing_client_extra(what: str) -> Iterator[None]:
    """Around imports of what the extra `client` brings, for `what`; says how to install a library that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ClientError(
            f'{what} needs {error.name}; run: pip install "geminifusion[client]"', code="missing_extra"
        ) from None


def answered_error(
    message: str, *, code: str | None, status: int, request_id: str | None, retry_after: float | None = None
) -> ServerError:
    """The error of the tree for an HTTP status, or its gRPC counterpart, of 400 and above."""
    if status in (429, 503):
        return ServerBusy(message, code=code, status=status, request_id=request_id, retry_after=retry_after)
    if status == 504:
        return DeadlineMissed(message, code=code, status=status, request_id=request_id)
    kind = RequestRefused if 400 <= status < 500 else ServerError
    return kind(message, code=code, status=status, request_id=request_id)

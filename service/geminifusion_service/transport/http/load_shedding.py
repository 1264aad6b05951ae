"""Load shedding: requests rejected on their headers, before the ASGI application is called.

Under overload most requests are rejected, and the event loop's time for that is taken from those that are served: a
rejection by the application (a task, middleware, a handler, a body that is buffered first) takes twice as long as one
here. Only requests without anything that the application decides on first (API keys, deadlines, priorities, other
origins) are rejected here; the application rejects the others with the same response.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from re import Pattern

from starlette.responses import Response

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import RequestContext, set_request_context
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.transport.http.request_context import ErrorResponse, add_headers, content_length

_HEADERS_DECIDED_LATER = frozenset(("expect", "origin", "x-forwarded-for", "x-forwarded-proto"))
_OPTIONS_DECIDED_LATER = (b"priority", b"deadline_ms", b"request_id")


class LoadShedder:
    """Rejects a POST that the segmenter would not admit.

    Args:
        segmenter: decides on admission.
        metrics: count rejections.
        telemetry: records rejections.
        paths: patterns of the paths whose POST needs admission, with the transport that metrics count them under.
        error_response: makes the response.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        metrics: Metrics,
        telemetry: Telemetry,
        *,
        paths: Mapping[Pattern[str], str],
        error_response: ErrorResponse,
    ) -> None:
        self._segmenter = segmenter
        self._metrics = metrics
        self._telemetry = telemetry
        self._paths = dict(paths)
        self._error_response = error_response

    def __call__(
        self, target: bytes, headers: Sequence[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> bytes | None:
        """The whole response to a POST, from the status code on; None if the application has to decide."""
        path_bytes, _, query = target.partition(b"?")
        path = path_bytes.decode("latin-1")
        transport = next((name for pattern, name in self._paths.items() if pattern.match(path)), None)
        if transport is None:
            return None
        length = next((value for name, value in headers if name == b"content-length"), b"")
        try:
            self._segmenter.check_admission(body_bytes=content_length(length.decode("latin-1")))
        except GeminiFusionError as error:
            request = RequestContext.of_http("http", headers, client)
            if not _HEADERS_DECIDED_LATER.isdisjoint(request.headers) or any(
                name in query for name in _OPTIONS_DECIDED_LATER
            ):
                return None
            self._metrics.requests.labels(transport, error.code).inc()
            # A copy, because this runs in the context of the connection, which outlives the request.
            return contextvars.copy_context().run(self._reject, path, error, request)
        return None

    def _reject(self, path: str, error: GeminiFusionError, request: RequestContext) -> bytes:
        set_request_context(request)
        self._telemetry.failed(error, time.monotonic())
        response = self._error_response(path, error, request.request_id)
        return raw_response(response, request.request_id)


class RejectRequest:
    """Makes and records the response to a request that is rejected on its headers, and its connection closed.

    Args:
        telemetry: records rejections.
        error_response: makes the response.
    """

    def __init__(self, telemetry: Telemetry, error_response: ErrorResponse) -> None:
        self._telemetry = telemetry
        self._error_response = error_response

    def __call__(
        self,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
        error: GeminiFusionError,
    ) -> bytes:
        """The whole response, from the status code on."""
        # A copy, because this runs in the context of the connection, which outlives the request.
        return contextvars.copy_context().run(self._response, target, headers, client, error)

    def _response(
        self,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
        error: GeminiFusionError,
    ) -> bytes:
        request = RequestContext.of_http("http", headers, client)
        set_request_context(request)
        self._telemetry.failed(error, time.monotonic())
        path = target.partition(b"?")[0].decode("latin-1")
        response = self._error_response(path, error, request.request_id)
        response.headers["Connection"] = "close"
        return raw_response(response, request.request_id)


def raw_response(response: Response, request_id: str) -> bytes:
    """A response as it is on the wire, from the status code on."""
    add_headers(response.headers, request_id)
    status = HTTPStatus(response.status_code)
    header_lines = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return b"%d %b\r\n%b\r\n%b" % (status, status.phrase.encode(), header_lines, bytes(response.body))

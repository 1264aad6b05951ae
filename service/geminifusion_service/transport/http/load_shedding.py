"""Refusals on the head of a request, before there is anything of the application.

Under overload most requests are refused, and what that costs is taken from those that are answered: on the usual road,
of tasks, middleware and handlers, a refusal takes half a millisecond. Here the ones that look like all others are
refused in less. Whoever asks for something that is decided further on (keys, deadlines, priorities, other origins) is
left to the usual road, which refuses with the same words.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.responses import Response

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import (
    RequestContext,
    set_request_context,
)
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.telemetry import Records
from geminifusion_service.security.api_keys import AccessControl

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case
Refusal = Callable[[str, GeminiFusionError, str], Response]  # from the path, the error and the request id

_DECIDED_LATER = frozenset((b"expect", b"origin", b"x-forwarded-for", b"x-forwarded-proto"))
_OPTIONS_DECIDED_LATER = (b"priority", b"deadline_ms", b"request_id")


class EarlyRefusals:
    """Says whether a POST can be refused now.

    Args:
        is_hot: whether a path is one that takes a place.
        refusal: makes the answer.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        metrics: Metrics,
        records: Records,
        access: AccessControl,
        *,
        is_hot: Callable[[str], bool],
        refusal: Refusal,
    ) -> None:
        self._segmenter = segmenter
        self._metrics = metrics
        self._records = records
        self._access = access
        self._is_hot = is_hot
        self._refusal = refusal

    def __call__(self, target: bytes, headers: Headers, client: tuple[str, int] | None) -> bytes | None:
        """The whole answer to a POST with this head, but for the status line's version; None for the usual road."""
        path, _, query = target.partition(b"?")
        text = path.decode("latin-1")
        if not self._is_hot(text) or self._access.asks_for_keys:
            return None
        fields = dict(headers)
        length = fields.get(b"content-length", b"")
        try:
            self._segmenter.refuse_if_unavailable(body_bytes=int(length) if length.isdigit() else 0)
        except GeminiFusionError as error:
            if not _DECIDED_LATER.isdisjoint(fields) or any(option in query for option in _OPTIONS_DECIDED_LATER):
                return None
            # What it leaves in the context is of this request alone.
            return contextvars.copy_context().run(self._refuse, text, error, fields, client)
        return None

    def _refuse(
        self, path: str, error: GeminiFusionError, fields: dict[bytes, bytes], client: tuple[str, int] | None
    ) -> bytes:
        context = RequestContext.of_http("http", fields.items(), client)
        set_request_context(context)
        request_id = context.request_id
        self._metrics.requests.labels("http", error.code).inc()
        self._records.failed(error, time.monotonic())
        response = self._refusal(path, error, request_id)
        response.headers["X-Request-Id"] = request_id
        status = HTTPStatus(response.status_code)
        head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        return b"%d %b\r\n%b\r\n%b" % (status, status.phrase.encode(), head, bytes(response.body))

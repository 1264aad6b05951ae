"""What one request leaves behind besides its answer: a log line, and spans where traces are collected."""

from __future__ import annotations

import asyncio
import time

from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.errors import public_error
from geminifusion_service.observability.logs import log_request
from geminifusion_service.observability.request_context import current_request_context, set_recorded_trace
from geminifusion_service.pipeline.tracing import Tracing
from geminifusion_service.request import SegmentResponse

_CLIENT_GONE = 499  # as reverse proxies log it


class Records:
    """Writes them. Use from the task that answers the request."""

    def __init__(self, tracing: Tracing | None = None, *, log_requests: bool = True) -> None:
        self._tracing = tracing
        self._log_requests = log_requests

    def answered(self, options: SegmentOptions, response: SegmentResponse, started: float) -> None:
        """A request was answered; `started` is its beginning on `time.monotonic`."""
        self._write(options, started, code="ok", status=200, response=response)

    def failed(self, error: BaseException, started: float, options: SegmentOptions | None = None) -> None:
        """A request ended without an answer, because of an error or because its client has gone.

        Without options where it ended before they were known.
        """
        if isinstance(error, asyncio.CancelledError):
            self._write(options, started, code="client_gone", status=_CLIENT_GONE)
        else:
            public = public_error(error)
            self._write(options, started, code=public.code, status=int(public.http_status))

    def close(self) -> None:
        """Send the spans that are still held back."""
        if self._tracing is not None:
            self._tracing.close()

    def _write(
        self,
        options: SegmentOptions | None,
        started: float,
        *,
        code: str,
        status: int,
        response: SegmentResponse | None = None,
    ) -> None:
        origin, ended = current_request_context(), time.monotonic()
        asked_model = options.model if options else None
        request_id = (options.request_id if options else None) or origin.request_id or ""
        trace_id = origin.trace_id
        if self._tracing is not None:
            trace_id = self._tracing.record(
                origin,
                started=started,
                ended=ended,
                code=code,
                request_id=request_id,
                response=response,
            )
            set_recorded_trace(trace_id)
        if self._log_requests:
            log_request(
                transport=origin.transport,
                code=code,
                request_id=response.request_id if response else request_id,
                status=status,
                seconds=ended - started,
                model=response.model if response else asked_model,
                client=origin.client,
                principal=origin.principal,
                trace_id=trace_id,
                timeline=response.timeline if response else None,
            )

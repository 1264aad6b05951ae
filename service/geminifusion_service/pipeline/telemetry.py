"""Telemetry of one request: metrics, a log line, and spans where traces are collected."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from geminifusion_runtime.option_types import RequestOptions
from geminifusion_service.errors import DeadlineExceededError, public_error
from geminifusion_service.observability.logs import log_request
from geminifusion_service.observability.metrics import DROP_REASONS, Metrics
from geminifusion_service.observability.request_context import current_request_context, set_recorded_trace
from geminifusion_service.observability.timeline import STAGES
from geminifusion_service.pipeline.tracing import Tracing
from geminifusion_service.request import TaskResponse

_CLIENT_GONE = 499  # as reverse proxies log it


class Telemetry:
    """Records requests. Use from the task that handles the request."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None, *, log_requests: bool = True) -> None:
        self._request_seconds = metrics.request_seconds
        self._stage_seconds = {stage: metrics.stage_seconds.labels(stage) for stage in STAGES}
        self._dropped = {reason: metrics.dropped.labels(reason) for reason in DROP_REASONS}
        self._tracing = tracing
        self._log_requests = log_requests

    def request(self, options: RequestOptions, arrival: float) -> RequestRecord:
        """Record an accepted request; see `RequestRecord`.

        Args:
            arrival: when it came, in seconds of `time.monotonic`.
        """
        return RequestRecord(self, options, arrival)

    def succeeded(self, options: RequestOptions, response: TaskResponse, started: float) -> None:
        """Measure, log and trace a request that got its response; `started` as in `failed`."""
        self._request_seconds.observe(time.monotonic() - started)
        for timing in response.timeline.stages:
            self._stage_seconds[timing.stage].observe(timing.seconds)
        self._write(options, started, code="ok", status=200, response=response)

    def dropped(self, error: BaseException) -> None:
        """Count a request that was dropped: its client is gone, or its deadline has passed. Others do not count."""
        if isinstance(error, asyncio.CancelledError):
            self._dropped["client_gone"].inc()
        elif isinstance(error, DeadlineExceededError):
            self._dropped["deadline"].inc()

    def failed(self, error: BaseException, started: float, options: RequestOptions | None = None) -> None:
        """Log and trace a request that ended without a response, by an error or because its client has gone.

        Args:
            started: when it came, in seconds of `time.monotonic`.
            options: None where it ended before they were known.
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
        options: RequestOptions | None,
        started: float,
        *,
        code: str,
        status: int,
        response: TaskResponse | None = None,
    ) -> None:
        context, ended = current_request_context(), time.monotonic()
        asked_model = options.model if options else None
        request_id = (options.request_id if options else None) or context.request_id or ""
        trace_id = context.trace_id
        if self._tracing is not None:
            trace_id = self._tracing.record(
                context,
                started=started,
                ended=ended,
                code=code,
                request_id=request_id,
                response=response,
            )
            set_recorded_trace(trace_id)
        if self._log_requests:
            log_request(
                transport=context.transport,
                code=code,
                request_id=response.request_id if response else request_id,
                status=status,
                seconds=ended - started,
                model=response.model if response else asked_model,
                client=context.client,
                principal=context.principal,
                trace_id=trace_id,
                timeline=response.timeline if response else None,
            )


class RequestRecord:
    """One accepted request, recorded when the block ends: with its `response`, or with what was raised."""

    response: TaskResponse

    def __init__(self, telemetry: Telemetry, options: RequestOptions, arrival: float) -> None:
        self._telemetry = telemetry
        self._options = options
        self._arrival = arrival

    def __enter__(self) -> RequestRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._telemetry.succeeded(self._options, self.response, self._arrival)
        else:
            self._telemetry.dropped(error)
            self._telemetry.failed(error, self._arrival, self._options)

"""OpenTelemetry traces: one span for a request and one for each stage of it, in the trace of the caller if it has one.

Spans are written when a request has ended, from its timeline: a request that is not recorded costs nothing, and the
pipeline knows nothing of traces. Off unless an endpoint is set.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geminifusion_service.observability.request_context import RequestContext
from geminifusion_service.request import TaskResponse

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_SERVICE = "geminifusion"


class Tracing:
    """Writes spans to an OTLP collector.

    Args:
        endpoint: URL of the collector for OTLP over HTTP, as http://collector:4318/v1/traces.
        share: share of the traces that begin here to record, 0 to 1; the caller's own decision wins.
        exporter: replaces the one for `endpoint`, which is then not used.

    Raises:
        RuntimeError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, *, share: float = 1.0, exporter: SpanExporter | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter(endpoint=endpoint)
        except ImportError as error:
            raise RuntimeError(
                f'traces need {error.name}, which is not installed; run: pip install "geminifusion[tracing]"'
            ) from None
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._provider: TracerProvider = TracerProvider(
            resource=Resource.create({"service.name": _SERVICE}),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("geminifusion_service")

    def record(
        self,
        request_context: RequestContext,
        *,
        started: float,
        ended: float,
        code: str,
        request_id: str,
        response: TaskResponse | None,
    ) -> str:
        """Write the spans of one request.

        Args:
            started, ended: on `time.monotonic`, in seconds.
            code: `ok` or that of the error.
            response: with its timeline; None for a request that failed.

        Returns:
            Id of the trace, 32 hexadecimal digits.
        """
        trace = self._trace
        to_epoch_ns = time.time_ns() - time.monotonic_ns()
        attributes: dict[str, Any] = {
            "geminifusion.transport": request_context.transport,
            "geminifusion.code": code,
            "geminifusion.request_id": request_id,
        }
        if response is not None:
            attributes |= {
                "geminifusion.model": response.model,
                "geminifusion.batch_size": response.batch_size,
                "geminifusion.width": response.width,
                "geminifusion.height": response.height,
            }
        root = self._tracer.start_span(
            "segment",
            context=self._propagator.extract(dict(request_context.headers)),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=round(started * 1e9) + to_epoch_ns,
        )
        if code != "ok":
            root.set_status(trace.Status(trace.StatusCode.ERROR, code))
        if response is not None and response.timeline is not None:
            parent = trace.set_span_in_context(root)
            for timing in response.timeline.stages:
                span = self._tracer.start_span(timing.stage, context=parent, start_time=timing.start_ns + to_epoch_ns)
                span.end(timing.end_ns + to_epoch_ns)
        root.end(round(ended * 1e9) + to_epoch_ns)
        return trace.format_trace_id(root.get_span_context().trace_id)

    def close(self) -> None:
        """Send what is still held back, and stop."""
        self._provider.shutdown()

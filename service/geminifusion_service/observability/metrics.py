"""Metrics of the service, for Prometheus. Names here are a public interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from geminifusion_service.observability.model_metrics import ModelMetrics
from geminifusion_service.observability.timeline import STAGES

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DROP_REASONS = ("client_gone", "deadline")
_LAG_EVERY_S = 0.25
_LAG_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """One set of metrics, in a registry of its own so that two servers may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "geminifusion_requests",
            "Segmentation requests that ended, by transport and code (ok or an error code).",
            ["transport", "code"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "geminifusion_stage_seconds",
            f"Time of one successful request in a stage: {', '.join(STAGES)}.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "geminifusion_request_seconds",
            "Time of one successful request, from its headers to its response.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "geminifusion_batch_size",
            "Requests in a batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.dropped = Counter(
            "geminifusion_dropped",
            "Accepted requests that were abandoned, by reason: client_gone, deadline.",
            ["reason"],
            registry=self.registry,
        )
        self.engine_busy_seconds = Counter(
            "geminifusion_engine_busy_seconds",
            "Time that engine instances spent running batches, all together.",
            registry=self.registry,
        )
        self.event_loop_lag_seconds = Histogram(
            "geminifusion_event_loop_lag_seconds",
            "How late a timer of the event loop fires; all transports wait as long.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        self.ready = Gauge("geminifusion_ready", "1 while ready, as `/healthz/ready` says.", registry=self.registry)
        self.model_info = Gauge(
            "geminifusion_model_info",
            "1 for each loaded model.",
            ["name", "version", "backend"],
            registry=self.registry,
        )
        self._queue_depth = Gauge(
            "geminifusion_queue_depth", "Requests waiting for the engine.", registry=self.registry
        )
        self._in_flight = Gauge(
            "geminifusion_in_flight", "Requests that were accepted and have not ended.", registry=self.registry
        )

        self.models = ModelMetrics(self.registry)

    def watch(self, *, queue_depth: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Read these values whenever the metrics are collected."""
        self._queue_depth.set_function(queue_depth)
        self._in_flight.set_function(in_flight)

    async def watch_event_loop(self) -> None:
        """Measure how late a timer of this loop fires, four times a second, until cancelled.

        The first thing to look at when every request is a little slow.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.event_loop_lag_seconds.observe(max(0.0, loop.time() - due))

    def text(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self.registry)

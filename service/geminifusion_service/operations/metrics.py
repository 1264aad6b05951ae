"""What is measured, and what it is called. Names here are a public interface."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One set of metrics, in a registry of its own so that two servers may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "geminifusion_requests",
            "Segmentation requests answered, by transport and code (ok or an error code).",
            ["transport", "code"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "geminifusion_stage_seconds",
            "Time of one request in a stage: decode, queue, compute, encode.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "geminifusion_batch_size",
            "Requests run together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.dropped = Counter(
            "geminifusion_dropped",
            "Requests whose client went away before the answer.",
            registry=self.registry,
        )
        self.ready = Gauge("geminifusion_ready", "1 while ready.", registry=self.registry)
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
            "geminifusion_in_flight", "Requests accepted and not yet answered.", registry=self.registry
        )

    def watch(self, *, queue_depth: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Ask these whenever the metrics are read."""
        self._queue_depth.set_function(queue_depth)
        self._in_flight.set_function(in_flight)

    def text(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self.registry)

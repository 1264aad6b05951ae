"""Metrics of models: loads, memory, batch sizes and self-tests. Names here are a public interface."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge


class ModelMetrics:
    """The metrics of models, in the registry they are given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of_version = ["name", "version"]
        self._ready = Gauge(
            "geminifusion_model_ready", "1 while a loaded model passes its self-test.", of_version, registry=registry
        )
        self._memory = Gauge(
            "geminifusion_model_memory_bytes", "Resident memory that a model takes.", of_version, registry=registry
        )
        self._preferred_batch = Gauge(
            "geminifusion_preferred_batch",
            "Images of the model's reference size that run together at most, as found when it was loaded.",
            of_version,
            registry=registry,
        )
        self._agreement = Gauge(
            "geminifusion_self_test_agreement",
            "Share of labels, 0 to 1, that agreed with those expected in the last self-test.",
            of_version,
            registry=registry,
        )
        self._self_tests = Counter(
            "geminifusion_self_test_runs",
            "Self-tests, by outcome: passed, failed, put_off (the service was too busy).",
            [*of_version, "outcome"],
            registry=registry,
        )
        self._loads = Counter(
            "geminifusion_model_loads",
            "Loads tried, by outcome: loaded, failed (damaged, or it does not run here), refused (memory, self-test).",
            ["name", "outcome"],
            registry=registry,
        )
        self._engines = Counter(
            "geminifusion_engines",
            "Engines prepared beside serving, by outcome: built, found (in the cache), failed.",
            ["name", "outcome"],
            registry=registry,
        )
        self.repository_reachable = Gauge(
            "geminifusion_repository_reachable",
            "1 while the model repository can be read.",
            registry=registry,
        )

    def loaded(self, name: str, version: str, memory_bytes: int | None, *, ready: bool) -> None:
        """A model was loaded, and requests reach it."""
        self._ready.labels(name, version).set(ready)
        if memory_bytes is not None:
            self._memory.labels(name, version).set(memory_bytes)
        self._loads.labels(name, "loaded").inc()

    def not_loaded(self, name: str, outcome: Literal["failed", "refused"]) -> None:
        """A load failed, or was refused for a limit or a self-test."""
        self._loads.labels(name, outcome).inc()

    def engine_prepared(self, name: str, outcome: str) -> None:
        """An engine was built or found and took over, or failed."""
        self._engines.labels(name, outcome).inc()

    def batch_size_tuned(self, name: str, version: str, preferred_batch: int) -> None:
        """The best batch size for images of the reference size was measured."""
        self._preferred_batch.labels(name, version).set(preferred_batch)

    def unloaded(self, name: str, version: str) -> None:
        """No request reaches a model any more."""
        for gauge in (self._ready, self._memory, self._preferred_batch, self._agreement):
            gauge.remove(name, version)

    def self_tested(self, name: str, version: str, *, passed: bool | None, agreement: float | None = None) -> None:
        """A self-test of a loaded model ended; `passed` is None if it was put off."""
        outcome = "put_off" if passed is None else "passed" if passed else "failed"
        self._self_tests.labels(name, version, outcome).inc()
        if passed is not None:
            self._ready.labels(name, version).set(passed)
        if agreement is not None:
            self._agreement.labels(name, version).set(agreement)

"""Totals per model for the statistics extension of the protocol; clients take the difference of two readings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geminifusion_service.request import TaskResponse


@dataclass(kw_only=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(1e9 * seconds)

    def document(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


class ModelStatistics:
    """Totals of one version since the server started."""

    def __init__(self) -> None:
        self._last_inference_ms = 0
        self._images = 0
        self._executions = 0.0  # an image counts as its share of the batch it ran in
        self._stages = {
            name: _Duration()
            for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        }

    def succeeded(self, responses: Sequence[TaskResponse], seconds: float) -> None:
        """Count a request that succeeded, with the responses for its images."""
        self._last_inference_ms = round(1000 * time.time())
        self._images += len(responses)
        self._stages["success"].add(seconds)
        for response in responses:
            self._executions += 1 / response.batch_size
            timings = response.timings
            for name, milliseconds in (
                ("queue", timings.queue),
                ("compute_input", timings.decode),
                ("compute_infer", timings.compute),
                ("compute_output", timings.encode),
            ):
                self._stages[name].add(milliseconds / 1000)

    def failed(self, seconds: float) -> None:
        """Count a request that failed."""
        self._stages["fail"].add(seconds)

    def document(self, name: str, version: str) -> dict[str, Any]:
        """JSON-ready; the field names are also those of the gRPC message."""
        return {
            "name": name,
            "version": version,
            "last_inference": self._last_inference_ms,
            "inference_count": self._images,
            "execution_count": round(self._executions),
            "inference_stats": {stage: duration.document() for stage, duration in self._stages.items()},
        }

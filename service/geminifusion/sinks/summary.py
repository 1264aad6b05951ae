"""A result without its pixels, for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..results import Result


def summary(result: Result) -> dict[str, Any]:
    """Model, size, classes, timings, warnings and the id of the request."""
    height, width = result.labels.shape
    return {
        "model": result.model,
        "size": {"height": height, "width": width},
        "classes": [dataclasses.asdict(share) for share in result.classes],
        "timings_ms": dict(result.timings_ms),
        "warnings": list(result.warnings),
        "request_id": result.request_id,
    }

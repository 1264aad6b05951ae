"""Fields that the responses of all calls have, as results have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geminifusion_runtime.printable import escape_controls
from geminifusion_runtime.types import SensorHealth


def sensors_of(messages: Mapping[str, Any]) -> dict[str, SensorHealth]:
    """The state of each sensor, of the messages by its name."""
    return {
        escape_controls(name): SensorHealth(
            holes=one.holes,
            saturated=one.saturated,
            noise=one.noise,
            problem=escape_controls(one.problem) if one.HasField("problem") else None,
        )
        for name, one in messages.items()
    }

"""What a request may choose among. Standard library only: clients import it."""

from __future__ import annotations

from typing import Literal, get_args

Align = Literal["none", "resize"]
Priority = Literal["high", "normal"]
SensorPolicy = Literal["reject", "warn", "drop-modality"]

ALIGNS = get_args(Align)
PRIORITIES = get_args(Priority)
SENSOR_POLICIES = get_args(SensorPolicy)

"""Half-precision arithmetic where it does no harm (arXiv:1710.03740), as torch's autocast chooses."""

from __future__ import annotations

import torch

from geminifusion_model.training.config import Precision

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Halved at each gradient that is not finite: 26 in a row from torch's start value, when it is no longer the scale.
SMALLEST_SCALE = 2.0**-10


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context for forward passes; does nothing for float32."""
    enabled = precision != "float32"
    return torch.autocast(device.type, _DTYPES[precision] if enabled else None, enabled=enabled)


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """The loss scaler that float16 needs, since small gradients vanish in it; it passes all others through."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")

"""The GeminiFusion network, its data, training and evaluation.

The public names below import what they need when they are first used; everything else may change without notice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geminifusion_model.checkpoint import CheckpointError
    from geminifusion_model.config import GeminiFusionConfig
    from geminifusion_model.data.registry import open_dataset
    from geminifusion_model.network import GeminiFusion, Prediction
    from geminifusion_model.weights.files import OfficialWeightsError
    from geminifusion_model.weights.imagenet import load_imagenet
    from geminifusion_model.weights.official import load_official
    from geminifusion_model.weights.report import OfficialReport

__all__ = [
    "CheckpointError",
    "GeminiFusion",
    "GeminiFusionConfig",
    "OfficialReport",
    "OfficialWeightsError",
    "Prediction",
    "load_imagenet",
    "load_official",
    "open_dataset",
]

_MODULES = {
    "CheckpointError": "checkpoint",
    "GeminiFusion": "network",
    "GeminiFusionConfig": "config",
    "OfficialReport": "weights.report",
    "OfficialWeightsError": "weights.files",
    "Prediction": "network",
    "load_imagenet": "weights.imagenet",
    "load_official": "weights.official",
    "open_dataset": "data.registry",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

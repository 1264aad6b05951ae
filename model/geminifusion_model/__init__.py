"""The GeminiFusion network, its data, training and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geminifusion_model.config import GeminiFusionConfig
    from geminifusion_model.network import GeminiFusion, Prediction
    from geminifusion_model.weights.official import OfficialReport, load_official

_HOMES = {
    "GeminiFusion": "geminifusion_model.network",
    "GeminiFusionConfig": "geminifusion_model.config",
    "OfficialReport": "geminifusion_model.weights.official",
    "Prediction": "geminifusion_model.network",
    "load_official": "geminifusion_model.weights.official",
}

__all__ = ["GeminiFusion", "GeminiFusionConfig", "OfficialReport", "Prediction", "load_official"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the attribute's own type is declared above
    """Import torch only for those who ask for the network: the command line shows help without it."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""GeminiFusion: RGB-X semantic segmentation, image translation, and 3-D object detection with a LiDAR.

Importing this package imports none of the libraries below it; a public name loads what it needs when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .client import Client
    from .detection.results import DetectionResult
    from .errors import ClientError
    from .local import LocalModel, load
    from .results import ClassShare, ClassSpace, PointCloud, Result
    from .translation.results import TranslationResult

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "ClassShare",
    "ClassSpace",
    "Client",
    "ClientError",
    "DetectionResult",
    "LocalModel",
    "PointCloud",
    "Result",
    "TranslationResult",
    "__version__",
    "load",
]

_HOME = {
    "AsyncClient": "async_client",
    "ClassShare": "results",
    "ClassSpace": "results",
    "Client": "client",
    "ClientError": "errors",
    "DetectionResult": "detection.results",
    "LocalModel": "local",
    "PointCloud": "results",
    "Result": "results",
    "TranslationResult": "translation.results",
    "load": "local",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

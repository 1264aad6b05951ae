"""The kinds of sources, in the order in which they are tried."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .base import Source, SourceRequest
from .kinds import RECORDING_SUFFIXES, VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """One kind of source: whether it suits a request, and the function that opens it, `module:function`."""

    name: str
    suits: Callable[[SourceRequest], bool]
    opener: str


def _first(request: SourceRequest) -> Path:
    return next(iter(request.inputs.values()))


def _is_recording(path: Path) -> bool:
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            inside.suffix.lower() in RECORDING_SUFFIXES for inside in path.iterdir()
        )
    return path.suffix.lower() in RECORDING_SUFFIXES


SOURCES = (
    SourceKind(name="camera", suits=lambda asked: asked.camera is not None, opener="cameras:open_camera"),
    SourceKind(
        name="recording", suits=lambda asked: _is_recording(_first(asked)), opener="recordings.source:open_recording"
    ),
    SourceKind(name="folder", suits=lambda asked: _first(asked).is_dir(), opener="folders:open_folders"),
    SourceKind(
        name="video",
        suits=lambda asked: _first(asked).suffix.lower() in VIDEO_SUFFIXES,
        opener="videos:open_video",
    ),
    SourceKind(name="scene", suits=lambda _: True, opener="files:open_files"),
)


def open_source(request: SourceRequest) -> Source:
    """Open what a user gave, as the first kind that it suits.

    Raises:
        InvalidInputError: it cannot be used; the message says why and what to do.
        MissingExtraError: a library to read it is not installed.
    """
    kind = next(kind for kind in SOURCES if kind.suits(request))
    module, _, function = kind.opener.partition(":")
    opened: Source = getattr(importlib.import_module(f".{module}", __package__), function)(request)
    return opened

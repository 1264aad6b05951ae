"""One scene: a file of each modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InvalidInputError
from .base import SourceFrame, SourceRequest


class SceneSource:
    """A single frame, named after its first file."""

    def __init__(self, images: Mapping[str, Path]) -> None:
        self._images = images
        self.name = next(iter(images.values())).stem
        self.count: int | None = 1
        self.period_s: float | None = None
        self.notes: list[str] = []

    def frames(self) -> Iterator[SourceFrame]:
        """The frame."""
        yield SourceFrame(name=self.name, images=self._images)

    def close(self) -> None:
        """Nothing is open."""


def open_files(request: SourceRequest) -> SceneSource:
    """A scene of files.

    Raises:
        InvalidInputError: one of them is a folder.
    """
    for name, path in request.inputs.items():
        if path.is_dir():
            raise InvalidInputError(f"{name} is the folder {path} and others are files; give files or folders alone")
    return SceneSource(request.inputs)

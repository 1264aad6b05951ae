"""Files of a single frame: masks, overlays, maps, a summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from geminifusion_runtime import strict_json

from ..results import Result
from ..sources.base import SourceFrame
from .base import FrameError, SinkRequest, write_whole
from .summary import summary

Write = Callable[[SourceFrame, Result, Path], object]


class FrameFiles:
    """One kind of file, for every frame; what an earlier run wrote is kept."""

    def __init__(self, request: SinkRequest, *, ending: str, write: Write, bytes_per_pixel: float) -> None:
        self._request, self._ending, self._write = request, ending, write
        self.bytes_per_pixel = bytes_per_pixel

    def has(self, frame: SourceFrame) -> bool:
        """Whether the file is there."""
        return not self._request.overwrite and self._path(frame).is_file()

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Write the file."""
        return [write_whole(self._path(frame), lambda part: self._write(frame, result, part))]

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """A frame without a result has no file."""

    def close(self) -> list[Path]:
        """Nothing is open."""
        return []

    def _path(self, frame: SourceFrame) -> Path:
        return self._request.directory / f"{frame.name}{self._ending}"


def palette_files(request: SinkRequest) -> FrameFiles:
    """The mask as an indexed PNG in the class colors."""
    return FrameFiles(
        request, ending="_mask.png", write=lambda _, result, path: result.save(path), bytes_per_pixel=0.005
    )


def overlay_files(request: SinkRequest) -> FrameFiles:
    """The tinted image."""
    return FrameFiles(
        request,
        ending="_overlay.png",
        write=lambda _, result, path: result.save_overlay(path, on=request.overlay_on),
        bytes_per_pixel=0.1,
    )


def index_files(request: SinkRequest) -> FrameFiles:
    """The mask as a grey PNG of bare class indices."""
    return FrameFiles(
        request,
        ending="_labels.png",
        write=lambda _, result, path: path.write_bytes(result.indices_png()),
        bytes_per_pixel=0.005,
    )


def npz_files(request: SinkRequest) -> FrameFiles:
    """The labels with all maps."""
    return FrameFiles(request, ending=".npz", write=lambda _, result, path: result.save(path), bytes_per_pixel=0.05)


def json_files(request: SinkRequest) -> FrameFiles:
    """Everything but the pixels."""
    return FrameFiles(
        request,
        ending=".json",
        write=lambda _, result, path: path.write_text(
            strict_json.dumps(summary(result), indent=2) + "\n", encoding="utf-8"
        ),
        bytes_per_pixel=0,
    )

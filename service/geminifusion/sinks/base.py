"""What a sink of results is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ClassSpec

from ..errors import ClientError
from ..results import Result
from ..sources.base import SourceFrame

Points = Callable[[SourceFrame, Result], NDArray[np.float32] | None]
"""The points of a frame, `H W 3` float32: metres in the camera's optical axes, NaN where unknown; None for none."""


class OutputExistsError(ClientError, FileExistsError):
    """A file of all frames is there already, and nobody said to replace it."""

    code = "output_exists"


class DiskFullError(ClientError, OSError):
    """The results do not fit on the disk."""

    code = "disk_full"


class FrameError(ClientError):
    """Why a frame has no result: the words and the code of what went wrong."""

    code = "frame_failed"


@dataclass(frozen=True, kw_only=True)
class SinkRequest:
    """What sinks need to know.

    Attributes:
        directory: where they write; it exists.
        name: of files that hold all frames.
        classes: gives those of the model; a server is asked for them only where they are written.
        period_s: time from one frame to the next; None if unknown.
        overlay_on: modality that overlays are drawn on; see `Result.overlay`.
        overwrite: replace what is there.
        points: makes the points of a frame, for sinks that write a cloud; None writes none.
    """

    directory: Path
    name: str
    classes: Callable[[], Sequence[ClassSpec]]
    period_s: float | None = None
    overlay_on: str | None = None
    overwrite: bool = False
    points: Points | None = None

    def path(self, ending: str) -> Path:
        """The place of a file, or folder, of all frames.

        Raises:
            OutputExistsError: there is one.
        """
        path = self.directory / f"{self.name}{ending}"
        if path.exists() and not self.overwrite:
            raise OutputExistsError(f"{path} exists; remove it, give another --output, or replace it with --overwrite")
        return path


class Sink(Protocol):
    """Takes results in the order of the frames.

    Attributes:
        bytes_per_pixel: what a frame needs on the disk at least.
    """

    bytes_per_pixel: float

    def has(self, frame: SourceFrame) -> bool:
        """Whether the result of a frame is there from an earlier run."""

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Take a result; the files that are whole now."""

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """Take note of a frame without a result."""

    def close(self) -> list[Path]:
        """End the files of all frames; those that are whole now."""


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under another name and rename it, so that a file of this name is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path

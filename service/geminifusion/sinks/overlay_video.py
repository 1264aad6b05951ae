"""A video of the overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import requires_extra
from ..results import Result
from ..sources.base import SourceFrame
from .base import DiskFullError, FrameError, SinkRequest

with requires_extra("writing a video", "client"):
    import cv2

_CODEC = "mp4v"
_PERIOD_S = 1 / 30  # of frames that do not say when they were taken


class OverlayVideo:
    """An MP4; every frame has the size of the first."""

    bytes_per_pixel = 0.01

    def __init__(self, request: SinkRequest) -> None:
        self._path = request.path("_overlay.mp4")
        self._rate = 1 / (request.period_s or _PERIOD_S)
        self._on = request.overlay_on
        self._writer: Any = None
        self._size = (0, 0)

    def has(self, frame: SourceFrame) -> bool:
        """Nothing can be added to a video."""
        return False

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Add a frame."""
        image: NDArray[Any] = result.overlay(on=self._on)
        if self._writer is None:
            self._open(image.shape[1], image.shape[0])
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(image[..., ::-1])
        return []

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """A video has no place for an error."""

    def close(self) -> list[Path]:
        """End the video.

        Raises:
            DiskFullError: it was not written.
        """
        if self._writer is None:
            return []
        self._writer.release()
        check = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)  # its writer says nothing when the disk is full
        whole = check.isOpened()
        check.release()
        if not whole:
            raise DiskFullError(f"{self._path} could not be written to its end; free some of the disk and start again")
        return [self._path]

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        code = cv2.VideoWriter.fourcc(*_CODEC)
        self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, code, self._rate, self._size)
        if not self._writer.isOpened():
            raise OSError(f"{self._path} cannot be written as a video; check that the folder may be written to")

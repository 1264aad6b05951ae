"""Videos: colour, with depth as a video of 16 bits or as files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, requires_extra
from ..images import ImageInput
from .base import SourceFrame, SourceRequest
from .kinds import VIDEO_SUFFIXES

with requires_extra("reading a video", "runtime"):
    import cv2

_FRAME_RATE = 30.0  # of a video that does not say


class VideoSource:
    """The frames of videos and of what lies beside them, which have the same number of frames."""

    def __init__(self, tracks: dict[str, _Track], name: str) -> None:
        self._tracks = tracks
        self.name = name
        first = next(iter(tracks.values()))
        self.count = first.count
        self.period_s: float | None = 1 / (first.rate or _FRAME_RATE)
        self.notes: list[str] = []

    def frames(self) -> Iterator[SourceFrame]:
        """The frames; ends with the shortest track, and a note where that is earlier than the file says."""
        number = 0
        while True:
            images: dict[str, ImageInput] = {}
            for modality, track in self._tracks.items():
                image = track.read()
                if image is None:
                    if self.count is not None and number < self.count:
                        self.notes.append(f"{track.path} ends after {number} of {self.count} frames")
                    return
                images[modality] = image
            stamp_ns = round(number * 1e9 * (self.period_s or 0))
            yield SourceFrame(name=f"{self.name}_{number:06d}", images=images, stamp_ns=stamp_ns)
            number += 1

    def close(self) -> None:
        """Close the videos."""
        for track in self._tracks.values():
            track.close()


def open_video(request: SourceRequest) -> VideoSource:
    """Open a video for each modality, or the files that go with it.

    Raises:
        InvalidInputError: a file is no video that can be read, depth has 8 bits, or the numbers of frames differ.
    """
    tracks: dict[str, _Track] = {}
    try:
        for modality, path in request.inputs.items():
            tracks[modality] = _open_track(modality, path)
        _check_lengths(tracks)
    except BaseException:
        for track in tracks.values():
            track.close()
        raise
    return VideoSource(tracks, next(iter(request.inputs.values())).stem)


class _Track(Protocol):
    path: Path
    count: int | None
    rate: float | None  # frames per second

    def read(self) -> ImageInput | None: ...
    def close(self) -> None: ...


class _VideoTrack:
    def __init__(self, modality: str, path: Path) -> None:
        self.path, self._modality = path, modality
        self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            raise InvalidInputError(
                f"{path} cannot be opened as a video; if it was not written to its end, repair it (ffmpeg -i) first"
            )
        self._is_color = modality == "rgb"
        self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # depth has no such tag
        if not self._is_color:
            self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # 16 bits stay 16 bits
        count = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(self._video.get(cv2.CAP_PROP_FPS))
        self.count = count if count > 0 else None
        self.rate = rate if rate > 0 else None
        self._first = self._decoded()
        if self._first is None:
            raise InvalidInputError(f"{path} holds no frame that can be decoded; give another video")

    def read(self) -> NDArray[Any] | None:
        first, self._first = self._first, None
        return first if first is not None else self._decoded()

    def _decoded(self) -> NDArray[Any] | None:
        done, pixels = self._video.read()
        if not done:
            return None
        pixels = np.asarray(pixels).squeeze()
        if self._is_color:
            return np.ascontiguousarray(pixels[..., ::-1])
        if self._modality == "depth" and (pixels.dtype != np.uint16 or pixels.ndim != 2):
            raise InvalidInputError(
                f"{self.path} stores {pixels.dtype} of shape {pixels.shape}, in which depth is cut off; give a video "
                "of 16 bits (FFV1, gray16le), a folder of 16-bit PNGs, or an npy of frames x height x width"
            )
        return pixels

    def close(self) -> None:
        self._video.release()


class _FolderTrack:
    """Images in the order of their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rate: float | None = None
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            raise InvalidInputError(f"{path} holds no files; give a folder with an image for each frame of the video")
        self.count: int | None = len(files)
        self._files = iter(files)

    def read(self) -> Path | None:
        return next(self._files, None)

    def close(self) -> None:
        pass


class _ArrayTrack:
    """An npy of `N H W`, of which only the frame that is read is in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rate: float | None = None
        try:
            stack = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path} cannot be read as npy ({error}); give frames x height x width") from None
        if stack.ndim < 3 or not stack.size:
            raise InvalidInputError(f"{path} has shape {stack.shape}; give frames x height x width")
        self._stack = stack
        self._next = 0
        self.count: int | None = len(stack)

    def read(self) -> NDArray[Any] | None:
        if self._next >= len(self._stack):
            return None
        self._next += 1
        return np.array(self._stack[self._next - 1])

    def close(self) -> None:
        del self._stack


def _open_track(modality: str, path: Path) -> _Track:
    if path.is_dir():
        return _FolderTrack(path)
    if path.suffix.lower() == ".npy":
        return _ArrayTrack(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InvalidInputError(
            f"{modality} is {path}, beside a video; give a video ({', '.join(VIDEO_SUFFIXES)}), a folder with an image "
            "for each frame, or an npy of frames x height x width"
        )
    return _VideoTrack(modality, path)


def _check_lengths(tracks: dict[str, _Track]) -> None:
    counts = {name: track.count for name, track in tracks.items() if track.count is not None}
    if len(set(counts.values())) > 1:
        several = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InvalidInputError(f"the numbers of frames differ: {several}; give inputs of the same frames")

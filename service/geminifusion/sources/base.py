"""What a source of frames is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import InvalidInputError
from ..images import ImageInput

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy of the pixels of a frame, in pixels."""


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """One scene, of which there is an image by each modality.

    Attributes:
        name: unique in its source and the same every time; results are written under it. May name folders: `a/0001`.
        images: by modality.
        stamp_ns: when it was taken, in nanoseconds (since 1970, or since the start of a video); None if unknown.
        offset_ms: how much later than the colour image the depth was taken, in milliseconds; None if unknown.
        intrinsics: of the camera that all images belong to; None if unknown.
        frame_id: name of the camera's axes in ROS.
        warnings: sentences about this frame.
        error: why it has no images that can be used; None where it has.
    """

    name: str
    images: Mapping[str, ImageInput]
    stamp_ns: int | None = None
    offset_ms: float | None = None
    intrinsics: Intrinsics | None = None
    frame_id: str = ""
    warnings: tuple[str, ...] = ()
    error: InvalidInputError | None = None


class Source(Protocol):
    """Frames of one kind of input.

    Attributes:
        name: what files that hold all frames are called.
        count: number of frames; None if unknown.
        period_s: time from one frame to the next; None if unknown.
        notes: sentences about the whole input, more of them as it is read: what is missing, where it ends early.
    """

    name: str
    count: int | None
    period_s: float | None
    notes: list[str]

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, in order.

        Raises:
            InvalidInputError: the input cannot be read further, and nothing of it could be.
        """

    def close(self) -> None:
        """Close files and devices."""


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What a user gave.

    Attributes:
        inputs: files or folders by modality; of a recording and of a camera only `rgb`, or nothing.
        recursive: folders within folders too.
        skip_unpaired: go on without the files of a folder that have no counterpart.
        rgb_topic, depth_topic: of a recording; None finds them, `none` as the depth goes without.
        max_offset_ms: longest time between the two images of a frame of a recording; None takes that between frames.
        may_differ: the images need not be aligned yet, because the request aligns them.
        camera: kind of a camera, instead of inputs.
    """

    inputs: Mapping[str, Path] = field(default_factory=dict)
    recursive: bool = False
    skip_unpaired: bool = False
    rgb_topic: str | None = None
    depth_topic: str | None = None
    max_offset_ms: float | None = None
    may_differ: bool = False
    camera: str | None = None


def listed(items: list[str], most: int = 10) -> str:
    """Items for a message, the first few of many."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")

"""The frames of a recording."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from ...images import ImageInput, stored_values
from ...ros.images import color_image, depth_image
from ..base import Intrinsics, SourceFrame, SourceRequest, listed
from .pairing import Stamped, StampedPair, pair_by_stamp
from .reading import Recording, Topic, read_recording
from .topics import color_topic, depth_topic, info_topic

_SAMPLE = 16  # colour images that the time between two is measured on
_PERIOD_S = 1 / 30  # where there are too few


class RecordingSource:
    """Colour and depth of a recording, paired by their stamps."""

    def __init__(
        self, recording: Recording, color: Topic, depth: Topic | None, *, name: str, request: SourceRequest
    ) -> None:
        self._recording, self._color, self._depth, self._request = recording, color, depth, request
        self.name = name
        self.count: int | None = color.count
        self.notes = recording.notes
        self.period_s: float | None = _period_s(recording, color)
        max_offset_ms = request.max_offset_ms
        self._max_offset_ns = round((self.period_s or 0) * 1e9 if max_offset_ms is None else max_offset_ms * 1e6)
        first_color = _first(recording, color)
        self._frame_id = str(first_color.header.frame_id)
        size = _check(color, color_image, first_color)
        if depth is not None:
            first_depth = _first(recording, depth)
            self._check_alignment(size, _check(depth, depth_image, first_depth), str(first_depth.header.frame_id))
        self._intrinsics = self._read_intrinsics(size)

    def frames(self) -> Iterator[SourceFrame]:
        """The frames: one for each colour image that has depth near enough in time."""
        alone: list[str] = []
        for pair in self._pairs():
            name = f"{self.name}_{pair.number:06d}"
            if self._depth is not None and pair.depth is None:
                alone.append(name)
                continue
            yield self._frame(name, pair)
        if alone:
            have = "colour images have" if len(alone) > 1 else "colour image has"
            self.notes.append(
                f"{len(alone)} {have} no depth within {self._max_offset_ns / 1e6:.1f} ms and stay out: "
                f"{listed(alone, most=3)}; allow more with --max-offset-ms"
            )

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()

    def _pairs(self) -> Iterator[StampedPair]:
        if self._depth is None:
            for number, (_, color) in enumerate(self._images()):
                yield StampedPair(number=number, color=color, depth=None)
        else:
            yield from pair_by_stamp(self._images(), self._max_offset_ns)

    def _images(self) -> Iterator[tuple[bool, Stamped]]:
        topics = [one.name for one in (self._color, self._depth) if one is not None]
        for topic, recorded_ns, message in self._recording.messages(topics):
            stamp_ns = _stamp_ns(message.header.stamp) or recorded_ns
            yield topic == self._color.name, Stamped(stamp_ns=stamp_ns, content=message)

    def _frame(self, name: str, pair: StampedPair) -> SourceFrame:
        images: dict[str, ImageInput] = {}
        error = None
        try:
            images["rgb"] = color_image(pair.color.content)
            if pair.depth is not None:
                images["depth"] = depth_image(pair.depth.content)
        except InvalidInputError as damage:
            error = damage
        offset_ms = None if pair.depth is None else pair.offset_ns / 1e6
        return SourceFrame(
            name=name,
            images=images,
            stamp_ns=pair.color.stamp_ns,
            offset_ms=offset_ms,
            intrinsics=self._intrinsics,
            frame_id=self._frame_id,
            warnings=() if offset_ms is None else self._offset_warnings(offset_ms),
            error=error,
        )

    def _offset_warnings(self, offset_ms: float) -> tuple[str, ...]:
        half_ms = (self.period_s or _PERIOD_S) * 1e3 / 2
        if abs(offset_ms) <= half_ms:
            return ()
        when = "after" if offset_ms > 0 else "before"
        return (
            f"the depth was taken {abs(offset_ms):.1f} ms {when} the colour image, more than half the time between two "
            f"frames ({half_ms:.1f} ms); what moves is smeared",
        )

    def _check_alignment(self, size: tuple[int, int], depth_size: tuple[int, int], depth_frame: str) -> None:
        if self._request.may_differ:
            return
        assert self._depth is not None
        if size != depth_size:
            raise InvalidInputError(
                f"{self._color.name} is {size[1]}x{size[0]} and {self._depth.name} is {depth_size[1]}x{depth_size[0]}; "
                "record depth that is aligned to colour, or say that both show the same with --align resize"
            )
        if self._frame_id and depth_frame and self._frame_id != depth_frame:
            raise InvalidInputError(
                f"{self._color.name} was taken in frame {self._frame_id} and {self._depth.name} in {depth_frame}, so "
                "their pixels do not belong together; record depth that is aligned to colour, or, if it is, say "
                "--align resize"
            )

    def _read_intrinsics(self, size: tuple[int, int]) -> Intrinsics | None:
        topic = info_topic(self._recording.topics, self._color)
        if topic is None or not topic.count:
            return None
        info = _first(self._recording, topic)
        matrix = info.k if hasattr(info, "k") else info.K  # ROS 2, ROS 1
        if (info.height, info.width) != size or not matrix[0] > 0:
            self.notes.append(
                f"{topic.name} describes {info.width}x{info.height} pixels and {self._color.name} has "
                f"{size[1]}x{size[0]}; its intrinsics are not used"
            )
            return None
        return float(matrix[0]), float(matrix[4]), float(matrix[2]), float(matrix[5])


def open_recording(request: SourceRequest) -> RecordingSource:
    """Open a recording: find its topics, and look at the first image of each.

    Raises:
        InvalidInputError: it cannot be read, a topic is missing, an encoding is not supported, or depth and colour are
            not of the same pixels.
        MissingExtraError: rosbags is not installed.
    """
    path, *others = request.inputs.values()
    if others:
        raise InvalidInputError(
            f"{path} is a recording, which holds every image; choose topics with --rgb-topic and --depth-topic instead "
            f"of giving {others[0]}"
        )
    recording = read_recording(path)
    try:
        color = color_topic(recording.topics, request.rgb_topic)
        depth = depth_topic(recording.topics, request.depth_topic)
        return RecordingSource(recording, color, depth, name=_name(path), request=request)
    except BaseException:
        recording.close()
        raise


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _first(recording: Recording, topic: Topic) -> Any:  # noqa: ANN401 - a message
    for message in recording.messages([topic.name]):
        return message.content
    raise InvalidInputError(f"no message of {topic.name} can be read ({'; '.join(recording.notes)}); record it again")


def _check(topic: Topic, image_of: Any, message: Any) -> tuple[int, int]:  # noqa: ANN401
    """Height and width of the first image of a topic.

    Raises:
        InvalidInputError: it has an encoding that cannot be used.
    """
    try:
        height, width = stored_values(image_of(message)).shape[:2]
    except InvalidInputError as error:
        raise InvalidInputError(f"{topic.name}: {error}") from None
    return height, width


def _period_s(recording: Recording, color: Topic) -> float:
    messages = itertools.islice(recording.messages([color.name]), _SAMPLE)
    stamps = [_stamp_ns(message.content.header.stamp) or message.recorded_ns for message in messages]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps) if later > earlier]
    return statistics.median(steps) / 1e9 if steps else _PERIOD_S


def _stamp_ns(stamp: Any) -> int:  # noqa: ANN401 - builtin_interfaces/Time
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)

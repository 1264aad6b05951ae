"""Which topics of a recording are the colour image, the depth and the camera."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import InvalidInputError
from .reading import Topic

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"

_DEPTH = re.compile(r"depth", re.IGNORECASE)
_COLOR = re.compile(r"rgb|colou?r|image", re.IGNORECASE)
_NEITHER = re.compile(
    r"confidence|disparity|fisheye|infra|/ir(?:/|_|$)|label|mask|overlay|segment|theora", re.IGNORECASE
)
# Depth of the pixels of the colour image, as RealSense, OpenNI and ZED, and Azure and Orbbec name it.
_ALIGNED = re.compile(r"aligned_depth_to_color|depth_registered|depth_to_(?:rgb|color)", re.IGNORECASE)
_RAW_COLOR = re.compile(r"rgb|colou?r", re.IGNORECASE)


def color_topic(topics: Sequence[Topic], named: str | None) -> Topic:
    """The topic of the colour image: the one that was named, or the only one that looks like it.

    Raises:
        InvalidInputError: there is none, or several and none was named; the message lists all with their types.
    """
    if named is not None:
        return _named(topics, named, "--rgb-topic")
    found = [one for one in _images(topics) if not _DEPTH.search(one.name) and _COLOR.search(one.name)]
    return _only(topics, found, _RAW_COLOR, "colour", "--rgb-topic")


def depth_topic(topics: Sequence[Topic], named: str | None) -> Topic | None:
    """The topic of the depth, like `color_topic`; None where `none` was named.

    Raises:
        InvalidInputError: as `color_topic`.
    """
    if named == "none":
        return None
    if named is not None:
        return _named(topics, named, "--depth-topic")
    found = [one for one in _images(topics) if _DEPTH.search(one.name)]
    return _only(topics, found, _ALIGNED, "depth", "--depth-topic")


def info_topic(topics: Sequence[Topic], image: Topic) -> Topic | None:
    """The `CameraInfo` beside an image; None if it was not recorded."""
    namespace = image.name
    while namespace:
        namespace = namespace.rpartition("/")[0]
        for one in topics:
            if one.type == INFO_TYPE and one.name == f"{namespace}/camera_info":
                return one
    return None


def _images(topics: Sequence[Topic]) -> list[Topic]:
    return [one for one in topics if one.type in IMAGE_TYPES and one.count and not _NEITHER.search(one.name)]


def _named(topics: Sequence[Topic], name: str, option: str) -> Topic:
    for one in topics:
        if one.name == name and one.type in IMAGE_TYPES and one.count:
            return one
    raise InvalidInputError(f"{option} {name} is no topic of images in the recording, which has {_described(topics)}")


def _only(topics: Sequence[Topic], found: list[Topic], preferred: re.Pattern[str], what: str, option: str) -> Topic:
    """The only image among those found, after preferred names and, of one image, the topic that has all its bits."""
    found = [one for one in found if preferred.search(one.name)] or found
    by_image: dict[str, Topic] = {}
    for one in sorted(found, key=lambda one: (one.type != IMAGE_TYPES[0], one.name)):
        by_image.setdefault(re.sub(r"/(?:compressed|compressedDepth)$", "", one.name), one)
    if len(by_image) == 1:
        return next(iter(by_image.values()))
    if not by_image:
        raise InvalidInputError(
            f"the recording has no topic that looks like {what}; name one with {option}: it has {_described(topics)}"
        )
    several = ", ".join(one.name for one in by_image.values())
    raise InvalidInputError(f"the recording has several topics of {what}: {several}; choose one with {option}")


def _described(topics: Sequence[Topic]) -> str:
    return ", ".join(f"{one.name} ({one.type}, {one.count})" for one in topics) or "no topics"

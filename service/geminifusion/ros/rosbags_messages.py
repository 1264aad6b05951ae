"""The messages of `nav2.py` by rosbags, and their serialized form."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..errors import requires_extra
from .nav2 import MessageMaker

with requires_extra("writing a recording", "recordings"):
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# vision_msgs is in none of rosbags' stores.
_VISION = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}


@cache
def typestore() -> Any:  # noqa: ANN401 - rosbags' own
    """The messages of ROS 2 Humble and the two of vision_msgs; an image is the same in all its releases."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in _VISION.items():
        store.register(get_types_from_msg(text, name))
    return store


def message_maker() -> MessageMaker:
    """Makes messages that `typestore()` serializes."""
    store = typestore()
    return MessageMaker(type_of=store.types.__getitem__, octets=lambda data: np.frombuffer(data, np.uint8))

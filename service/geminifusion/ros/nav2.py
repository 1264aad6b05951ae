"""What Nav2's semantic segmentation layer subscribes to, as ROS messages: mask, confidence, cloud, names of classes.

One definition for the MCAP that `geminifusion predict` writes and for the ROS 2 node. Topics are those of the layer's
example. A `MessageMaker` says what a message is made of: rosbags' classes without ROS, rclpy's in a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ClassSpec

from ..errors import requires_extra
from ..results import Result

MASK_TOPIC = "/segmentation/mask"
CONFIDENCE_TOPIC = "/segmentation/confidence"
CLOUD_TOPIC = "/segmentation/points"
LABELS_TOPIC = "/segmentation/label_info"  # reliable and transient local, before the first mask

IMAGE = "sensor_msgs/msg/Image"
CLOUD = "sensor_msgs/msg/PointCloud2"
LABELS = "vision_msgs/msg/LabelInfo"

# vision_msgs keeps the highest number of a mono8 mask for pixels of no class.
UNLABELED = 255
_FLOAT32 = 7  # sensor_msgs/PointField


@dataclass(frozen=True, kw_only=True)
class MessageMaker:
    """How to make messages.

    Attributes:
        type_of: the class of a message by its name, such as `sensor_msgs/msg/Image`; takes the fields by keyword.
        octets: bytes as the class takes them for a field of type `uint8[]`.
    """

    type_of: Callable[[str], Any]
    octets: Callable[[bytes], Any]

    def header(self, stamp_ns: int, frame_id: str) -> Any:  # noqa: ANN401 - of any of the libraries
        """A header: nanoseconds since 1970, and the frame of the camera's optical axes."""
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        stamp = self.type_of("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
        return self.type_of("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)

    def mono8(self, header: Any, values: NDArray[np.uint8]) -> Any:  # noqa: ANN401
        """An `Image` of `H W` uint8: the mask, or the confidence."""
        height, width = values.shape
        return self.type_of(IMAGE)(
            header=header,
            height=height,
            width=width,
            encoding="mono8",
            is_bigendian=0,
            step=width,
            data=self.octets(np.ascontiguousarray(values).tobytes()),
        )

    def label_info(self, header: Any, classes: Sequence[ClassSpec]) -> Any:  # noqa: ANN401
        """A `LabelInfo`: the model's classes, and `UNLABELED`."""
        names = {one.id: one.name for one in classes}
        names.setdefault(UNLABELED, "UNLABELED")
        kind = self.type_of("vision_msgs/msg/VisionClass")
        entries = [kind(class_id=number, class_name=name) for number, name in sorted(names.items())]
        return self.type_of(LABELS)(header=header, class_map=entries, threshold=0.0)

    def cloud(self, header: Any, points: NDArray[np.float32]) -> Any:  # noqa: ANN401
        """An organized `PointCloud2`: `H W 3` metres in the camera's optical axes, NaN where nothing was measured."""
        height, width, _ = points.shape
        field = self.type_of("sensor_msgs/msg/PointField")
        return self.type_of(CLOUD)(
            header=header,
            height=height,
            width=width,
            fields=[field(name=axis, offset=4 * place, datatype=_FLOAT32, count=1) for place, axis in enumerate("xyz")],
            is_bigendian=False,
            point_step=12,
            row_step=12 * width,
            data=self.octets(np.ascontiguousarray(points, "<f4").tobytes()),
            is_dense=False,
        )


def confidence_levels(result: Result) -> NDArray[np.uint8]:
    """The confidence of every pixel of the mask, `H W` uint8: 255 is certain.

    Raises:
        ValueError: the result was asked for without its confidence.
        MissingExtraError: OpenCV is not installed.
    """
    if result.confidence is None:
        raise ValueError("this result has no confidence; ask for it")
    with requires_extra("the confidence of every pixel", "client"):
        import cv2
    height, width = result.labels.shape
    enlarged = cv2.resize(result.confidence.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(np.clip(enlarged, 0, 1) * 255).astype(np.uint8)

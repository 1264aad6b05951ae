"""An MCAP that Nav2's semantic segmentation layer takes as it is: `ros2 bag play` is all it needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..errors import requires_extra
from ..results import Result
from ..ros import nav2
from ..ros.rosbags_messages import message_maker, typestore
from ..sources.base import SourceFrame
from .base import FrameError, SinkRequest

with requires_extra("writing a recording", "recordings"):
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    from rosbags.rosbag2 import StoragePlugin, Writer

_PERIOD_S = 1 / 30  # of frames that do not say when they were taken
_FOREVER = QosTime(0, 0)


class Nav2Recording:
    """The folder of a ROS 2 bag with one MCAP: mask and confidence of every frame, its cloud, the names of the classes.

    The classes come once, before the first mask, latched.
    """

    bytes_per_pixel = 2.0  # mask and confidence

    def __init__(self, request: SinkRequest) -> None:
        self._folder = request.path("_segmentation")
        self._classes, self._points = request.classes(), request.points
        self._period_ns = round(1e9 * (request.period_s or _PERIOD_S))
        self._make = message_maker()
        self._topics: dict[str, Any] = {}
        self._count = 0
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._writer = Writer(self._folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._add(nav2.LABELS_TOPIC, nav2.LABELS, is_latched=True)
        self._add(nav2.MASK_TOPIC, nav2.IMAGE)
        self._add(nav2.CONFIDENCE_TOPIC, nav2.IMAGE)

    def has(self, frame: SourceFrame) -> bool:
        """Nothing can be added to a recording."""
        return False

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Add the messages of a frame, all with its stamp."""
        stamp_ns = self._count * self._period_ns if frame.stamp_ns is None else frame.stamp_ns
        header = self._make.header(stamp_ns, frame.frame_id)
        if not self._count:
            self._write(nav2.LABELS_TOPIC, stamp_ns, self._make.label_info(header, self._classes))
        self._write(nav2.MASK_TOPIC, stamp_ns, self._make.mono8(header, result.labels))
        self._write(nav2.CONFIDENCE_TOPIC, stamp_ns, self._make.mono8(header, nav2.confidence_levels(result)))
        if self._points is not None and (points := self._points(frame, result)) is not None:
            if nav2.CLOUD_TOPIC not in self._topics:
                self._add(nav2.CLOUD_TOPIC, nav2.CLOUD)
            self._write(nav2.CLOUD_TOPIC, stamp_ns, self._make.cloud(header, points))
        self._count += 1
        return []

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """A frame without a result has no messages."""

    def close(self) -> list[Path]:
        """Write the index."""
        self._writer.close()
        return [self._folder]

    def _add(self, topic: str, kind: str, *, is_latched: bool = False) -> None:
        durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
        quality = Qos(
            history=QosHistory.KEEP_LAST,
            depth=1 if is_latched else 10,
            reliability=QosReliability.RELIABLE,
            durability=durability,
            deadline=_FOREVER,
            lifespan=_FOREVER,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=_FOREVER,
            avoid_ros_namespace_conventions=False,
        )
        self._topics[topic] = self._writer.add_connection(
            topic, kind, typestore=typestore(), offered_qos_profiles=[quality]
        )

    def _write(self, topic: str, stamp_ns: int, message: Any) -> None:  # noqa: ANN401 - rosbags' own
        self._writer.write(
            self._topics[topic], stamp_ns, typestore().serialize_cdr(message, self._topics[topic].msgtype)
        )

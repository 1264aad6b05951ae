"""Colour and depth in, mask, confidence and names of the classes out, over one stream to a server."""

import array
import importlib
import queue
import threading
import time
from contextlib import suppress

import message_filters
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

from geminifusion.errors import ClientError
from geminifusion.ros import nav2
from geminifusion.ros.images import color_image, depth_image
from geminifusion.segmenters import ServedSegmenter
from geminifusion.sources.base import SourceFrame

RESTART_S = 1.0


def message_class(name):
    """The class of a message by its name, such as `sensor_msgs/msg/Image`."""
    package, _, kind = name.replace("/", ".").rpartition(".")
    return getattr(importlib.import_module(package), kind)


def message_maker():
    """Makes messages of this ROS."""
    return nav2.MessageMaker(type_of=message_class, octets=lambda data: array.array("B", data))


class SegmentNode(Node):
    """Pairs the two images by stamp and publishes what the server answers, with the stamp of the colour image.

    The mask belongs to the pixels of the colour image: give the layer the cloud of the camera's driver that is aligned
    to them as its `pointcloud_topic`.
    """

    def __init__(self):
        super().__init__("geminifusion")
        url = self.declare_parameter("url", "grpc://localhost:8001").value
        slop_s = self.declare_parameter("max_offset_ms", 17.0).value / 1e3
        self._make = message_maker()
        self._segmenter = ServedSegmenter(url, {}, mode="newest")
        self._frames = queue.Queue(maxsize=1)
        latched = QoSProfile(
            depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
        )
        self._mask = self.create_publisher(message_class(nav2.IMAGE), nav2.MASK_TOPIC, qos_profile_sensor_data)
        self._confidence = self.create_publisher(
            message_class(nav2.IMAGE), nav2.CONFIDENCE_TOPIC, qos_profile_sensor_data
        )
        self._labels = self.create_publisher(message_class(nav2.LABELS), nav2.LABELS_TOPIC, latched)
        images = [
            message_filters.Subscriber(self, message_class(nav2.IMAGE), topic, qos_profile=qos_profile_sensor_data)
            for topic in ("rgb", "depth")
        ]
        self._pairs = message_filters.ApproximateTimeSynchronizer(images, queue_size=10, slop=slop_s)
        self._pairs.registerCallback(self._take)
        threading.Thread(target=self._run, daemon=True).start()

    def _take(self, rgb, depth):
        """Keep the newest pair; one that nobody has sent yet gives way."""
        stamp = rgb.header.stamp
        try:
            frame = SourceFrame(
                name=f"{stamp.sec}.{stamp.nanosec:09d}",
                images={"rgb": color_image(rgb), "depth": depth_image(depth)},
                stamp_ns=stamp.sec * 10**9 + stamp.nanosec,
                frame_id=rgb.header.frame_id,
            )
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        with suppress(queue.Empty):
            self._frames.get_nowait()
        self._frames.put_nowait(frame)

    def _run(self):
        """Publish the classes, then what comes back; where the stream breaks, begin again."""
        while rclpy.ok():
            try:
                header = self._make.header(self.get_clock().now().nanoseconds, "")
                self._labels.publish(self._make.label_info(header, self._segmenter.classes()))
                for frame, outcome in self._segmenter.outcomes(iter(self._frames.get, None)):
                    self._publish(frame, outcome)
            except ClientError as error:
                self.get_logger().error(f"{error}; trying again", throttle_duration_sec=5.0)
            time.sleep(RESTART_S)

    def _publish(self, frame, outcome):
        if isinstance(outcome, Exception):
            if getattr(outcome, "code", "") != "frame_superseded":
                self.get_logger().warning(str(outcome), throttle_duration_sec=5.0)
            return
        header = self._make.header(frame.stamp_ns, frame.frame_id)
        self._mask.publish(self._make.mono8(header, outcome.labels))
        self._confidence.publish(self._make.mono8(header, nav2.confidence_levels(outcome)))


def main():
    """Run the node until ROS ends it."""
    rclpy.init()
    node = SegmentNode()
    try:
        with suppress(KeyboardInterrupt):
            rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()

"""The ROS 2 node as far as it goes without ROS: its package is whole, and its messages are those of the recordings."""

import ast
import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from geminifusion import load
from geminifusion.ros import nav2
from geminifusion.ros.images import color_image
from geminifusion.ros.rosbags_messages import typestore
from geminifusion.sources.recordings.reading import read_recording

PACKAGE = Path(__file__).parents[3] / "docker/ros2/geminifusion_ros2"
ROS = ("message_filters", "rclpy", "rclpy.node", "rclpy.qos")


@pytest.fixture
def node_module(monkeypatch):
    """The node's module, with a stand-in of ROS whose messages are rosbags'."""
    for name in ROS:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    sys.modules["rclpy.node"].Node = type("Node", (), {})
    for package in ("builtin_interfaces", "sensor_msgs", "std_msgs", "vision_msgs"):
        kinds = {
            name.rpartition("/")[2]: kind
            for name, kind in typestore().types.items()
            if name.startswith(f"{package}/msg/")
        }
        monkeypatch.setitem(sys.modules, package, SimpleNamespace(msg=SimpleNamespace(**kinds)))
        monkeypatch.setitem(sys.modules, f"{package}.msg", SimpleNamespace(**kinds))
    spec = importlib.util.spec_from_file_location("ros2_node", PACKAGE / "geminifusion_ros2/node.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Publisher(list):
    publish = list.append


def test_what_the_node_publishes_is_read_from_a_recording(node_module, tiny_artifact, make_scene, tmp_path):
    segment, shown = load(tiny_artifact, threads=1), make_scene(0)
    result = segment(shown.rgb, shown.depth_mm)
    node = node_module.SegmentNode.__new__(node_module.SegmentNode)
    node._make, node._mask, node._confidence = node_module.message_maker(), Publisher(), Publisher()
    frame = SimpleNamespace(stamp_ns=12_000_000_345, frame_id="optical")
    node._publish(frame, result)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, (message,) in ((nav2.MASK_TOPIC, node._mask), (nav2.CONFIDENCE_TOPIC, node._confidence)):
            message.data = np.frombuffer(message.data, np.uint8)  # rclpy takes array.array, rosbags NumPy's
            connection = writer.add_connection(topic, nav2.IMAGE, typestore=typestore())
            writer.write(connection, 1, typestore().serialize_cdr(message, nav2.IMAGE))
    recording = read_recording(tmp_path / "bag")
    read = {one.topic: one.content for one in recording.messages([nav2.MASK_TOPIC, nav2.CONFIDENCE_TOPIC])}
    recording.close()
    for topic, expected in ((nav2.MASK_TOPIC, result.labels), (nav2.CONFIDENCE_TOPIC, nav2.confidence_levels(result))):
        np.testing.assert_array_equal(color_image(read[topic])[..., 0], expected)
        stamp = read[topic].header.stamp
        assert (stamp.sec, stamp.nanosec, read[topic].header.frame_id) == (12, 345, "optical")


def test_the_newest_pair_waits_and_a_bad_one_is_logged(node_module, make_scene, make_messages):
    make = make_messages(2)
    node = node_module.SegmentNode.__new__(node_module.SegmentNode)
    node._frames, node.get_logger = node_module.queue.Queue(maxsize=1), MagicMock()
    for number in range(3):
        shown = make_scene(number)
        header = make.header(number, "optical")
        node._take(make.image(header, "rgb8", shown.rgb), make.depth(header, "16UC1", shown.depth_mm))
    frame = node._frames.get_nowait()
    np.testing.assert_array_equal(frame.images["rgb"], make_scene(2).rgb)
    assert frame.stamp_ns == 2
    node._take(make.image(header, "bayer_rggb8", shown.rgb), make.depth(header, "16UC1", shown.depth_mm))
    assert node._frames.empty()
    assert "bayer_rggb8" in node.get_logger().error.call_args.args[0]


def test_the_package_names_what_it_has():
    name = ElementTree.parse(PACKAGE / "package.xml").getroot().findtext("name")
    assert name == "geminifusion_ros2"
    assert (PACKAGE / "resource" / name).is_file()
    setup = (PACKAGE / "setup.py").read_text(encoding="utf-8")
    assert "segment = {NAME}.node:main" in setup
    functions = [
        node.name
        for node in ast.parse((PACKAGE / name / "node.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert "main" in functions
    launch = ast.parse((PACKAGE / "launch/segment.launch.py").read_text())
    assert "generate_launch_description" in [node.name for node in launch.body if isinstance(node, ast.FunctionDef)]

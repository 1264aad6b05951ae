"""Recordings as robots make them, small: the same frames as a ROS 1 bag, a ROS 2 bag and an MCAP."""

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

HEIGHT, WIDTH = 60, 80  # the bundled model takes no less
PERIOD_NS = 33_333_333
BEGIN_NS = 1_700_000_000_000_000_000
COLOR, DEPTH, INFO = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw", "/camera/color/camera_info"
INTRINSICS = (60.5, 61.0, 31.5, 23.5)
QUANTIZED = (800.0, 12.0)  # of inverse depth


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One frame of a recording: colour, and depth in millimetres with a hole."""

    rgb: np.ndarray
    depth_mm: np.ndarray


def scene(seed, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    rgb = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    depth = cv2.resize(rng.integers(500, 4000, (6, 8)).astype(np.uint16), (width, height))
    depth[:6, :8] = 0
    return Scene(rgb=rgb, depth_mm=depth)


def rvl(depth):
    """RVL as its paper encodes it, one nibble after the other."""
    nibbles, flat, last, at = [], [int(value) for value in depth.ravel()], 0, 0

    def number(value):
        while True:
            nibble, value = value & 7, value >> 3
            nibbles.append(nibble | (8 if value else 0))
            if not value:
                return

    while at < len(flat):
        start = at
        while at < len(flat) and flat[at] == 0:
            at += 1
        number(at - start)
        start = at
        while at < len(flat) and flat[at] != 0:
            at += 1
        number(at - start)
        for value in flat[start:at]:
            difference = value - last
            number((difference << 1) ^ (difference >> 31) if difference >= 0 else ((-difference) << 1) - 1)
            last = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [sum(nibble << (28 - 4 * place) for place, nibble in enumerate(nibbles[i : i + 8]))
             for i in range(0, len(nibbles), 8)]  # fmt: skip
    return struct.pack("<ii", depth.shape[1], depth.shape[0]) + struct.pack(f"<{len(words)}I", *words)


def quantized(depth_mm):
    """Inverse depth as `compressed_depth_image_transport` stores floats."""
    scale, shift = QUANTIZED
    metres = np.where(depth_mm, depth_mm * 0.001, np.inf)
    return np.where(depth_mm, np.rint(scale / metres + shift), 0).astype(np.uint16)


class Messages:
    """The messages of one ROS."""

    def __init__(self, version):
        self.store = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
        self.version, self._types = version, self.store.types

    def header(self, stamp_ns, frame_id):
        stamp = self._types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        numbered = {"seq": 0} if self.version == 1 else {}
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **numbered)

    def image(self, header, encoding, pixels, padding=0, big_endian=False):
        """Pixels as they are; `padding` bytes follow every row."""
        rows = pixels.reshape(len(pixels), -1)
        stored = rows.astype(rows.dtype.newbyteorder(">")) if big_endian else rows
        data = np.pad(np.ascontiguousarray(stored).view(np.uint8), ((0, 0), (0, padding)))
        return self._types["sensor_msgs/msg/Image"](
            header=header, height=len(pixels), width=pixels.shape[1], encoding=encoding,
            is_bigendian=int(big_endian), step=data.shape[1], data=data.ravel(),
        )  # fmt: skip

    def compressed(self, header, kind, data):
        return self._types["sensor_msgs/msg/CompressedImage"](
            header=header, format=kind, data=np.frombuffer(data, np.uint8)
        )

    def depth(self, header, kind, depth_mm):
        """Depth in one of the ways in which it is recorded."""
        png = cv2.imencode(".png", depth_mm)[1].tobytes()
        with np.errstate(invalid="ignore"):
            metres = np.where(depth_mm, depth_mm * np.float32(0.001), np.nan).astype(np.float32)
        floats = struct.pack("<iff", 0, *QUANTIZED)
        match kind:
            case "16UC1":
                return self.image(header, kind, depth_mm, padding=8)
            case "32FC1":
                return self.image(header, kind, metres, big_endian=True)
            case "16UC1 png":
                return self.compressed(header, "16UC1; compressedDepth png", bytes(12) + png)
            case "16UC1 rvl":
                return self.compressed(header, "16UC1; compressedDepth rvl", bytes(12) + rvl(depth_mm))
            case "32FC1 png":
                file = cv2.imencode(".png", quantized(depth_mm))[1].tobytes()
                return self.compressed(header, "32FC1; compressedDepth png", floats + file)
        raise AssertionError(kind)

    def info(self, header, height, width):
        fx, fy, cx, cy = INTRINSICS
        roi = self._types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        names = "DKRP" if self.version == 1 else "dkrp"
        matrices = dict(zip(names, (np.zeros(5), np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]), np.eye(3).ravel(),
                                    np.zeros(12)), strict=True))  # fmt: skip
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=header, height=height, width=width, distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi,
            **matrices,
        )  # fmt: skip


def write_messages(path, storage, messages, store):
    """Write (topic, time, message) in this order; the path that `predict` takes."""
    if storage == "ros1":
        path = path.with_suffix(".bag")
        writer, serialize = Writer1(path), store.serialize_ros1
    else:
        plugin = StoragePlugin.SQLITE3 if storage == "ros2" else StoragePlugin.MCAP
        writer, serialize = Writer2(path, version=9, storage_plugin=plugin), store.serialize_cdr
    with writer:
        topics = {}
        for topic, stamp_ns, message in messages:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(topics[topic], stamp_ns, serialize(message, message.__msgtype__))
    return next(path.glob("*.mcap")) if storage == "mcap" else path


@dataclass(frozen=True)
class Recorder:
    """Writes recordings of the scenes 0, 1, 2…"""

    folder: Path

    def write(
        self, name, storage="mcap", *, count=30, depth="16UC1", color="rgb8", offset_ns=4_000_000, frame_id="optical",
        depth_frame_id=None, topics=(COLOR, DEPTH, INFO), without=(), depth_size=(HEIGHT, WIDTH), encoding=None,
    ):  # fmt: skip
        """A recording whose depth was taken `offset_ns` (a number, or of a frame's number) after colour."""
        make = Messages(1 if storage == "ros1" else 2)
        messages = []
        for number in range(count):
            shown, stamp_ns = scene(number), BEGIN_NS + number * PERIOD_NS
            later_ns = offset_ns(number) if callable(offset_ns) else offset_ns
            header = make.header(stamp_ns, frame_id)
            depth_header = make.header(stamp_ns + later_ns, depth_frame_id or frame_id)
            depth_mm = shown.depth_mm if depth_size == (HEIGHT, WIDTH) else scene(number, *depth_size).depth_mm
            if color == "jpeg":
                file = cv2.imencode(".jpg", shown.rgb[..., ::-1])[1].tobytes()
                picture = make.compressed(header, "rgb8; jpeg compressed bgr8", file)
            else:
                picture = make.image(header, encoding or color, shown.rgb[..., :: -1 if color == "bgr8" else 1])
            messages += [
                (topics[0], stamp_ns, picture),
                (topics[1], stamp_ns + later_ns, make.depth(depth_header, depth, depth_mm)),
                (topics[2], stamp_ns, make.info(header, HEIGHT, WIDTH)),
            ]
        kept = [one for one in sorted(messages, key=lambda one: one[1]) if one[0] not in without]
        return write_messages(self.folder / name, storage, kept, make.store)


@pytest.fixture
def recorder(tmp_path):
    (tmp_path / "recordings").mkdir()
    return Recorder(tmp_path / "recordings")


@pytest.fixture(scope="session")
def make_scene():
    """`make_scene(seed)`: the scene that frame `seed` of a recording shows."""
    return scene


@pytest.fixture(scope="session")
def make_messages():
    """`make_messages(version)`: the messages of ROS 1 or 2."""
    return Messages


@pytest.fixture(scope="session")
def encode_rvl():
    return rvl

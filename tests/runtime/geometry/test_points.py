"""Points of scenes whose places are known, registered by known cameras, and read back by readers that are not ours."""

import io
import struct

import numpy as np
import pytest
import trimesh

from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.geometry.files import cloud_comments, encode_cloud
from geminifusion_runtime.geometry.measures import class_spaces
from geminifusion_runtime.geometry.points import point_cloud
from geminifusion_runtime.geometry.registration import register_depth

MILLIMETRE = 0.001
CAMERA = Intrinsics(fx=290.0, fy=291.0, cx=158.3, cy=121.1)
SIZE = (240, 320)
ANGLE = np.radians(2.0)  # of the depth camera about the vertical
ROTATION = np.array([[np.cos(ANGLE), 0, np.sin(ANGLE)], [0, 1, 0], [-np.sin(ANGLE), 0, np.cos(ANGLE)]])
BASELINE = np.array([0.05, -0.01, 0.02])
POSE = Pose.of(np.column_stack([ROTATION, BASELINE]).ravel().tolist())
IDENTITY = Pose.of([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0])


def looks(size, camera):
    """`H W 3`: where each pixel looks at z = 1, by the definition of a pinhole."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(size)], axis=2)


def room(size, camera, rotation=ROTATION, origin=BASELINE):
    """Depth and labels of a wall at 3 m (class 1) and, before it, a board of 1.0 x 0.6 m at 2 m (class 2).

    The world is the other camera's; a camera is where `origin` is, turned by `rotation` (its axes in the world).
    """
    beams = looks(size, camera) @ rotation.T
    wall = (3.0 - origin[2]) / beams[..., 2]
    board = (2.0 - origin[2]) / beams[..., 2]
    hits = origin + board[..., None] * beams
    on_board = (np.abs(hits[..., 0]) <= 0.5) & (np.abs(hits[..., 1]) <= 0.3)
    depth = np.where(on_board, board, wall).astype(np.float32)
    return depth, np.where(on_board, 2, 1).astype(np.uint8)


def at_the_world(size, camera):
    return room(size, camera, np.eye(3), np.zeros(3))


def test_points_lie_where_the_scene_is():
    depth, labels = at_the_world(SIZE, CAMERA)
    depth[10:20, 30:40] = 0
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    confidence = np.arange(60 * 80, dtype=np.float32).reshape(60, 80) / 4800
    cloud = point_cloud(depth, CAMERA, labels=labels, colors=rgb, confidence=confidence)
    measured = depth > 0
    assert len(cloud) == measured.sum() == 240 * 320 - 100
    expected = (looks(SIZE, CAMERA) * np.where(labels == 2, 2.0, 3.0)[..., None])[measured]
    assert np.abs(cloud.xyz - expected).max() < MILLIMETRE / 100
    np.testing.assert_array_equal(cloud.rgb, rgb[measured])
    np.testing.assert_array_equal(cloud.label, labels[measured])
    of_pixel = np.repeat(np.repeat(confidence, 4, axis=0), 4, axis=1)[measured]
    np.testing.assert_array_equal(cloud.confidence, of_pixel.astype(np.float16).astype(np.float32))


def test_registered_distances_are_right_to_a_millimetre():
    depth, _ = room(SIZE, CAMERA)
    target, size = Intrinsics(fx=431.0, fy=430.0, cx=241.0, cy=178.5), (360, 480)
    truth, labels = at_the_world(size, target)
    registered = register_depth(depth, CAMERA, target=target, pose=POSE, size=size)
    measured = registered > 0
    inner = np.zeros(size, bool)
    inner[40:-40, 40:-40] = True
    # A pixel beside the board's edge may be on either side of it.
    edge = np.zeros(size, bool)
    for axis in (0, 1):
        for step in range(-3, 4):
            edge |= np.roll(labels, step, axis) != labels
    sure = measured & inner & ~edge
    assert sure.sum() > 0.9 * (inner & ~edge).sum()
    assert np.abs(registered - truth)[sure].max() < MILLIMETRE
    spaces = class_spaces(np.where(sure, registered, 0), labels, target)
    assert spaces[2].box_min_m[2] == pytest.approx(2.0, abs=MILLIMETRE)
    assert spaces[1].box_max_m[2] == pytest.approx(3.0, abs=MILLIMETRE)


def test_what_the_depth_camera_does_not_see_is_a_hole_and_the_nearest_wins():
    depth, _ = room(SIZE, CAMERA)
    registered = register_depth(depth, CAMERA, target=CAMERA, pose=POSE, size=SIZE)
    truth, labels = at_the_world(SIZE, CAMERA)
    seen = registered > 0
    assert 0.80 < seen.mean() < 0.97
    holes = ~seen[60:180, 60:260]
    assert holes.any()  # behind the board's edge
    assert (labels[60:180, 60:260][holes] == 1).mean() > 0.9
    off = np.abs(registered - truth) > 0.5
    assert (off & seen).sum() < 0.01 * seen.sum()  # only beside edges


def test_registration_with_no_shift_changes_nothing():
    depth = np.random.default_rng(1).uniform(0.5, 8, SIZE).astype(np.float32)
    depth[::7] = 0
    np.testing.assert_array_equal(register_depth(depth, CAMERA, target=CAMERA, pose=IDENTITY, size=SIZE), depth)


def test_a_larger_picture_is_covered_without_cracks():
    depth, _ = room(SIZE, CAMERA)
    large = CAMERA.resized(SIZE, (720, 960))
    registered = register_depth(depth, CAMERA, target=large, pose=IDENTITY, size=(720, 960))
    assert (registered > 0).all()


def test_cameras_of_far_too_different_pixels_are_refused():
    depth = np.ones(SIZE, np.float32)
    wide = Intrinsics(fx=20, fy=20, cx=160, cy=120)
    narrow = Intrinsics(fx=9000, fy=9000, cx=160, cy=120)
    with pytest.raises(ValueError, match="make a pixel of the depth 450 pixels wide in rgb"):
        register_depth(depth, wide, target=narrow, pose=IDENTITY, size=SIZE)


def test_boxes_and_distances_of_classes_are_right_to_a_millimetre():
    depth, labels = at_the_world(SIZE, CAMERA)
    board = class_spaces(depth, labels, CAMERA)[2]
    pixel = 2.0 / 290  # metres at the board; its edges are seen to half a pixel
    assert board.box_min_m == pytest.approx((-0.5, -0.3, 2.0), abs=pixel)
    assert board.box_max_m == pytest.approx((0.5, 0.3, 2.0), abs=pixel)
    rows, columns = np.nonzero(labels == 2)
    outermost = looks(SIZE, CAMERA)[rows, columns] * 2.0
    assert board.box_min_m == pytest.approx(outermost.min(axis=0), abs=MILLIMETRE)
    assert board.box_max_m == pytest.approx(outermost.max(axis=0), abs=MILLIMETRE)
    assert board.nearest_m == pytest.approx(np.percentile(np.linalg.norm(outermost, axis=1), 2), abs=MILLIMETRE)
    assert board.area_m2 == pytest.approx(0.6, rel=0.02)
    assert board.volume_m3 == pytest.approx(0, abs=1e-6)
    assert board.points == len(rows)


def test_stray_readings_do_not_move_a_box():
    depth, labels = at_the_world(SIZE, CAMERA)
    clean = class_spaces(depth, labels, CAMERA)[2]
    rows, columns = np.nonzero(labels == 2)
    strays = np.random.default_rng(2).choice(len(rows), len(rows) // 100, replace=False)
    depth[rows[strays], columns[strays]] = 9.0
    dirty = class_spaces(depth, labels, CAMERA)[2]
    assert dirty.box_max_m == pytest.approx(clean.box_max_m, abs=0.02)
    assert dirty.nearest_m == pytest.approx(clean.nearest_m, abs=MILLIMETRE)


@pytest.fixture(scope="module")
def cloud():
    depth, labels = at_the_world((12, 16), Intrinsics(fx=10.0, fy=10.0, cx=7.5, cy=5.5))
    depth[3, 4] = 0
    rgb = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    sure = np.random.default_rng(4).random((3, 4)).astype(np.float32)
    return point_cloud(depth, Intrinsics(fx=10.0, fy=10.0, cx=7.5, cy=5.5), labels=labels, colors=rgb, confidence=sure)


def test_trimesh_opens_the_ply(cloud):
    comments = cloud_comments("tiny@1", CAMERA, {2: "Stuhl, groß", 1: "wall"})
    loaded = trimesh.load(io.BytesIO(encode_cloud(cloud, "ply", comments)), file_type="ply")
    assert isinstance(loaded, trimesh.PointCloud)
    np.testing.assert_array_equal(loaded.vertices.astype(np.float32), cloud.xyz)
    np.testing.assert_array_equal(loaded.colors[:, :3], cloud.rgb)
    data = loaded.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(data["label"].ravel(), cloud.label)
    np.testing.assert_array_equal(data["confidence"].ravel(), cloud.confidence)
    assert b"\ncomment label 1 wall\ncomment label 2 Stuhl, gro?\n" in encode_cloud(cloud, "ply", comments)


def read_pcd(content):
    """The fields of a binary PCD by its specification, version 0.7: every header line in its order, then the points."""
    lines, rest = [], content
    while not lines or not lines[-1].startswith("DATA"):
        line, rest = rest.split(b"\n", 1)
        lines.append(line.decode("ascii"))
    entries = [line.split() for line in lines if not line.startswith("#")]
    assert [entry[0] for entry in entries] == [
        "VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA"
    ]  # fmt: skip
    header = {entry[0]: entry[1:] for entry in entries}
    assert header["VERSION"] == ["0.7"]
    assert header["DATA"] == ["binary"]
    assert header["VIEWPOINT"] == ["0", "0", "0", "1", "0", "0", "0"]
    assert int(header["WIDTH"][0]) * int(header["HEIGHT"][0]) == int(header["POINTS"][0])
    codes = {("F", "4"): "f", ("U", "4"): "I"}
    assert set(header["COUNT"]) == {"1"}
    layout = "<" + "".join(codes[kind, size] for kind, size in zip(header["TYPE"], header["SIZE"], strict=True))
    assert len(rest) == struct.calcsize(layout) * int(header["POINTS"][0])
    return dict(zip(header["FIELDS"], map(np.array, zip(*struct.iter_unpack(layout, rest), strict=True)), strict=True))


def test_a_pcd_follows_the_specification(cloud):
    fields = read_pcd(encode_cloud(cloud, "pcd", ["model tiny@1"]))
    np.testing.assert_array_equal(np.stack([fields[axis] for axis in "xyz"], axis=1).astype(np.float32), cloud.xyz)
    packed = fields["rgb"].astype(np.float32).view(np.uint32)
    np.testing.assert_array_equal(np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1), cloud.rgb)
    np.testing.assert_array_equal(fields["label"], cloud.label)
    np.testing.assert_array_equal(fields["confidence"].astype(np.float32), cloud.confidence)


def test_an_npz_of_points_has_the_arrays(cloud):
    with np.load(io.BytesIO(encode_cloud(cloud, "cloud-npz"))) as arrays:
        for name in ("xyz", "rgb", "label", "confidence"):
            np.testing.assert_array_equal(arrays[name], getattr(cloud, name))


@pytest.mark.parametrize("file_format", ["ply", "pcd", "cloud-npz"])
def test_a_scene_without_a_measurement_is_an_empty_file(file_format):
    empty = point_cloud(
        np.zeros((4, 4), np.float32), CAMERA, labels=np.zeros((4, 4), np.uint8), colors=np.zeros((4, 4, 3), np.uint8)
    )
    assert len(empty) == 0
    assert len(encode_cloud(empty, file_format)) > 100


@pytest.mark.parametrize(
    ("camera", "size", "problem"),
    [
        ((500, 500, 319.5, 239.5), (480, 640), None),
        ((500, 500, 150, 300), (480, 640), None),  # cut out of a larger image
        ((600, 600, 639.5, 359.5), (360, 640), "are those of an image of about 1280x720, and this one has 640x360"),
        ((250, 250, 159.5, 119.5), (480, 640), "are those of an image of about 320x240, and this one has 640x480"),
        (
            (500, 500, 5000, 239.5),
            (480, 640),
            "have their principal point at 5000,239.5, far outside an image of 640x480",
        ),
        ((0.5, 500, 319.5, 239.5), (480, 640), "give an image of 640x480 an angle of view of 180 degrees"),
        ((5e5, 5e5, 319.5, 239.5), (480, 640), "give an image of 640x480 an angle of view of 0.0733 degrees"),
    ],
)
def test_cameras_that_cannot_be_those_of_the_image(camera, size, problem):
    assert Intrinsics.of(camera).problem(size) == problem

"""Points and measures of a pair, every way in: the same bytes; and what makes none is refused in one sentence."""

import io
import json
import struct

import httpx
import numpy as np
import pytest
import trimesh
from click.testing import CliRunner
from websockets.sync.client import connect

from geminifusion import Client, load
from geminifusion.commands import predict
from geminifusion.errors import InvalidInputError, RequestRejectedError
from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.geometry.registration import register_depth

CAMERA = (60.0, 61.0, 34.5, 24.5)
RGB_CAMERA = (90.0, 90.0, 34.0, 25.0)
ANGLE = np.radians(3)
EXTRINSICS = (
    (np.cos(ANGLE), 0.0, np.sin(ANGLE), 0.05),
    (0.0, 1.0, 0.0, 0.01),
    (-np.sin(ANGLE), 0.0, np.cos(ANGLE), 0.0),
)
REGISTER = {
    "intrinsics": CAMERA,
    "rgb_intrinsics": RGB_CAMERA,
    "extrinsics": EXTRINSICS,
    "align": "register",
}
FORMATS = ("ply", "pcd", "cloud-npz")


@pytest.fixture(scope="module")
def segment(tiny_artifact):
    return load(tiny_artifact, threads=1)


@pytest.fixture(scope="module", params=["aligned", "resized", "registered"])
def case(request, pair):
    """Depth and the options of its request."""
    small = pair.depth_mm[::2, ::2].copy()
    small_camera = Intrinsics.of(CAMERA).resized((50, 70), (25, 35))
    return {
        "aligned": (pair.depth_mm, {"intrinsics": CAMERA}),
        "resized": (small, {"intrinsics": tuple(vars(small_camera).values()), "align": "resize"}),
        "registered": (pair.depth_mm, REGISTER),
    }[request.param]


def as_query(options):
    return {
        name: value if isinstance(value, str) else ",".join(map(repr, np.ravel(value).tolist()))
        for name, value in options.items()
    }


def over_http(server, pair, depth, options, **more):
    buffer = io.BytesIO()
    np.save(buffer, depth)
    files = {"rgb": pair.rgb_path.read_bytes(), "depth": buffer.getvalue()}
    with httpx.Client(trust_env=False) as http:
        return http.post(f"{server.http_url}/v1/segment", params={**as_query(options), **more}, files=files)


def over_grpc(server, pair, depth, options, file_format):
    import grpc

    from geminifusion_runtime.options import SEGMENT_OPTIONS
    from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
    from geminifusion_service.pb import segmentation_pb2 as pb
    from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

    buffer = io.BytesIO()
    np.save(buffer, depth)
    fields = SEGMENT_MESSAGES.fields(SEGMENT_OPTIONS.parse_text({**as_query(options), "format": file_format}))
    with grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel:
        images = {"rgb": pair.rgb_path.read_bytes(), "depth": buffer.getvalue()}
        return SegmentationStub(channel).Segment(pb.SegmentRequest(images=images, **fields))


def over_websocket(server, pair, depth, options, file_format):
    buffer = io.BytesIO()
    np.save(buffer, depth)
    images = {"rgb": pair.rgb_path.read_bytes(), "depth": buffer.getvalue()}
    plain = {name: value if isinstance(value, str) else np.ravel(value).tolist() for name, value in options.items()}
    header = json.dumps({"images": {name: len(data) for name, data in images.items()}, "format": file_format, **plain})
    with connect(f"{server.http_url.replace('http', 'ws')}/v1/stream", proxy=None) as socket:
        socket.send(struct.pack("<I", len(header)) + header.encode() + b"".join(images.values()))
        message = socket.recv()
    (length,) = struct.unpack_from("<I", message)
    return message[4 + length :]


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_way_gives_the_same_file_of_points(file_format, case, live_server, segment, pair, tmp_path):
    depth, options = case
    suffix = ".npz" if file_format == "cloud-npz" else f".{file_format}"
    here = segment(pair.rgb, depth, **options)
    expected = here.save_pointcloud(tmp_path / f"here{suffix}").read_bytes()
    answer = over_http(live_server, pair, depth, options, format=file_format)
    assert answer.status_code == 200, answer.text
    assert answer.content == expected
    assert answer.headers["content-type"] == {"ply": "application/x-ply", "pcd": "application/x-pcd"}.get(
        file_format, "application/x-npz"
    )
    assert over_grpc(live_server, pair, depth, options, file_format).mask == expected
    assert over_websocket(live_server, pair, depth, options, file_format) == expected
    for url in (live_server.http_url, live_server.grpc_url):
        with Client(url) as client:
            there = client.segment(pair.rgb_path, depth, **options)
            assert there.save_pointcloud(tmp_path / f"there{suffix}").read_bytes() == expected
            assert there.classes == here.classes
            assert all(share.space for share in there.classes)
            with pytest.raises(
                InvalidInputError, match="made without lidar, so its points are not known; it has rgb, depth"
            ):
                there.to_pointcloud(depth="lidar")
            (streamed,) = client.stream([(pair.rgb, depth)], confidence=True, **options)
            assert streamed.result.classes == here.classes
            assert streamed.result.save_pointcloud(tmp_path / f"streamed{suffix}").read_bytes() == expected


def test_accept_asks_for_points_too(live_server, pair):
    buffer = io.BytesIO()
    np.save(buffer, pair.depth_mm)
    with httpx.Client(trust_env=False, headers={"accept": "application/x-ply"}) as http:
        answer = http.post(
            f"{live_server.http_url}/v1/segment",
            params={"intrinsics": ",".join(map(str, CAMERA))},
            files={"rgb": pair.rgb_path.read_bytes(), "depth": buffer.getvalue()},
        )
    assert answer.content.startswith(b"ply\n")


def test_points_and_measures_are_those_of_the_registered_depth(segment, pair):
    result = segment(pair.rgb, pair.depth_mm, **REGISTER)
    metres = pair.depth_mm * np.float32(0.001)
    depth = register_depth(
        metres,
        Intrinsics.of(CAMERA),
        target=Intrinsics.of(RGB_CAMERA),
        pose=Pose.of([number for row in EXTRINSICS for number in row]),
        size=(50, 70),
    )
    cloud = result.to_pointcloud()
    assert len(cloud) == np.count_nonzero(depth)
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns]
    np.testing.assert_allclose(cloud.xyz[:, 0], (columns - 34.0) / 90 * z, atol=1e-6)
    np.testing.assert_array_equal(cloud.rgb, pair.rgb[rows, columns])
    np.testing.assert_array_equal(cloud.label, result.labels[rows, columns])
    for share in result.classes:
        own = cloud.xyz[cloud.label == share.id]
        assert share.space.points == len(own)
        assert share.space.nearest_m == pytest.approx(np.percentile(np.linalg.norm(own, axis=1), 2), abs=1e-6)
        assert (own.min(axis=0) - 1e-6 <= share.space.box_min_m).all()
        assert (own.max(axis=0) + 1e-6 >= share.space.box_max_m).all()
    assert any("was registered to rgb, of whose pixels" in warning for warning in result.warnings)


def test_a_camera_may_come_as_a_matrix_or_with_the_points(segment, pair, tmp_path):
    fx, fy, cx, cy = CAMERA
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    bare = segment(pair.rgb, pair.depth_mm)
    assert all(share.space is None for share in bare.classes)
    expected = segment(pair.rgb, pair.depth_mm, intrinsics=CAMERA).to_pointcloud()
    for cloud in (
        segment(pair.rgb, pair.depth_mm, intrinsics=matrix).to_pointcloud(),
        bare.to_pointcloud(matrix),
        bare.to_pointcloud(list(CAMERA)),
    ):
        np.testing.assert_array_equal(cloud.xyz, expected.xyz)
        np.testing.assert_array_equal(cloud.label, expected.label)
    with pytest.raises(InvalidInputError, match=r"points need the camera of depth; give intrinsics=\(fx, fy, cx, cy\)"):
        bare.to_pointcloud()
    with pytest.raises(InvalidInputError, match=r"cannot save points as '.las'; use .ply, .pcd or .npz"):
        bare.save_pointcloud(tmp_path / "points.las", CAMERA)
    with pytest.raises(InvalidInputError, match="intrinsics is a matrix of 2 x 2 that no pinhole has"):
        bare.to_pointcloud(np.eye(2))
    with pytest.raises(InvalidInputError, match="are those of an image of about 140x100, and this one has 70x50"):
        bare.to_pointcloud((120, 120, 69.5, 49.5))


def refused(live_server, segment, pair, images, options):
    """The sentence that a request and `load()` are refused with, which has to be the same."""
    with pytest.raises(GeminiFusionError) as here:
        segment(**images, **options)
    for url in (live_server.http_url, live_server.grpc_url):
        with Client(url) as client, pytest.raises(RequestRejectedError) as there:
            client.segment(**images, **options)
        assert (str(there.value), there.value.code) == (str(here.value), here.value.code)
    return str(here.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"intrinsics": (60, 60, 3000, 25)}, "intrinsics have their principal point at 3000,25, far outside"),
        ({"intrinsics": (120, 120, 69.5, 49.5)}, "intrinsics are those of an image of about 140x100"),
        ({"rgb_intrinsics": (180, 180, 139.5, 99.5)}, "rgb_intrinsics are those of an image of about 280x200"),
        ({"rgb_intrinsics": (0.1, 0.1, 35, 25)}, "rgb_intrinsics give an image of 70x50 an angle of view of 180"),
        ({"extrinsics": None}, "extrinsics is missing; send all"),
        ({"rgb_intrinsics": None}, "rgb_intrinsics is missing; send all"),
        ({"intrinsics": None}, "align=register needs the camera; send intrinsics=fx,fy,cx,cy in pixels of depth"),
        ({"align": "none"}, "rgb_intrinsics came without align=register, which alone needs them"),
        (
            {"extrinsics": (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0)},
            "with these extrinsics rgb sees no point of depth; send [R|t] from the depth camera to the rgb camera",
        ),
    ],
)
def test_cameras_that_make_no_sense_are_refused_in_one_sentence(change, sentence, live_server, segment, pair):
    options = {name: value for name, value in {**REGISTER, **change}.items() if value is not None}
    images = {"rgb": pair.rgb, "depth": pair.depth_mm}
    assert sentence in refused(live_server, segment, pair, images, options)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({}, "format=ply needs the camera; send intrinsics=fx,fy,cx,cy in pixels of depth"),
        ({"intrinsics": "-1,60,35,25"}, "intrinsics is '-1,60,35,25', expected fx,fy,cx,cy"),
        (
            {"intrinsics": "60,60,35,25", "align": "register", "rgb_intrinsics": "60,60,35,25", "extrinsics": "1,0"},
            "extrinsics is '1,0', expected the twelve numbers",
        ),
    ],
)
def test_points_that_cannot_be_made_are_refused_in_one_sentence(query, sentence, live_server, pair):
    answer = over_http(live_server, pair, pair.depth_mm, query, format="ply")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_option"
    assert sentence in answer.json()["detail"]


def test_predict_writes_files_of_points(tiny_artifact, live_server, pair, tmp_path):
    camera = ["--intrinsics", *map(str, CAMERA)]
    register = [
        *("--align", "register", "--rgb-intrinsics", *map(str, RGB_CAMERA)),
        *("--extrinsics", *(str(number) for row in EXTRINSICS for number in row)),
    ]
    formats = [part for name in FORMATS for part in ("--format", name)]
    written = {}
    for place in (["--artifact", str(tiny_artifact)], ["--url", live_server.http_url]):
        folder = tmp_path / place[0].strip("-")
        arguments = [str(pair.rgb_path), str(pair.depth_path), *place, *camera, *register, *formats]
        done = CliRunner().invoke(predict, [*arguments, "--output", str(folder)])
        assert done.exit_code == 0, done.output
        written[place[0]] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written["--artifact"] == written["--url"]
    assert set(written["--url"]) == {"room.ply", "room.pcd", "room_cloud.npz"}
    loaded = trimesh.load(io.BytesIO(written["--url"]["room.ply"]), file_type="ply")
    assert len(loaded.vertices) > 1000

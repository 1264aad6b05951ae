"""One pair, every way in: the same bits."""

import io
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest

from geminifusion import AsyncClient, Client, load
from geminifusion_runtime.decoding.depth import to_metres


@pytest.fixture(scope="module")
def segment(tiny_artifact):
    return load(tiny_artifact, threads=1)


def assert_same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.classes == other.classes
    assert one.model == other.model
    for ours, theirs in ((one.confidence, other.confidence), (one.gate, other.gate)):
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_array_equal(ours.astype(np.float16), theirs.astype(np.float16))


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(request, live_server):
    with Client(getattr(live_server, f"{request.param}_url")) as client:
        yield client


def test_a_server_answers_what_this_process_answers(client, segment, pair):
    here = segment(pair.rgb_path, pair.depth_path)
    assert len(here.classes) > 1
    assert here.labels.shape == (50, 70)
    assert here.gate.shape == here.confidence.shape == (13, 18)
    assert_same(client.segment(pair.rgb_path, pair.depth_path), here)


def test_paths_bytes_and_arrays_are_the_same_picture(client, segment, pair):
    here = segment(pair.rgb, pair.depth_mm)
    metres = to_metres(pair.depth_mm).metres.astype(np.float64)
    for rgb, depth, scale in (
        (str(pair.rgb_path), pair.depth_path.read_bytes(), None),
        (pair.rgb_path.read_bytes(), pair.depth_mm, 0.001),
        (pair.rgb, metres, None),
    ):
        assert_same(client.segment(rgb, depth, depth_scale=scale), here)
        assert_same(segment(rgb, depth, depth_scale=scale), here)


@pytest.mark.parametrize("markers", [65535, (65535, 3.0), np.float32(65535)])
def test_marks_of_no_measurement_reach_the_network(client, segment, pair, markers):
    holes = pair.depth_mm.copy()
    holes[5:20] = 0
    marked = holes.copy()
    marked[5:20] = 65535
    here = segment(pair.rgb, marked, depth_invalid=markers)
    assert_same(client.segment(pair.rgb, marked, depth_invalid=markers), here)
    np.testing.assert_array_equal(here.labels, segment(pair.rgb, holes).labels)
    assert (here.labels != segment(pair.rgb, marked).labels).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_marks_in_floats_are_those_of_this_process(client, segment, pair, dtype):
    metres = to_metres(pair.depth_mm).metres.astype(dtype)
    metres[5:20] = 9.9
    here = segment(pair.rgb, metres, depth_invalid=9.9)
    assert_same(client.segment(pair.rgb, metres, depth_invalid=9.9), here)
    if dtype != np.float16:  # which stores 9.8984375
        metres[5:20] = 0
        np.testing.assert_array_equal(here.labels, segment(pair.rgb, metres).labels)


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">f8"])
def test_the_byte_order_of_an_array_changes_nothing(client, segment, pair, dtype):
    here = segment(pair.rgb, pair.depth_mm)
    scale = None if dtype == ">u2" else 0.001
    for asked in (segment, client.segment):
        theirs = asked(pair.rgb, pair.depth_mm.astype(dtype), depth_scale=scale)
        np.testing.assert_array_equal(theirs.labels, here.labels)
        assert theirs.overlay(on="depth").shape == (50, 70, 3)


def test_a_tiff_with_an_orientation_is_taken_as_stored_also_to_draw_on(client, segment, pair):
    plain = cv2.imencode(".tiff", pair.depth_mm)[1].tobytes()
    layout = struct.pack("<HHIHH", 284, 3, 1, 1, 0)  # a tag that can be missed
    assert layout in plain
    here = segment(pair.rgb, plain)
    drawn = client.segment(pair.rgb, plain).overlay(on="depth")
    for orientation in (3, 6):
        turned = plain.replace(layout, struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
        for asked in (segment, client.segment):
            result = asked(pair.rgb, turned)
            np.testing.assert_array_equal(result.labels, here.labels)
            assert any("orientation tag" in warning for warning in result.warnings)
        np.testing.assert_array_equal(result.overlay(on="depth"), drawn)
    with pytest.raises(Exception, match="orientation tag"):
        segment(np.ascontiguousarray(pair.rgb.transpose(1, 0, 2)), turned)


def test_sizes_are_aligned_here_as_on_a_server(client, segment, pair):
    lidar = np.ascontiguousarray(pair.depth_mm[::2, ::2])
    with pytest.raises(Exception, match="align=resize"):
        segment(pair.rgb, lidar)
    here, there = (asked(pair.rgb, lidar, align="resize") for asked in (segment, client.segment))
    assert_same(there, here)
    assert here.warnings == there.warnings != ()
    assert here.labels.shape == (50, 70)


BROKEN = {
    "nothing measured": lambda pair: (pair.rgb, np.zeros_like(pair.depth_mm)),
    "black": lambda pair: (np.zeros_like(pair.rgb), pair.depth_mm),
    "beyond the range": lambda pair: (pair.rgb, pair.depth_mm + np.uint16(30_000)),
    "no data as a number": lambda pair: (pair.rgb, np.where(pair.depth_mm > 2000, 3.4e38, pair.depth_mm / 1000)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_sensor_is_told_here_as_by_a_server(client, segment, pair, case):
    images = BROKEN[case](pair)
    here, there = segment(*images), client.segment(*images)
    assert here.warnings == there.warnings != ()
    assert here.sensors.keys() == there.sensors.keys() == {"rgb", "depth"}
    for name, health in here.sensors.items():
        assert health.problem == there.sensors[name].problem
    if case != "no data as a number":
        with pytest.raises(Exception, match="sensor_policy=warn"):
            segment(*images, sensor_policy="reject")


def test_depth_scale_reaches_the_network(client, segment, pair):
    far = client.segment(pair.rgb, pair.depth_mm, depth_scale=0.002)
    assert_same(far, segment(pair.rgb, pair.depth_mm, depth_scale=0.002))
    near = segment(pair.rgb, pair.depth_mm)
    overall = [sum(s.pixels * (s.median_depth_m or 0) for s in r.classes) for r in (near, far)]
    assert overall[1] > overall[0]


async def test_async_client_answers_the_same(live_server, segment, pair):
    here = segment(pair.rgb, pair.depth_mm)
    for url in (live_server.http_url, live_server.grpc_url):
        async with AsyncClient(url) as client:
            assert await client.ready()
            assert_same(await client.segment(pair.rgb, pair.depth_path), here)
            assert (await client.models())[0]["name"] == here.model.split("@")[0]


def test_overlay_and_npz_are_those_the_server_draws(client, live_server, pair, tmp_path):
    result = client.segment(pair.rgb_path, pair.depth_path)
    files = {"rgb": pair.rgb_path.read_bytes(), "depth": pair.depth_path.read_bytes()}
    drawn = httpx.post(f"{live_server.http_url}/v1/segment?format=overlay", files=files).content
    pixels = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(result.overlay(), pixels)
    packed = httpx.post(f"{live_server.http_url}/v1/segment?format=npz", files=files).content
    with np.load(io.BytesIO(packed)) as theirs, np.load(result.save(tmp_path / "ours.npz")) as ours:
        assert set(ours) == set(theirs)
        np.testing.assert_array_equal(ours["labels"], theirs["labels"])


def test_maps_that_are_not_asked_for_stay_away(client, pair):
    result = client.segment(pair.rgb, pair.depth_mm, confidence=False, gate=False)
    assert result.confidence is None
    assert result.gate is None


def test_answer_says_who_made_it_and_how_long_it_took(client, pair):
    result = client.segment(pair.rgb, pair.depth_mm, request_id="front-door-1")
    assert result.request_id == "front-door-1"
    assert set(result.timings_ms) == {"decode", "queue", "compute", "encode"}
    assert all(ms >= 0 for ms in result.timings_ms.values())
    assert result.batch_size == 1


def test_warnings_of_the_service_arrive(client, segment, pair):
    depth = pair.depth_mm.astype(np.float32) / 1000
    depth[0, 0] = np.nan
    assert any("NaN" in warning for warning in client.segment(pair.rgb, depth).warnings)
    assert any("NaN" in warning for warning in segment(pair.rgb, depth).warnings)


def test_ready_and_models_describe_the_server(client, segment):
    assert client.ready()
    (model,) = client.models()
    assert f"{model['name']}@{model['version']}" == segment.metadata.reference
    assert [c["name"] for c in model["classes"]] == [c.name for c in segment.metadata.classes]


def test_clients_are_shared_between_threads(client, segment, pair):
    here = segment(pair.rgb, pair.depth_mm)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: client.segment(pair.rgb, pair.depth_mm), range(12)):
            np.testing.assert_array_equal(answer.labels, here.labels)


def test_posting_files_over_http_needs_no_extra(live_server, segment, pair, tmp_path):
    code = f"""
import sys
for extra in ("cv2", "grpc", "google.protobuf", "onnxruntime", "fastapi", "starlette", "torch", "onnx"):
    sys.modules[extra] = None
from geminifusion import Client
result = Client({live_server.http_url!r}).segment({str(pair.rgb_path)!r}, {str(pair.depth_path)!r})
result.save({str(tmp_path / "labels.npz")!r})
result.save({str(tmp_path / "mask.png")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "labels.npz") as maps:
        np.testing.assert_array_equal(maps["labels"], segment(pair.rgb, pair.depth_mm).labels)

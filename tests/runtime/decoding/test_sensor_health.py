"""Frames of broken sensors are recognised, real ones are not taken for them, and the policy is followed."""

import cv2
import numpy as np
import pytest

from geminifusion_runtime.bundled import demo_pairs
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.sensor_health import color_health, depth_health

RANDOM = np.random.default_rng(0)
SMOOTH = cv2.resize(RANDOM.integers(0, 200, (6, 8, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_LINEAR)
SLOPE = np.broadcast_to(np.linspace(1, 4, 320, dtype=np.float32), (240, 320))


@pytest.mark.parametrize("sigma", [2.0, 8.0, 20.0])
def test_noise_of_known_strength_is_estimated(sigma):
    grey = np.clip(SMOOTH[..., :1] + RANDOM.normal(0, sigma, (240, 320, 1)) + 25, 0, 255).astype(np.uint8)
    assert color_health(np.repeat(grey, 3, axis=2)).noise == pytest.approx(sigma, rel=0.15)
    metres = (SLOPE + RANDOM.normal(0, sigma / 1000, SLOPE.shape)).astype(np.float32)
    assert depth_health(metres).noise == pytest.approx(sigma / 1000, rel=0.1)


def test_holes_do_not_count_as_noise():
    metres = SLOPE.copy()
    metres[RANDOM.random(metres.shape) < 0.1] = 0
    health = depth_health(metres)
    assert health.holes == pytest.approx(0.1, abs=0.02)
    assert health.noise < 1e-3
    assert health.problem is None


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((240, 320, 3), np.uint8), "same colour"),
        (np.full((240, 320, 3), 255, np.uint8), "same colour"),
        (np.where(RANDOM.random((240, 320, 1)) < 0.97, 255, SMOOTH).astype(np.uint8), "overexposed"),
        (RANDOM.integers(0, 256, (240, 320, 3), dtype=np.uint8).repeat(1, axis=2), "noise"),
    ],
    ids=["dark", "white", "overexposed", "noise"],
)
def test_a_broken_colour_frame_is_recognised(frame, said):
    if said == "noise":
        frame = np.repeat(frame[..., :1], 3, axis=2)
    assert said in color_health(frame).problem


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((240, 320), np.float32), "not measured"),
        (np.full((240, 320), 3.0, np.float32), "3 m away"),
        (np.where(RANDOM.random((240, 320)) < 0.97, 10, SLOPE).astype(np.float32), "farthest"),
        (RANDOM.uniform(0.1, 10, (240, 320)).astype(np.float32), "noise"),
    ],
    ids=["empty", "frozen", "out of range", "noise"],
)
def test_a_broken_depth_frame_is_recognised(frame, said):
    assert said in depth_health(frame).problem


@pytest.mark.parametrize("name", demo_pairs())
def test_real_frames_are_in_order(name):
    pair = demo_pairs()[name]
    assert color_health(decode_rgb(pair.rgb.read_bytes(), max_pixels=10**7)).problem is None
    assert depth_health(decode_depth(pair.depth.read_bytes(), max_pixels=10**7).metres).problem is None


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 3)])
def test_the_smallest_frames_have_a_health_too(shape):
    assert color_health(np.zeros((*shape, 3), np.uint8)).problem
    assert depth_health(np.zeros(shape, np.float32)).problem


@pytest.fixture
def broken(pair):
    return pair.files(depth=cv2.imencode(".png", np.zeros_like(pair.depth_mm))[1].tobytes())


def test_by_default_the_client_is_warned(live_server, broken):
    answer = live_server.post(broken, format="json").json()
    assert answer["sensors"]["depth"]["holes"] == 1.0
    assert any("broken sensor" in text for text in answer["warnings"])
    assert answer["sensors"]["rgb"]["problem"] is None


@pytest.mark.parametrize("policy", ["reject", "drop-modality"])
def test_a_frame_the_model_needs_is_refused_where_that_is_the_policy(live_server, broken, policy):
    response = live_server.post(broken, sensor_policy=policy)
    assert (response.status_code, response.json()["code"]) == (422, "sensor_broken")


def test_a_modality_the_model_can_do_without_is_dropped(make_artifact, serving, broken, pair, tmp_path):
    artifact = make_artifact(tmp_path / "optional", depth_optional=True)
    with serving(artifacts=(artifact,), sensor_policy="drop-modality") as live:
        dropped = live.post(broken, format="json").json()
        assert any("left out" in text for text in dropped["warnings"])
        assert dropped["mask"] == live.post({"rgb": pair.files()["rgb"]}, format="json").json()["mask"]


def test_depth_of_another_size_is_resized_where_that_is_asked_for(live_server, pair, make_pair):
    small = cv2.resize(pair.depth_mm, (32, 24), interpolation=cv2.INTER_NEAREST_EXACT)
    files = pair.files(depth=cv2.imencode(".png", small)[1].tobytes())
    refused = live_server.post(files)
    assert refused.status_code == 422
    assert "align=resize" in refused.json()["detail"]
    answer = live_server.post(files, align="resize", format="json").json()
    assert any("resized from 32x24 to 64x48" in text for text in answer["warnings"])
    back = cv2.resize(small, (64, 48), interpolation=cv2.INTER_NEAREST_EXACT)
    same = live_server.post(pair.files(depth=cv2.imencode(".png", back)[1].tobytes()), format="json").json()
    assert answer["mask"] == same["mask"]
    odd = pair.files(depth=cv2.imencode(".png", small[:, :20].copy())[1].tobytes())
    assert any(
        "another shape" in text for text in live_server.post(odd, align="resize", format="json").json()["warnings"]
    )

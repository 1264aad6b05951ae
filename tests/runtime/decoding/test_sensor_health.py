"""Frames of broken sensors are recognised, real ones are not taken for them, and the policy is followed."""

import cv2
import numpy as np
import pytest

from geminifusion_runtime.bundled import demo_pairs
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.sensor_health import color_health, depth_health, picture_health

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
        (np.where(RANDOM.random((240, 320, 1)) < 0.98, 3, SMOOTH).astype(np.uint8), "nearly black"),
        (RANDOM.integers(0, 256, (240, 320, 3), dtype=np.uint8).repeat(1, axis=2), "noise"),
    ],
    ids=["dark", "white", "overexposed", "night", "noise"],
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


def test_a_frame_beyond_the_range_of_the_model_is_a_constant_to_it(make_spec):
    far = np.linspace(15, 90, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert "constant" in depth_health(far, (0.0, 10.0)).problem
    assert depth_health(far, (0.0, 100.0)).problem is None
    thermal = make_spec("thermal", unit="count")  # 28000 … 31000
    counts = np.linspace(100, 2000, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert "28000 to 31000" in picture_health(counts, thermal).problem
    assert picture_health(counts + 28_000, thermal).problem is None


@pytest.mark.parametrize("largest", [1e30, 3e38])
def test_health_is_finite_whatever_the_numbers(make_spec, largest):
    numbers = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) * np.float32(1e20)
    numbers[10:20] = largest
    health = picture_health(numbers, make_spec("thermal", unit="count"))
    assert np.isfinite([health.holes, health.saturated, health.noise]).all()

"""Reading clouds, and which points a detector sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geminifusion_runtime.decoding.clouds import declared_points, decode_cloud
from geminifusion_runtime.detection.pillars import in_image, pillars
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.errors import TooManyPointsError, UndecodablePointsError

HONEST_REFLECTANCE = {
    "of 0 to 1": lambda rng, number: rng.random(number),
    "of 0 to 255": lambda rng, number: rng.integers(0, 256, number),
    "of 16 bits": lambda rng, number: rng.integers(0, 65536, number),
    "in decibels": lambda rng, number: rng.normal(-15, 8, number),
    "of nothing": lambda rng, number: np.zeros(number),
    "of one value": lambda rng, number: np.full(number, 100),
}
POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.25]], np.float32)
GRID = GridSettings(low=(0, -4, -3), high=(8, 4, 1), pillar_size=(0.5, 0.5))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [POINTS.tobytes(), npy(POINTS), npy(POINTS.astype(">f8")), npy(np.asfortranarray(POINTS)), POINTS],
)
def test_every_form_holds_the_same_points(data: bytes | np.ndarray) -> None:
    found = decode_cloud(data, max_points=2)
    np.testing.assert_array_equal(found.points, POINTS)
    assert found.points.dtype == np.float32
    assert found.warnings == ()


def test_without_reflectance_it_is_zero_and_said() -> None:
    found = decode_cloud(npy(POINTS[:, :3]), max_points=10)
    np.testing.assert_array_equal(found.points[:, 3], 0)
    assert "without reflectance" in found.warnings[0]


def test_reflectance_of_another_scale_is_said() -> None:
    (warning,) = decode_cloud(POINTS * [1, 1, 1, 400], max_points=10).warnings
    assert "up to 200" in warning


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (POINTS.tobytes()[:-4], "28 bytes, which is no whole number of points"),
        (npy(POINTS[:, :2]), "shape \\(2, 2\\)"),
        (npy(POINTS)[:-3], "cut short|truncated|npy"),
        (npy(np.array([["a"]])), "dtype"),
        (np.array([[1, 2, np.nan, 0]], np.float32).tobytes(), "1 points of 1 that are NaN or infinite"),
        (np.array([[1, 2, np.inf, 0]]), "NaN or infinite"),
        (np.array([[1e300, 2, 3, 0]]), "NaN or infinite"),
        (b"ply\nformat ascii 1.0", "a PLY file"),
        (b"# .PCD v0.7", "a PCD file"),
    ],
)
def test_what_is_no_cloud_is_refused_in_one_sentence(data: bytes | np.ndarray, says: str) -> None:
    with pytest.raises(UndecodablePointsError, match=says) as caught:
        decode_cloud(data, max_points=10)
    assert "\n" not in str(caught.value)


def sweep(seed: int, number: int, order: str) -> np.ndarray:
    """Places `number 3` on rings around a LiDAR, cut off by walls."""
    rng = np.random.default_rng(seed)
    yaw = np.linspace(-np.pi, np.pi, number // 8)
    distances = np.minimum(3 + 40 * rng.random(8)[:, None], rng.uniform(4, 60) / np.abs(np.cos(yaw)).clip(0.1))
    x, y = distances * np.cos(yaw), distances * np.sin(yaw)
    z = distances * np.linspace(-0.4, 0.03, 8)[:, None]
    places = np.stack([x, y, z], axis=-1)
    if order == "beam by beam":
        return places.reshape(-1, 3)
    points = places.transpose(1, 0, 2).reshape(-1, 3)
    return rng.permutation(points) if order == "no order" else points


ORDERS = ("beam by beam", "turn by turn", "no order")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", [3, 5, 6, 7])
def test_a_file_of_another_width_is_refused_and_its_width_said(width: int, order: str) -> None:
    places = sweep(1, 400, order)
    rng = np.random.default_rng(2)
    others = [rng.integers(0, 256, 400), np.arange(400) % 32, np.linspace(0, 0.1, 400), np.linspace(0, 60, 400)]
    points = np.column_stack([places, *others])[:, :width].astype("<f4")
    assert points.nbytes % 16 == 0, "or its length alone would show it"
    says = f"its numbers repeat every {width}"
    if (width, order) == (3, "no order"):
        says = r"every fourth number is to be a reflectance of 0 to 1, and they run from -\d"
    with pytest.raises(UndecodablePointsError, match=f"points is no P x 4 sweep: {says}.*; send "):
        decode_cloud(points.tobytes(), max_points=1000)


@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(1, 100).map(lambda eighths: 8 * eighths),
    order=st.sampled_from(ORDERS),
    reflectance=st.sampled_from(sorted(HONEST_REFLECTANCE)),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_no_sweep_of_four_numbers_is_refused(
    seed: int, number: int, order: str, reflectance: str, offset: float
) -> None:
    values = HONEST_REFLECTANCE[reflectance](np.random.default_rng(seed), number)
    points = np.column_stack([sweep(seed, number, order) + offset, values]).astype("<f4")
    np.testing.assert_array_equal(decode_cloud(points.tobytes(), max_points=1000).points, points)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((400, 4)),
        np.full((400, 4), 7.0),
        np.tile([[5.0, 5, 5, 5], [-5, -5, -5, 0]], (200, 1)),
        np.random.default_rng(3).uniform(0, 50, (400, 4)),
        np.random.default_rng(4).uniform(0, 50, (400, 1)) * [1, 1, 1, 1],
    ],
    ids=["zeros", "one point", "two points in turn", "columns alike", "columns the same"],
)
def test_odd_clouds_of_four_numbers_are_taken(points: np.ndarray) -> None:
    assert len(decode_cloud(points.astype("<f4").tobytes(), max_points=400).points) == 400


def test_more_points_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyPointsError, match="has 2 points; this server takes 1"):
        decode_cloud(POINTS.tobytes(), max_points=1)


@pytest.mark.parametrize(
    ("data", "num_points"),
    [
        (POINTS.tobytes(), 2),
        (POINTS, 2),
        (npy(POINTS), 2),
        (npy(np.zeros((1000, 3), np.uint8)), 1000),
        (npy(np.zeros((1000, 4))), 1000),
        (npy(np.zeros(1000)), 0),
        (npy(POINTS)[:-3], 0),
        (b"", 0),
    ],
)
def test_points_are_counted_before_they_are_decoded(data: bytes | np.ndarray, num_points: int) -> None:
    assert declared_points(data) == num_points


def test_points_fall_into_rows_along_y_and_columns_along_x() -> None:
    points = np.array([[0.6, -3.9, 0, 0], [0, 3.9, 0, 0], [7.9, -4, -3, 0]], np.float32)
    found = pillars(points, GRID)
    np.testing.assert_array_equal(found.index, [1, 15 * 16, 15])


def test_points_outside_the_range_are_left_out() -> None:
    outside = [[8, 0, 0, 0], [-0.1, 0, 0, 0], [1, 4, 0, 0], [1, 0, 1, 0], [1, 0, -3.1, 0], [1e30, 0, 0, 0]]
    found = pillars(np.array([*outside, [1, 0, 0, 0.5]], np.float32), GRID)
    np.testing.assert_array_equal(found.points, [[1, 0, 0, 0.5]])


def test_points_outside_the_image_or_behind_it_are_told() -> None:
    lidar2image = np.array([[50.0, -100, 0, 0], [20, 0, -100, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    points = np.array([[10, 0, 0, 0], [-10, 0, 0, 0], [10, 5.1, 0, 0], [10, 0, 2.1, 0]], np.float32)
    np.testing.assert_array_equal(in_image(points, lidar2image, (40, 100)), [True, False, False, False])

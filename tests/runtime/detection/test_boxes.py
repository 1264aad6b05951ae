"""Boxes between LiDAR axes, camera axes and the image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geminifusion_runtime.detection.boxes import (
    CameraBoxes,
    camera_to_lidar,
    corners,
    image_rectangles,
    lidar_to_camera,
    observation_angles,
    project,
)
from geminifusion_runtime.detection.calibration import Calibration


@pytest.fixture
def calibration() -> Calibration:
    """A camera 0.27 m before the LiDAR, which looks along its x axis."""
    return Calibration(
        p2=np.array([[700.0, 0, 600, 45], [0, 700, 180, 0.2], [0, 0, 1, 0.003]]),
        r0_rect=np.eye(3),
        tr_velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]]),
    )


def test_a_box_ahead_is_where_the_label_says(calibration: Calibration) -> None:
    label = CameraBoxes(
        location=np.array([[-3.0, 1.65, 8.6]]), dimensions=np.array([[1.5, 1.6, 3.9]]), rotation_y=np.array([-1.5])
    )
    box = camera_to_lidar(label, calibration)
    assert box.dtype == np.float32
    np.testing.assert_allclose(box[0, :3], [8.87, 3.0, -1.73], atol=1e-6)  # ahead, to the left, below the sensor
    np.testing.assert_allclose(box[0, 3:6], [3.9, 1.6, 1.5], atol=1e-6)
    np.testing.assert_allclose(box[0, 6], 1.5 - math.pi / 2, atol=1e-6)


def test_there_and_back_is_the_same_box(calibration: Calibration) -> None:
    generator = np.random.default_rng(3)
    boxes = np.column_stack(
        [
            generator.uniform(-20, 20, (50, 3)),
            generator.uniform(0.5, 5, (50, 3)),
            generator.uniform(-math.pi, math.pi, 50),
        ]
    ).astype(np.float32)
    np.testing.assert_allclose(camera_to_lidar(lidar_to_camera(boxes, calibration), calibration), boxes, atol=1e-5)


def test_a_box_stands_on_its_bottom_and_turns_counter_clockwise() -> None:
    box = np.array([[10, 2, -1, 4, 2, 1.5, math.pi / 2]], np.float32)
    found = corners(box)[0]
    np.testing.assert_allclose([found[:, 2].min(), found[:, 2].max()], [-1, 0.5])
    np.testing.assert_allclose(found[0, :2], [9, 4], atol=1e-6)  # the front left corner looks along y


def test_a_point_behind_the_camera_has_a_negative_depth(calibration: Calibration) -> None:
    pixels, depth = project(np.array([[10.0, 0, 0], [-10, 0, 0]]), calibration.lidar2image)
    assert depth[0] > 0 > depth[1]
    np.testing.assert_allclose(
        pixels[0],
        [600 + 45 / depth[0] - 600 * 0.003 / depth[0], 180 + (0.2 - 700 * 0.08 - 180 * 0.003) / depth[0]],
        atol=1e-9,
    )


def test_the_rectangle_holds_the_projected_corners(calibration: Calibration) -> None:
    box = np.array([[15, 1, -1.7, 4, 1.8, 1.5, 0.4]], np.float32)
    left, top, right, bottom = image_rectangles(box, calibration.lidar2image)[0]
    pixels, _ = project(corners(box)[0], calibration.lidar2image)
    assert (left, right) == (pixels[:, 0].min(), pixels[:, 0].max())
    assert (top, bottom) == (pixels[:, 1].min(), pixels[:, 1].max())


def test_alpha_is_the_rotation_seen_along_the_ray() -> None:
    boxes = np.array([[10, 0, 0, 1, 1, 1, 0], [10, -10, 0, 1, 1, 1, 0]], np.float32)
    found = observation_angles(boxes, np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, [0.5, 0.5 - math.pi / 4], atol=1e-7)

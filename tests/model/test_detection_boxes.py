"""Boxes and calibrations as training and evaluation use them."""

import numpy as np
import pytest
from street_frames import points_inside

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.boxes import boxes_after
from geminifusion_model.detection.calibration import calibration_text, read_calibration, turned
from geminifusion_model.detection.projection import point_matrix
from geminifusion_runtime.detection.boxes import corners, project, transformed
from geminifusion_runtime.detection.calibration import Calibration

BOXES = np.array([[10, 2, -1.7, 3.9, 1.6, 1.5, 0.4], [25, -6, -1.6, 0.8, 0.6, 1.8, -3.0]], np.float32)


def calibration():
    return Calibration(
        p2=np.array([[720.0, 0, 610, 45], [0, 720, 173, 0.2], [0, 0, 1, 0.003]]),
        r0_rect=np.eye(3),
        tr_velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]]),
    )


def points_of_corners(shrunk):
    """The corners of `BOXES`, drawn towards the centre by a factor, `n 8 3`."""
    found = corners(BOXES)
    middle = found.mean(axis=1, keepdims=True)
    return middle + (found - middle) * shrunk


def test_points_just_inside_the_corners_are_inside_and_those_just_outside_are_not():
    inside = points_inside(points_of_corners(0.999).reshape(-1, 3), BOXES)
    assert inside.reshape(2, 2, 8)[[0, 1], [0, 1]].all()
    assert inside.sum() == 16
    assert not points_inside(points_of_corners(1.001).reshape(-1, 3), BOXES).any()


@pytest.mark.parametrize(
    "change",
    [{"yaw": 2.5}, {"scale": 1.05}, {"translation": (0.3, -0.2, 0.1)}, {"mirrored": True}, None],
)
def test_boxes_change_as_their_corners_do(change):
    if change is None:
        change = {"yaw": -1.9, "scale": 0.96, "translation": (0.3, -0.2, 0.1), "mirrored": True}
    expected = transformed(corners(BOXES), point_matrix(**change))
    if change.get("mirrored"):
        expected = expected[:, [3, 2, 1, 0, 7, 6, 5, 4]]  # what was left is now right
    after = boxes_after(BOXES, **change)
    assert after.dtype == np.float32
    assert np.abs(after[:, 6]).max() <= np.pi
    np.testing.assert_allclose(corners(after), expected, atol=2e-5)


def test_a_calibration_survives_its_file(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_text(calibration_text(calibration()))
    found = read_calibration(path)
    for field in ("p2", "r0_rect", "tr_velo_to_cam"):
        np.testing.assert_allclose(getattr(found, field), getattr(calibration(), field), rtol=1e-12)
    assert len(path.read_text().splitlines()) == 7


def test_a_missing_or_singular_calibration_is_one_sentence_with_its_path(tmp_path):
    with pytest.raises(DatasetError, match=r"000001\.txt cannot be read"):
        read_calibration(tmp_path / "000001.txt")
    path = tmp_path / "000000.txt"
    path.write_text(calibration_text(calibration()).replace("R0_rect: 1.0", "R0_rect: 0.0"))
    with pytest.raises(DatasetError, match=r"000000\.txt: R0_rect .* cannot be inverted"):
        read_calibration(path)


def test_a_turned_camera_moves_the_projection_sideways_by_the_same_number_of_pixels_at_all_distances():
    near_and_far = np.array([[10.0, 0, -1], [60.0, 0, -1]])
    before, _ = project(near_and_far, calibration().lidar2image)
    after, _ = project(near_and_far, turned(calibration(), 1.0).lidar2image)
    np.testing.assert_allclose(after[:, 0] - before[:, 0], 720 * np.tan(np.radians(1)), rtol=0.02)
    np.testing.assert_allclose(after[:, 1], before[:, 1], atol=0.1)

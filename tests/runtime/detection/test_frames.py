"""A frame on its way through a detector: checked, prepared, and its boxes told in all axes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from geminifusion_runtime.detection.boxes import corners, project
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.frames import PreparedFrame, prepare_frame
from geminifusion_runtime.detection.images import fitted, fitted_size
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.detection.results import FrameBoxes, boxes_document, in_frame
from geminifusion_runtime.detection.selection import Detections
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.encoding.box_drawings import class_color, draw_from_above, draw_in_image
from geminifusion_runtime.errors import CalibrationMismatchError, NoPointsInRangeError

GRID = GridSettings(low=(0, -8, -3), high=(16, 8, 1), pillar_size=(0.5, 0.5))
SIZE = (60, 200)
CLASSES = ("pedestrian", "cyclist", "car")


@pytest.fixture
def calibration() -> Calibration:
    return Calibration(
        p2=np.array([[100.0, 0, 100, 0], [0, 100, 30, 0], [0, 0, 1, 0]]),
        r0_rect=np.eye(3),
        tr_velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
    )


@pytest.fixture
def found(calibration: Calibration) -> FrameBoxes:
    boxes = np.array(
        [
            [8, 0, -1, 4, 1.6, 1.5, 0.5],
            [8, -20, -1, 4, 1.6, 1.5, 0],
            [-8, 0, -1, 4, 1.6, 1.5, 0],
            [6, 5.5, -1, 1, 1, 2, 3],
        ],
        np.float32,
    )
    detections = Detections(boxes, np.array([0.9, 0.8, 0.7, 0.25], np.float32), np.array([2, 2, 2, 0], np.uint8))
    return in_frame(detections, calibration, SIZE, CLASSES)


def prepared(points: np.ndarray, calibration: Calibration, size: tuple[int, int] = SIZE) -> PreparedFrame:
    image = np.full((*size, 3), 90, np.uint8)
    return prepare_frame(image, points.astype(np.float32), calibration, grid=GRID, network_image=(32, 96))


def test_the_graph_gets_the_points_it_can_see_and_an_image_that_fits(calibration: Calibration) -> None:
    points = np.array([[10, 0, 0, 0.5], [10, 20, 0, 0], [-10, 0, 0, 0], [30, 0, 0, 0]])
    frame = prepared(points, calibration)
    np.testing.assert_array_equal(frame.inputs["points"], points[:1])
    assert frame.inputs["pillar_index"].tolist() == [16 * 32 + 20]
    assert frame.inputs["rgb"].shape == (1, 29, 96, 3)
    x, y, depth, _ = frame.inputs["lidar2image"][0] @ [10, 1, 1, 1]
    np.testing.assert_allclose([x / depth, y / depth], [90 * 0.48, 20 * 29 / 60], rtol=1e-6)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((0, 4)), "has no points"),
        (np.array([[-10, 0, 0, 0]]), "none of the 1 points is in the image"),
        (np.array([[30, 0, 0, 0]]), "none of the 1 points in the image lies within the model's range"),
    ],
)
def test_a_frame_without_points_is_refused_and_says_why(
    points: np.ndarray, says: str, calibration: Calibration
) -> None:
    with pytest.raises(NoPointsInRangeError, match=says):
        prepared(points, calibration)


def test_an_image_of_another_camera_is_refused(calibration: Calibration) -> None:
    with pytest.raises(CalibrationMismatchError, match="this one has 640x192"):
        prepared(np.array([[10, 0, 0, 0]]), calibration, (192, 640))


@pytest.mark.parametrize("size", [(375, 1242), (128, 416), (100, 100), (17, 900)])
def test_an_image_keeps_its_proportions_and_fits(size: tuple[int, int]) -> None:
    height, width = fitted_size(size, (128, 416))
    assert height == 128 or width == 416
    assert height <= 128
    assert width <= 416
    assert abs(height / size[0] - width / size[1]) <= 0.6 / min(size)
    assert fitted(np.zeros((*size, 3), np.uint8), (128, 416)).shape == (height, width, 3)


def test_boxes_outside_the_image_and_behind_the_camera_are_left_out(found: FrameBoxes) -> None:
    np.testing.assert_array_equal(found.detections.scores, np.array([0.9, 0.25], np.float32))
    assert (found.rectangles >= 0).all()
    assert (found.rectangles[:, 2] <= 200).all()


def test_json_says_each_box_in_all_axes(found: FrameBoxes) -> None:
    car, person = boxes_document(found)
    assert (car["class"], car["class_id"], person["class"]) == ("car", 2, "pedestrian")
    assert car["score"] == float(np.float32(0.9))
    assert car["lidar"] == {"center": [8.0, 0.0, -1.0], "size": [4.0, float(np.float32(1.6)), 1.5], "yaw": 0.5}
    assert car["camera"]["location"] == pytest.approx([0, 1, 8])
    assert car["camera"]["dimensions"] == pytest.approx([1.5, 1.6, 4])
    assert car["camera"]["rotation_y"] == pytest.approx(-0.5 - math.pi / 2)
    assert car["image"] == found.rectangles[0].tolist()


def test_kitti_text_has_sixteen_columns(found: FrameBoxes) -> None:
    first, second = kitti_text(found).splitlines()
    columns = first.split()
    assert columns[:3] == ["Car", "-1", "-1"]
    assert len(columns) == 16
    assert [float(number) for number in columns[8:14]] == pytest.approx([1.5, 1.6, 4, 0, 1, 8], abs=1e-4)
    assert float(columns[15]) == pytest.approx(0.9)
    assert second.startswith("Pedestrian ")


def test_edges_are_drawn_where_the_corners_are_seen(found: FrameBoxes, calibration: Calibration) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    drawn = draw_in_image(image, found, calibration)
    assert not image.any()
    pixels, _ = project(corners(found.detections.boxes[:1])[0], calibration.lidar2image)
    near = cv2.dilate(drawn.max(axis=2), np.ones((3, 3), np.uint8))
    for x, y in pixels:
        if 2 < x < 198 and 2 < y < 58:
            assert near[round(y), round(x)]


def test_a_box_that_reaches_behind_the_camera_is_drawn(calibration: Calibration) -> None:
    boxes = np.array([[1, 0.5, -1, 6, 1.6, 1.5, 0]], np.float32)
    around = in_frame(Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.uint8)), calibration, SIZE, CLASSES)
    assert draw_in_image(np.zeros((*SIZE, 3), np.uint8), around, calibration).any()


def test_from_above_x_goes_up_and_y_to_the_left(found: FrameBoxes) -> None:
    empty = found.detections.take(np.zeros(0, int))
    points = np.array([[15.9, 7.9, 0, 0]], np.float32)
    nothing = FrameBoxes(
        detections=empty,
        camera=found.camera,
        rectangles=found.rectangles[:0],
        alphas=found.alphas[:0],
        class_names=CLASSES,
    )
    picture = draw_from_above(points, nothing, GRID)
    assert picture.shape == (800, 800, 3)
    row, column = np.unravel_index(picture.max(axis=2).argmax(), (800, 800))
    assert row < 10
    assert column < 10
    assert (draw_from_above(points, found, GRID) == class_color(2)).all(axis=2).any()

"""Overlaps of boxes, and the boxes that are made of a head's numbers."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from geminifusion_runtime.detection.anchors import anchor_boxes, decoded_boxes, encoded_boxes
from geminifusion_runtime.detection.boxes import wrap_angle
from geminifusion_runtime.detection.overlaps import footprint_intersections, footprint_ious, suppressed
from geminifusion_runtime.detection.selection import Detections, HeadMaps, greatest, select, within_centers
from geminifusion_runtime.detection.settings import AnchorClass, AnchorSettings, GridSettings, SelectionSettings

GOLDEN = Path(__file__).parents[2] / "golden" / "kitti3d_mvxnet_gemini.npz"
ANCHORS = AnchorSettings(
    classes=(
        AnchorClass(name="pedestrian", size=(0.8, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="cyclist", size=(1.76, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="car", size=(3.9, 1.6, 1.56), bottom=-1.78),
    )
)
GRID = GridSettings(low=(0, -6.4, -3), high=(12.8, 6.4, 1), pillar_size=(0.4, 0.4))


def random_boxes(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(0.5, 5, (count, 3))
    return np.column_stack(
        [generator.uniform(-4, 4, (count, 2)), np.zeros(count), sizes, generator.uniform(-7, 7, count)]
    ).astype(np.float32)


def test_overlaps_are_those_of_another_implementation() -> None:
    one, other = random_boxes(20, 1), random_boxes(30, 2)
    found = footprint_intersections(one, other)
    for row, box in enumerate(one.tolist()):
        for column, second in enumerate(other.tolist()):
            rectangles = [((x, y), (dx, dy), math.degrees(yaw)) for x, y, _, dx, dy, _, yaw in (box, second)]
            kind, polygon = cv2.rotatedRectangleIntersection(*rectangles)
            expected = 0.0 if kind == cv2.INTERSECT_NONE else cv2.contourArea(cv2.convexHull(polygon))
            assert found[row, column] == pytest.approx(expected, abs=2e-3)


def test_a_box_overlaps_itself_wholly_wherever_it_is_and_another_beside_it_not_at_all() -> None:
    boxes = random_boxes(40, 4) + np.array([9000, -9000, 0, 0, 0, 0, 0], np.float32)
    np.testing.assert_allclose(np.diag(footprint_ious(boxes, boxes)), 1, atol=1e-9)
    beside = np.array([[0, 0, 0, 2, 1, 1, 0], [2, 0, 0, 2, 1, 1, 0], [0.5, 0, 0, 2, 1, 1, math.pi]], np.float32)
    np.testing.assert_allclose(footprint_ious(beside, beside)[0], [1, 0, 0.6], atol=1e-6)


def test_a_worse_box_goes_only_for_a_better_one_that_is_left() -> None:
    boxes = np.array([[x, 0, 0, 2, 1, 1, 0] for x in (0.0, 1.5, 3.0, 3.0)], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.7], np.float32)
    np.testing.assert_array_equal(suppressed(boxes, scores, 0.01), [0, 2])


def test_anchors_reach_from_one_end_of_the_range_to_the_other() -> None:
    anchors = anchor_boxes(ANCHORS, GRID, (4, 8)).reshape(4, 8, 3, 2, 7)
    np.testing.assert_allclose(anchors[0, 0, 2, 1], [0, -6.4, -1.78, 3.9, 1.6, 1.56, 1.57], rtol=1e-6)
    np.testing.assert_allclose(anchors[3, 7, 0, 0], [12.8, 6.4, -0.6, 0.8, 0.6, 1.73, 0], rtol=1e-6)


def test_numbers_of_boxes_give_the_boxes_back() -> None:
    anchors = anchor_boxes(ANCHORS, GRID, (4, 8))
    boxes = random_boxes(len(anchors), 5)
    np.testing.assert_allclose(decoded_boxes(encoded_boxes(boxes, anchors), anchors), boxes, atol=1e-5)


def maps_of(found: np.lib.npyio.NpzFile, sample: int) -> HeadMaps:
    def cells(values: np.ndarray, count: int) -> np.ndarray:
        return values[sample].reshape(6, count, *values.shape[2:]).transpose(2, 3, 0, 1)

    return HeadMaps(cells(found["cls_score"], 3), cells(found["bbox_pred"], 7), cells(found["dir_pred"], 2))


@pytest.mark.parametrize("sample", [0, 1])
def test_boxes_are_the_originals(sample: int) -> None:
    golden = np.load(GOLDEN)
    found = select(maps_of(golden, sample), ANCHORS, GRID, SelectionSettings())
    np.testing.assert_array_equal(found.labels, golden[f"labels_{sample}"])
    np.testing.assert_allclose(found.scores, golden[f"scores_{sample}"], atol=1e-6)
    expected = golden[f"boxes_{sample}"]
    np.testing.assert_allclose(found.boxes[:, :6], expected[:, :6], atol=1e-5)
    np.testing.assert_allclose(wrap_angle(found.boxes[:, 6] - expected[:, 6]), 0, atol=1e-5)


def test_a_network_that_gives_no_numbers_gives_no_boxes() -> None:
    broken = HeadMaps(
        np.full((4, 8, 6, 3), np.nan, np.float32),
        np.zeros((4, 8, 6, 7), np.float32),
        np.zeros((4, 8, 6, 2), np.float32),
    )
    assert len(select(broken, ANCHORS, GRID, SelectionSettings()).boxes) == 0
    infinite = broken._replace(
        class_logits=np.ones((4, 8, 6, 3), np.float32), box_numbers=np.full((4, 8, 6, 7), 1e30, np.float32)
    )
    assert len(select(infinite, ANCHORS, GRID, SelectionSettings()).boxes) == 0


def test_of_equal_values_the_earlier_is_greater() -> None:
    np.testing.assert_array_equal(greatest(np.array([1, 3, 2, 3, 2, np.nan], np.float32), 3), [1, 3, 2])


def test_boxes_outside_the_range_of_centers_are_dropped() -> None:
    boxes = np.array([[1, 0, -1, 1, 1, 1, 0], [1, 0, 0.5, 1, 1, 1, 0], [-1, 0, -1, 1, 1, 1, 0]], np.float32)
    found = Detections(boxes, np.ones(3, np.float32), np.zeros(3, np.uint8))
    np.testing.assert_array_equal(within_centers(found, SelectionSettings()).boxes, boxes[:1])

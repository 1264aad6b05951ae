import golden
import numpy as np
import pytest

from geminifusion_model.evaluation.metrics import ConfusionMatrix


def test_scores_equal_the_originals():
    expected = np.load(golden.FOLDER / "metrics_main.npz")
    matrix = ConfusionMatrix(int(expected["num_classes"]))
    matrix.add(expected["gt"], expected["pred"])
    np.testing.assert_array_equal(matrix.counts, expected["conf"])
    found = (matrix.pixel_accuracy(), matrix.mean_accuracy(), matrix.miou())
    np.testing.assert_allclose(found, expected["scores"], rtol=1e-6)


def test_ignored_pixels_do_not_count():
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([0, 1, 255, 2]), np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(matrix.counts, [[1, 0], [1, 0]])


def test_class_that_never_occurs_is_left_out_of_the_mean():
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    assert matrix.miou() == pytest.approx((100 * 2 / 3 + 100 * 1 / 2) / 2)
    assert np.isnan(matrix.iou()[2])


def test_wrong_shapes_and_predictions_are_refused():
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match="expected one shape"):
        matrix.add(np.zeros(3, np.uint8), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="expected below 2"):
        matrix.add(np.array([1]), np.array([5]))


def test_deliver_scores_equal_the_originals_where_absent_classes_count_as_zero():
    expected = np.load(golden.FOLDER / "deliver_loss_metrics.npz")
    matrix = ConfusionMatrix(25, "zero")
    matrix.add(expected["target"], expected["logits"].argmax(1).astype(np.uint8))
    # the original rounds to two decimals
    np.testing.assert_allclose(np.round(np.nan_to_num(matrix.iou()), 2), expected["iou"], atol=1e-6)
    np.testing.assert_allclose(np.round(np.nan_to_num(matrix.class_accuracy()), 2), expected["acc"], atol=1e-6)
    assert round(matrix.miou(), 2) == pytest.approx(float(expected["miou"]))


def test_absent_class_is_left_out_or_counts_as_zero():
    matrices = {absent: ConfusionMatrix(3, absent) for absent in ("skipped", "zero")}
    for matrix in matrices.values():
        matrix.add(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    assert matrices["skipped"].miou() == matrices["skipped"].mean_accuracy() == 100
    assert matrices["zero"].miou() == matrices["zero"].mean_accuracy() == pytest.approx(200 / 3)


def test_scores_without_a_labeled_pixel_are_not_a_number():
    matrix = ConfusionMatrix(2)
    matrix.add(np.full(4, 255, np.uint8), np.zeros(4, np.uint8))
    assert np.isnan([matrix.miou(), matrix.mean_accuracy(), matrix.pixel_accuracy()]).all()


def test_adding_a_frame_returns_its_own_counts():
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([0, 1]), np.array([0, 1]))
    np.testing.assert_array_equal(matrix.add(np.array([1]), np.array([0])), [[0, 0], [1, 0]])

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

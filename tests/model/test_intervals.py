import numpy as np
import pytest

from geminifusion_model.evaluation.intervals import bootstrap_intervals


def frames(accuracies, pixels=100):
    """One two-class matrix per frame whose pixel accuracy is given."""
    right = np.asarray(accuracies) * pixels // 100
    matrices = np.zeros((len(right), 2, 2), np.int64)
    matrices[:, 0, 0] = matrices[:, 1, 1] = right
    matrices[:, 0, 1] = matrices[:, 1, 0] = pixels - right
    return matrices


def test_interval_over_equal_frames_has_no_width():
    found = bootstrap_intervals(frames([80] * 5))
    assert found.pixel_accuracy.low == found.pixel_accuracy.high == 80
    assert found.miou.low == found.miou.high == pytest.approx(100 * 80 / 120)


def test_interval_of_pixel_accuracy_is_that_of_a_mean_of_frames():
    """With frames of one size it is the mean of their accuracies, whose standard error is known."""
    rng = np.random.default_rng(0)
    accuracies = rng.integers(50, 100, 200)
    found = bootstrap_intervals(frames(accuracies), draws=4000).pixel_accuracy
    error = 1.96 * accuracies.std() / np.sqrt(len(accuracies))
    assert found.low == pytest.approx(accuracies.mean() - error, abs=0.2)
    assert found.high == pytest.approx(accuracies.mean() + error, abs=0.2)


def test_same_seed_gives_same_interval_and_another_seed_another():
    matrices = frames(range(20, 100, 5))
    one, again, other = (bootstrap_intervals(matrices, draws=100, seed=seed).miou for seed in (1, 1, 2))
    assert one == again != other


def test_class_that_never_occurs_has_no_interval():
    matrices = np.zeros((3, 3, 3), np.int64)
    matrices[:, :2, :2] = frames([60, 70, 80])
    found = bootstrap_intervals(matrices)
    assert np.isnan(found.iou[2].low)
    assert found.iou[0].low < found.iou[0].high
    zero = bootstrap_intervals(matrices, absent="zero")
    assert zero.miou.high == pytest.approx(found.miou.high * 2 / 3)


def test_no_frames_and_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        bootstrap_intervals(np.zeros((0, 2, 2), np.int64))
    with pytest.raises(ValueError, match="draws is 0"):
        bootstrap_intervals(frames([50]), draws=0)

"""Where an answer depends on depth: 0 for not at all, 1 for wholly."""

import numpy as np

from geminifusion_runtime.postprocessing import Prediction, disagreement


def answer(labels, confidence):
    return Prediction(
        labels=np.asarray(labels, np.uint8),
        confidence=np.asarray(confidence, np.float32),
        gate=np.zeros_like(confidence, dtype=np.float32),
    )


def halves(left, right, height=8, width=16):
    labels = np.full((height, width), left)
    labels[:, width // 2 :] = right
    return labels


def test_equal_answers_do_not_disagree():
    one = answer(halves(1, 2), np.full((2, 4), 0.9))
    found = disagreement(one, one)
    assert found.dtype == np.float16
    assert found.shape == (2, 4)
    assert not found.any()


def test_a_changed_class_counts_with_the_mean_confidence_of_both_answers():
    found = disagreement(answer(halves(1, 2), np.full((2, 4), 1.0)), answer(halves(1, 3), np.full((2, 4), 1.0)))
    np.testing.assert_array_equal(found, np.array([[0, 0, 1, 1]] * 2, np.float16))
    guesses = disagreement(answer(halves(1, 2), np.full((2, 4), 0.3)), answer(halves(1, 3), np.full((2, 4), 0.3)))
    np.testing.assert_allclose(guesses[:, 2:], 0.3, atol=1e-3)


def test_where_the_class_stays_the_change_of_confidence_counts():
    found = disagreement(answer(halves(1, 1), np.full((2, 4), 0.9)), answer(halves(1, 1), np.full((2, 4), 0.5)))
    np.testing.assert_allclose(found, 0.4, atol=1e-3)


def test_a_cell_is_the_mean_of_its_pixels_also_where_the_image_was_reduced():
    changed = np.full((80, 160), 1)
    changed[:, :20] = 2  # half of the first column of cells
    found = disagreement(answer(np.full((80, 160), 1), np.full((2, 4), 1.0)), answer(changed, np.full((2, 4), 1.0)))
    np.testing.assert_allclose(found, np.array([[0.5, 0, 0, 0]] * 2), atol=1e-3)

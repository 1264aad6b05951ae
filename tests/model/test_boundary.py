import numpy as np
import pytest
import torch

from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.boundary import BoundaryScore, f_score
from geminifusion_model.evaluation.prediction import ScoredFrame


def scored(truth, labels):
    truth, labels = (np.asarray(a, np.uint8) for a in (truth, labels))
    sample = Sample("a", np.zeros((*truth.shape, 3), np.uint8), {}, truth)
    return ScoredFrame(0, sample, truth, labels, torch.zeros(3, *truth.shape))


def halves(edge, size=40):
    labels = np.zeros((size, size), np.uint8)
    labels[:, edge:] = 1
    return labels


def test_outline_one_pixel_off_counts_only_within_the_tolerance():
    """The diagonal is 56.6 pixels: 0.0075 of it is less than a pixel, 0.02 more."""
    for tolerance, expected in ((0.0075, 0.0), (0.02, 100.0)):
        score = BoundaryScore(3, tolerance)
        score.add(scored(halves(20), halves(21)))
        assert score.per_class()[:2].tolist() == [expected, expected]
        assert np.isnan(score.per_class()[2])
        assert score.mean() == expected


def test_precision_and_recall_are_combined_as_worked_out_by_hand():
    """Two of four found pixels are near a true one, both true ones are found: P = 1/2, R = 1, F = 2/3."""
    truth, found = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    truth[0, :2] = found[0, :2] = found[8, :2] = True
    assert f_score(truth, found, 1.0, np.ones((9, 9), bool)) == pytest.approx(2 / 3)


def test_missed_and_invented_outlines_score_zero():
    score = BoundaryScore(3)
    score.add(scored(np.zeros((40, 40)), halves(20)))
    score.add(scored(halves(20), np.zeros((40, 40))))
    assert score.per_class()[:2].tolist() == [0.0, 0.0]


def test_a_class_score_is_the_mean_over_frames_that_show_it():
    score = BoundaryScore(3)
    score.add(scored(halves(20), halves(20)))
    score.add(scored(halves(20), halves(30)))
    score.add(scored(np.zeros((40, 40)), np.zeros((40, 40))))
    assert score.per_class()[0] == pytest.approx(50)


def test_outline_within_an_unlabeled_strip_counts_if_it_is_near_and_is_not_blamed_if_it_is_far():
    """The strip is four pixels wide; the diagonal is 56.6, so 0.04 of it is 2.3 pixels."""
    truth = halves(20)
    truth[:, 18:22] = 255
    near = BoundaryScore(3, 0.04)
    near.add(scored(truth, halves(20)))
    assert near.per_class()[:2].tolist() == [100, 100]
    inside, judged = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    inside[4, 4] = True
    judged[4, 4] = False
    assert f_score(np.zeros((9, 9), bool), inside, 1.0, judged) is None


def test_class_that_fills_the_frame_has_no_outline():
    score = BoundaryScore(3)
    score.add(scored(np.zeros((40, 40)), np.zeros((40, 40))))
    assert np.isnan(score.per_class()).all()
    assert np.isnan(score.mean())


def test_tolerance_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match="share of the diagonal"):
        BoundaryScore(3, 1.5)

"""The comparison of two networks on the same frames must find differences that are there and no others."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from geminifusion_model.evaluation.intervals import bootstrap_intervals

_PATH = Path(__file__).parents[2] / "benchmarks" / "paired_bootstrap.py"
_spec = importlib.util.spec_from_file_location("paired_bootstrap", _PATH)
paired_bootstrap = importlib.util.module_from_spec(_spec)
sys.modules["paired_bootstrap"] = paired_bootstrap  # its dataclass looks itself up there
_spec.loader.exec_module(paired_bootstrap)


def frames_with_accuracy(accuracies, pixels=1000):
    """One seed; frames of two equal classes, each predicted right with this share: `1 F 2 2`."""
    right = np.round(np.asarray(accuracies) * pixels).astype(np.int64)
    wrong = pixels - right
    return np.stack([np.stack([right, wrong], -1), np.stack([wrong, right], -1)], -2)[None]


def test_network_equal_to_itself_has_no_difference():
    matrices = frames_with_accuracy(np.linspace(0.3, 0.9, 40))
    found = paired_bootstrap.difference(matrices, matrices, draws=200)
    assert (found.miou, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_small_gain_on_every_frame_is_found_although_frames_differ_more_than_that():
    accuracies = np.linspace(0.3, 0.9, 40)
    better, worse = frames_with_accuracy(accuracies + 0.02), frames_with_accuracy(accuracies)
    found = paired_bootstrap.difference(better, worse, draws=500)
    assert 0 < found.low < found.miou < found.high
    assert found.p_value == pytest.approx(2 / 501)
    unpaired = paired_bootstrap.interval(paired_bootstrap.drawn_mious(worse, draws=500))
    assert unpaired[1] - unpaired[0] > 10 * (found.high - found.low)


def test_swapping_both_networks_turns_the_sign_and_nothing_else():
    rng = np.random.default_rng(0)
    first, second = (frames_with_accuracy(rng.uniform(0.4, 0.8, 30)) for _ in range(2))
    one, other = (paired_bootstrap.difference(*pair, draws=300) for pair in ((first, second), (second, first)))
    assert other.miou == pytest.approx(-one.miou)
    assert (other.low, other.high) == (pytest.approx(-one.high), pytest.approx(-one.low))
    assert other.p_value == one.p_value


def test_draws_of_one_seed_are_those_of_the_evaluation():
    matrices = frames_with_accuracy(np.linspace(0.2, 0.9, 25))
    drawn = paired_bootstrap.drawn_mious(matrices, draws=1000)
    known = bootstrap_intervals(matrices[0], draws=1000).miou
    assert paired_bootstrap.interval(drawn) == pytest.approx((known.low, known.high))


def test_seeds_are_averaged_after_scoring_not_before():
    good, bad = frames_with_accuracy([1.0, 1.0]), frames_with_accuracy([0.5, 0.5])
    both = np.concatenate([good, bad])
    # IoU of half right and half wrong is 1/3
    assert paired_bootstrap.mean_miou(both) == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_other_frames_are_refused():
    with pytest.raises(ValueError, match="same frames"):
        paired_bootstrap.difference(frames_with_accuracy([0.5] * 3), frames_with_accuracy([0.5] * 4))

import math

import numpy as np
import pytest
import torch

from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.calibration import Reliability, Temperature, TemperatureFit, fit_temperature
from geminifusion_model.evaluation.prediction import ScoredFrame


def drawn_from(scores, temperature, seed=0):
    """Labels drawn from the softmax of `N K` scores divided by a temperature."""
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial((scores / temperature).softmax(1), 1, generator=generator)[:, 0]


def logits(count, num_classes=5, seed=1):
    return 3 * torch.randn(count, num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scored(scores, truth, index=0):
    """A frame of one row of pixels from `N K` scores and `N` classes."""
    truth = truth.numpy().astype(np.uint8)[None]
    maps = scores.float().T[:, None]
    sample = Sample(str(index), np.zeros((*truth.shape, 3), np.uint8), {}, truth)
    return ScoredFrame(index, sample, truth, maps.argmax(0).numpy().astype(np.uint8), maps)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fit_finds_the_temperature_the_labels_were_drawn_with(temperature):
    scores = logits(40_000)
    assert fit_temperature(scores, drawn_from(scores, temperature)) == pytest.approx(temperature, rel=0.03)


def test_fitted_temperature_lowers_the_likelihood_loss_and_the_calibration_error():
    scores = logits(20_000)
    truth = drawn_from(scores, 2.0)
    fit = TemperatureFit(pixels_per_frame=5000)
    for index, (part, labels) in enumerate(zip(scores.chunk(2), truth.chunk(2), strict=True)):
        fit.add(scored(part, labels, index))
    found = fit.fit("native-labels", "frames of a test")
    assert found.value == pytest.approx(2.0, rel=0.06)
    assert (found.frames, found.pixels) == (2, 10_000)
    assert found.nll_after < found.nll_before
    before, after = Reliability(), Reliability(temperature=found.value)
    for meter in (before, after):
        meter.add(scored(scores, truth))
    assert after.expected_error() < 1.5 < 10 < before.expected_error()


def test_temperature_is_found_again_in_the_training_record():
    fit = TemperatureFit()
    fit.add(scored(logits(100), drawn_from(logits(100), 1.0)))
    found = fit.fit("native-labels")
    assert Temperature.from_record({"calibration": found.to_record()}) == found
    assert Temperature.from_record({}) is None


def test_pixels_drawn_for_the_fit_depend_on_the_seed_alone():
    def value(seed):
        fit = TemperatureFit(pixels_per_frame=50, seed=seed)
        fit.add(scored(logits(2000), drawn_from(logits(2000), 1.0)))
        return fit.fit("p").value

    assert value(3) == value(3) != value(4)


def test_calibration_error_is_the_weighted_gap_worked_out_by_hand():
    """Three pixels at 0.9, two right; one at 0.3, wrong: (3·|2/3 − 0.9| + 1·0.3) / 4 = 0.25."""
    meter = Reliability(num_bins=2)
    meter.add_pixels(np.array([0.9, 0.9, 0.9, 0.3]), np.array([True, True, False, False]))
    assert meter.expected_error() == pytest.approx(25.0)
    assert meter.accuracy().tolist() == pytest.approx([0, 2 / 3])
    assert meter.confidence().tolist() == pytest.approx([0.3, 0.9])
    assert meter.pixels.tolist() == [1, 3]


def test_full_confidence_falls_into_the_last_bin_and_unlabeled_pixels_into_none():
    truth = torch.tensor([0, 255])
    meter = Reliability(num_bins=4)
    meter.add(scored(torch.tensor([[100.0, 0.0], [100.0, 0.0]]), truth))
    assert meter.pixels.tolist() == [0, 0, 0, 1]


def test_confidence_is_the_softmax_of_the_winner():
    scores = logits(6)
    found = scored(scores, torch.zeros(6)).confidence(1.7)[0]
    np.testing.assert_allclose(found, (scores / 1.7).softmax(1).amax(1), rtol=1e-5)


def test_nothing_to_fit_and_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="no labeled pixel"):
        TemperatureFit().fit("p")
    with pytest.raises(ValueError, match="expected at least 1, and positive"):
        Reliability(temperature=0.0)
    assert math.isnan(Reliability().expected_error())

"""Comparing runtimes, with runtimes of a few lines."""

import dataclasses

import numpy as np
import pytest

from geminifusion_export.runtimes import Answers
from geminifusion_export.verification.comparison import (
    BFLOAT16,
    FLOAT16_WEIGHTS,
    FLOAT32_WEIGHTS,
    INT8,
    Budget,
    Expected,
    VerificationError,
    budget_for,
    compare,
    expect,
    fits_engine,
    mean_iou,
    problems,
    require_within,
)
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_runtime.artifact import EngineRequirements, ShapeRange


class Thresholds:
    """Labels 0 or 1 by brightness, shifted by `error` in confidence and flipped in the first `flipped` pixels."""

    name, precision = "thresholds", "float32"

    def __init__(self, error=0.0, flipped=0, cropped=0, precision="float32"):
        self.error, self.flipped, self.cropped, self.precision = error, flipped, cropped, precision

    def run(self, feeds):
        rgb = feeds["rgb"]
        labels = (rgb[..., 0] > 127).astype(np.uint8)
        labels.ravel()[: self.flipped] ^= 1
        maps = np.full((len(rgb), 2, 2), 0.5, np.float32)
        return Answers(labels[:, self.cropped :], maps + np.float32(self.error), maps)


@pytest.fixture(scope="module")
def expected():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    return expect(Thresholds(), [{"rgb": rgb}])


def test_equal_answers_are_reported_as_equal_at_their_shape(expected):
    report = compare(expected, Thresholds(), traced=(2, 8, 8)).report
    assert (report.batch, report.height, report.width, report.traced) == (2, 8, 8, True)
    assert report.label_agreement == 1.0
    assert report.confidence_max_error == report.gate_max_error == 0.0
    assert problems(report, FLOAT32_WEIGHTS) == []


def test_differences_are_measured_and_named(expected):
    report = compare(expected, Thresholds(error=0.25, flipped=32)).report
    assert report.label_agreement == 0.75
    assert report.confidence_max_error == pytest.approx(0.25)
    sentences = "; ".join(problems(report, FLOAT32_WEIGHTS))
    assert "thresholds (float32) at 2x8x8: confidence off by 2.50e-01 of 1e-04" in sentences
    assert "75.000 % of the labels agree of 99.9 %" in sentences


def test_answers_of_another_shape_are_refused(expected):
    with pytest.raises(VerificationError, match=r"thresholds at 2x8x8: labels is \(2, 7, 8\), expected \(2, 8, 8\)"):
        compare(expected, Thresholds(cropped=1))


def test_where_there_is_truth_the_score_decides_about_labels(expected):
    truth = expected[0].answers.labels.copy()
    labelled = (Expected(expected[0].feeds, expected[0].answers, truth),)
    report = compare(labelled, Thresholds(flipped=1, precision="int8"), num_classes=2).report
    assert report.reference_miou == 100.0
    assert 98 < report.miou < 100
    assert problems(report, INT8) == [] or "mIoU" in problems(report, INT8)[0]
    poor = dataclasses.replace(report, miou=98.5)
    assert "mIoU 98.50, torch 100.00; a loss of 1.0 is allowed" in problems(poor, INT8)[0]
    assert problems(dataclasses.replace(poor, miou=99.5, label_agreement=0.1), INT8) == []


def test_nan_is_over_every_budget(expected):
    report = dataclasses.replace(compare(expected, Thresholds()).report, gate_max_error=float("nan"))
    assert "gate off by nan" in problems(report, Budget(gate_error=1e9))[0]


def test_mean_iou_is_the_models():
    generator = np.random.default_rng(1)
    truth = generator.choice(np.array([0, 1, 2, 255], np.uint8), (2, 9, 9))
    found = generator.integers(0, 4, (2, 9, 9), dtype=np.uint8)
    matrix = ConfusionMatrix(5)
    matrix.add(truth, found)
    assert mean_iou([(truth, found)], 5) == pytest.approx(matrix.miou())
    assert np.isnan(mean_iou([(np.full((1, 2, 2), 255, np.uint8), found[:1, :2, :2])], 5))


def test_each_precision_has_its_budget():
    assert budget_for("float32") is FLOAT32_WEIGHTS
    assert budget_for("float32", "float16") is FLOAT16_WEIGHTS
    assert budget_for("bfloat16").miou_loss == BFLOAT16.miou_loss == 0.5
    assert budget_for("int8").miou_loss == 1.0


def test_refusal_names_the_layer_once(expected):
    reports = [compare(expected, Thresholds(error=error)).report for error in (0.0, 0.1, 0.2)]
    asked = []

    def locate(report):
        asked.append(report)
        return "decoder.classify"

    require_within(reports[:1], locate=locate)
    assert asked == []
    with pytest.raises(VerificationError, match=r"off by 1\.00e-01 .* off by 2\.00e-01 .* departs most at decoder\.cl"):
        require_within(reports, locate=locate)
    assert len(asked) == 1


def test_shape_outside_every_profile_does_not_fit_an_engine():
    profile = ShapeRange(minimum=(1, 64, 64), optimum=(1, 480, 640), maximum=(4, 480, 640))
    engine = EngineRequirements(tensorrt_version="11.4.0.106", compute_capability="8.9", profiles=(profile,))
    assert fits_engine((2, 96, 128), engine)
    assert not fits_engine((5, 96, 128), engine)
    assert fits_engine((5, 96, 128), None)

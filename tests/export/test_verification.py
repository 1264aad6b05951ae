"""Comparing and measuring backends, with backends of a few lines."""

import dataclasses

import numpy as np
import pytest

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import BackendFile, Candidate, Unavailable
from geminifusion_export.verification.comparison import (
    BFLOAT16,
    FLOAT16_WEIGHTS,
    FLOAT32_WEIGHTS,
    INT8,
    Budget,
    budget_for,
    compare,
    problems,
    run_reference,
)
from geminifusion_export.verification.measurement import Measurement
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, ReferenceBatch


class Thresholds:
    """Labels 0 or 1 by brightness, shifted by `error` in confidence and flipped in the first `flipped` pixels."""

    name = "thresholds"

    def __init__(self, error=0.0, flipped=0, cropped=0, tallest=1000, broken=False):
        self.error, self.flipped, self.cropped, self.tallest, self.broken = error, flipped, cropped, tallest, broken

    def size_problem(self, height, width):
        return None if height <= self.tallest else f"the engine was built for a height up to {self.tallest}"

    def run(self, inputs):
        if self.broken:
            raise MemoryError("no room left\nand a page of details")
        rgb = inputs["rgb"]
        labels = (rgb[..., 0] > 127).astype(np.uint8)
        labels.ravel()[: self.flipped] ^= 1
        maps = np.full((len(rgb), 2, 2), 0.5, np.float32)
        return {"labels": labels[:, self.cropped :], "confidence": maps + np.float32(self.error), "gate": maps}


def candidate(precision="float32", **kinds):
    return Candidate(file=BackendFile("thresholds", "thresholds"), backend=Thresholds(**kinds), precision=precision)


@pytest.fixture(scope="module")
def expected():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    return run_reference(Thresholds(), [{"rgb": rgb}])


@pytest.fixture(scope="module")
def metadata(tiny_artifact):
    return read_metadata(tiny_artifact)


def test_equal_outputs_are_reported_as_equal_at_their_shape(expected):
    report = compare(expected, candidate(), traced=(2, 8, 8)).report
    assert (report.batch, report.height, report.width, report.traced) == (2, 8, 8, True)
    assert report.label_agreement == 1.0
    assert report.confidence_max_error == report.gate_max_error == 0.0
    assert problems(report, FLOAT32_WEIGHTS) == []


def test_differences_are_measured_and_named(expected):
    report = compare(expected, candidate(error=0.25, flipped=32)).report
    assert report.label_agreement == 0.75
    assert report.confidence_max_error == pytest.approx(0.25)
    sentences = "; ".join(problems(report, FLOAT32_WEIGHTS))
    assert "thresholds (float32) at 2x8x8: confidence off by 2.50e-01 of 1e-04" in sentences
    assert "75.000 % of the labels agree of 99.9 %" in sentences


def test_outputs_of_another_shape_are_rejected(expected):
    with pytest.raises(VerificationError, match=r"thresholds at 2x8x8: labels is \(2, 7, 8\), expected \(2, 8, 8\)"):
        compare(expected, candidate(cropped=1))


def test_where_there_is_truth_the_score_decides_about_labels(expected):
    labeled = [expected[0]._replace(truth=expected[0].outputs["labels"].copy())]
    report = compare(labeled, candidate(flipped=1, precision="int8"), num_classes=2).report
    assert report.reference_miou == 100.0
    assert 98 < report.miou < 100
    assert problems(report, INT8) == [] or "mIoU" in problems(report, INT8)[0]
    poor = dataclasses.replace(report, miou=98.5)
    assert "mIoU 98.50, torch 100.00; a loss of 1.0 is allowed" in problems(poor, INT8)[0]
    assert problems(dataclasses.replace(poor, miou=99.5, label_agreement=0.1), INT8) == []


def test_score_counts_labeled_pixels_of_all_batches_together(expected):
    half, none = (expected[0].outputs["labels"].copy() for _ in range(2))
    half[0], none[:] = 255, 255
    batches = [expected[0]._replace(truth=truth) for truth in (half, none, None)]
    assert compare(batches, candidate(), num_classes=2).report.miou == 100.0
    assert compare(batches[1:], candidate(), num_classes=2).report.miou is None
    flipped_where_nothing_is_labeled = candidate(flipped=64)
    assert compare(batches, flipped_where_nothing_is_labeled, num_classes=2).report.miou == 100.0


def test_nan_is_over_every_budget(expected):
    report = dataclasses.replace(compare(expected, candidate()).report, gate_max_error=float("nan"))
    assert "gate off by nan" in problems(report, Budget(gate_error=1e9))[0]


def test_each_precision_has_its_budget():
    assert budget_for("float32") is FLOAT32_WEIGHTS
    assert budget_for("float32", "float16") is FLOAT16_WEIGHTS
    assert budget_for("bfloat16").miou_loss == BFLOAT16.miou_loss == 0.5
    assert budget_for("int8").miou_loss == 1.0
    assert {name: budget_for(name).label_agreement for name in MIN_LABEL_AGREEMENT} == MIN_LABEL_AGREEMENT


def test_a_section_holds_every_report_and_what_is_over_budget(expected, metadata):
    measurement = Measurement([candidate(), candidate(error=0.1), Unavailable("openvino", "not installed")], metadata)
    measurement.measure_shapes("on random inputs", expected, traced=(2, 8, 8))
    (section,) = measurement.sections
    assert [report.traced for report in section.reports] == [True, True]
    assert [sentence.partition(":")[0] for sentence in section.problems] == ["thresholds (float32) at 2x8x8"] * 2
    assert measurement.first_over_budget() is section.reports[1]
    assert measurement.not_measured == [Unavailable("openvino", "not installed")]


def test_a_candidate_that_fails_to_run_is_a_problem_and_the_others_are_measured(expected, metadata):
    measurement = Measurement([candidate(broken=True), candidate(cropped=1), candidate()], metadata)
    measurement.measure_shapes("on random inputs", expected)
    assert len(measurement.reports) == 1
    assert measurement.problems[0] == "thresholds float32 failed at 2x8x8: no room left"
    assert "labels is (2, 7, 8)" in measurement.problems[1]


def test_a_size_that_a_backend_does_not_serve_is_not_measured_and_no_failure(expected, metadata):
    measurement = Measurement([candidate(tallest=7)], metadata)
    measurement.measure_shapes("on random inputs", expected)
    (left_out,) = measurement.not_measured
    assert left_out.name == "thresholds float32"
    assert left_out.reason == "2x8x8: the engine was built for a height up to 7"
    assert measurement.problems == []


def test_other_backends_are_held_to_onnx_runtime_at_the_reference_size_too(metadata):
    reference = candidate()
    reference.backend.name = "onnxruntime-cpu"
    measurement = Measurement([reference, candidate(flipped=10**6)], metadata)
    measurement.measure_against_onnx()
    (section,) = measurement.sections
    assert (1, *metadata.size.reference) in [(r.batch, r.height, r.width) for r in section.reports]
    assert {report.backend for report in section.reports} == {"thresholds"}
    assert len(section.problems) == len(section.reports) == 3


def test_a_backend_alone_has_nothing_to_be_held_to(metadata):
    measurement = Measurement([candidate()], metadata)
    measurement.measure_against_onnx()
    assert measurement.sections == []


def test_reference_batch_knows_its_shape(expected):
    assert isinstance(expected[0], ReferenceBatch)
    assert expected[0].shape == (2, 8, 8)

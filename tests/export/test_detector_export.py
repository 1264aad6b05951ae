"""A detector exported, verified and run without torch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geminifusion import load
from geminifusion_export.benchmarking.benchmark import BenchmarkOptions, run_benchmark
from geminifusion_export.build import ExportOptions
from geminifusion_export.detection.build import build_detector
from geminifusion_export.detection.graph import DetectionGraph
from geminifusion_export.errors import BenchmarkError, ExportError, VerificationError
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_export.verification.verify_export import verify_export
from geminifusion_model.detection.checkpoint import DetectorInfo, write_detector
from geminifusion_model.detection.config import MVXNET, DetectorConfig
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.task import DetectionTask
from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.detection.blank import made_up_frame
from geminifusion_runtime.tasks.detection.golden import read_golden_frames, write_golden_frames
from geminifusion_service.models.description import describe_model

SMALL = DetectorConfig(
    point_range=(0.0, -5.12, -3.0, 10.24, 5.12, 1.0),
    voxel_size=(0.32, 0.32, 4.0),
    pyramid_channels=16,
    point_channels=(16, 16),
    fused_channels=16,
    bev_channels=(16, 16),
    bev_depths=(1, 1),
    bev_strides=(2, 2),
    neck_channels=16,
)


def write_checkpoint(directory, config, bias=3.0):
    torch.manual_seed(3)
    detector = Detector(config)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        detector.head.classes.bias.add_(bias)  # boxes to compare
    weights = dict(detector.state_dict())
    task = DetectionTask(data="made up", image_size=(64, 96), data_license="Apache-2.0")
    training = {"summary": "made up", "test": {"protocol": "AP", "data": "2 frames", "average_precision": {"car": 8.5}}}
    write_detector(directory, weights, DetectorInfo(network=config, task=task, training=training))
    return directory


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    checkpoint = write_checkpoint(folder / "checkpoint", dataclasses.replace(SMALL, fusion="none"))
    build_detector(checkpoint, folder / "artifact", ExportOptions(name="street"))
    return checkpoint, folder / "artifact"


def test_the_artifact_says_what_it_was_verified_by(exported):
    metadata = open_artifact(exported[1])
    (report,) = metadata.verification
    assert report.class_logit_max_error < 1e-4
    assert report.box_agreement == 1.0
    assert (metadata.map_size, metadata.image_size, metadata.sees_images) == ((16, 16), (64, 96), False)


def test_the_scores_of_the_checkpoint_are_in_the_artifact_and_in_what_a_server_says_of_it(exported):
    training = open_artifact(exported[1]).training
    assert (training.average_precision, training.protocol, training.scored_on) == ({"car": 8.5}, "AP", "2 frames")
    described = describe_model(Model.open(exported[1], threads=1))["training"]
    assert described == {**dataclasses.asdict(training), "summary": "made up"}


def test_the_served_boxes_are_those_of_torch(exported):
    checkpoint, artifact = exported
    model = load(artifact)
    made = made_up_frame(model.metadata, seed=9)
    found = model.detect(made.image, made.points, made.calibration)
    frame = dataclasses.replace(read_golden_frames(artifact, model.metadata)[0], points=made.points, image=made.image)
    inputs = frame.prepared(model.metadata).inputs
    detector = Detector.from_pretrained(checkpoint)
    with torch.no_grad():
        (expected,) = detector.detect(detector(None, [torch.from_numpy(inputs["points"])]))
    assert len(found) > 3
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        same = expected.take(expected.labels == label)
        nearest = np.abs(same.boxes - box).sum(axis=1).argmin()
        np.testing.assert_allclose(same.boxes[nearest], box, atol=1e-3)
        assert same.scores[nearest] == pytest.approx(score, abs=1e-4)


def test_an_artifact_whose_graph_is_another_fails(exported, tmp_path):
    _, artifact = exported
    metadata = open_artifact(artifact)
    frames = read_golden_frames(artifact, metadata)
    wrong = [
        dataclasses.replace(one, outputs={**one.outputs, "class_logits": np.asarray(one.outputs["class_logits"]) + 0.1})
        for one in frames
    ]
    for name in metadata.files:
        (tmp_path / name).write_bytes((artifact / name).read_bytes())
    write_golden_frames(tmp_path / metadata.golden.file, wrong)
    with pytest.raises(VerificationError, match=r"class logits off by 1\.00e-01"):
        verify_export(tmp_path, metadata)


def test_an_artifact_is_verified_where_it_serves(exported):
    checkpoint, artifact = exported
    verification = verify_artifact(artifact, checkpoint, threads=1)
    golden, fresh = verification.certificate.sections
    assert verification.certificate.verdict == "passed"
    assert "golden frames" in golden.against
    assert {report.box_agreement for report in (*golden.reports, *fresh.reports)} == {1.0}
    assert len(fresh.reports) == 3, "one for each number of points"
    assert "boxes equal" in str(verification)


def test_frames_of_labels_are_refused_before_anything_is_measured(exported, tmp_path):
    checkpoint, artifact = exported
    with pytest.raises(VerificationError, match=r"street@1 is for object-detection-3d; leave it out"):
        verify_artifact(artifact, checkpoint, tmp_path)


def test_another_checkpoint_is_refused(exported, tmp_path):
    other = write_checkpoint(tmp_path / "other", dataclasses.replace(SMALL, fusion="none"), bias=2.0)
    with pytest.raises(ExportError, match="give the checkpoint it was exported from"):
        verify_artifact(exported[1], other)


def test_a_detector_is_measured_on_a_whole_sweep(exported):
    quick = {"repeats": 2, "warmup": 0, "threads": 1}
    found = run_benchmark(exported[1], BenchmarkOptions(**quick))
    (measured,) = found.measurements
    assert (measured.batch, measured.height, measured.width) == (1, 64, 96)
    assert measured.gflops > 0
    assert measured.peak_memory_mib > 20, "the frame is made in the other process as well"
    points = int(found.remarks[0].partition("points ")[2].partition("x4")[0])
    assert 2000 < points <= 20_000
    with pytest.raises(BenchmarkError, match="street@1 runs 1 at a time"):
        run_benchmark(exported[1], BenchmarkOptions(**quick, batches=(1, 2)))


def test_what_cannot_be_exported_is_said(tmp_path):
    with pytest.raises(ExportError, match="sparse convolutions, which no runtime computes"):
        DetectionGraph(
            Detector(dataclasses.replace(MVXNET, fusion="none", bev_channels=(8, 8), neck_channels=8)), (64, 96)
        )
    with pytest.raises(ExportError, match="--precision: not for detectors"):
        build_detector(tmp_path, tmp_path / "a", ExportOptions(name="a", precision="float16"))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["geminifusion", "sum"])
def test_a_detector_that_sees_images_keeps_its_boxes(fusion, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", dataclasses.replace(SMALL, fusion=fusion))
    assert load_file(checkpoint / "model.safetensors")
    metadata = build_detector(checkpoint, tmp_path / "artifact", ExportOptions(name="street"))
    (report,) = metadata.verification
    assert report.class_logit_max_error < 1e-4
    assert report.box_agreement == 1.0
    assert metadata.sees_images

"""Artifacts and servers are scored like checkpoints, and refuse what their graph cannot follow in one sentence."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion.local import load
from geminifusion_model.commands import evaluate
from geminifusion_model.evaluation.evaluation_run import EvaluationRun
from geminifusion_model.evaluation.protocols import protocol_named
from geminifusion_model.evaluation.served import ServedError, ServedModel
from geminifusion_runtime.artifact import SizePolicy, read_metadata
from geminifusion_runtime.model import Model
from geminifusion_service.models.description import describe_model

DATASET = """
name: blobs
license: none
classes: [dark near, dark far, bright near, bright far]
modalities:
  depth: {encoding: metric, metres_per_unit: 0.001, range: [0.1, 10.0], mean: 2.8, std: 1.4}
splits: {train: train.csv, test: test.csv}
"""


@pytest.fixture(scope="module")
def data(make_pair, tmp_path_factory):
    """Scenes whose truth is what the tiny graph answers, a corner apart."""
    root = tmp_path_factory.mktemp("blobs")
    for folder in ("rgb", "depth", "label"):
        (root / folder).mkdir()
    for seed in range(3):
        pair = make_pair(seed)
        labels = pair.labels.copy()
        labels[:6, :6] = (labels[:6, :6] + 1) % 4
        cv2.imwrite(str(root / "rgb" / f"{seed}.png"), pair.rgb[..., ::-1])
        cv2.imwrite(str(root / "depth" / f"{seed}.png"), pair.depth_mm)
        cv2.imwrite(str(root / "label" / f"{seed}.png"), labels)
    (root / "dataset.yaml").write_text(DATASET)
    for split, seeds in (("train", (0,)), ("test", (1, 2))):
        rows = [f"rgb/{seed}.png,label/{seed}.png,depth/{seed}.png" for seed in seeds]
        (root / f"{split}.csv").write_text("\n".join(["rgb,labels,depth", *rows]) + "\n")
    return root


@pytest.fixture(scope="module")
def artifact(make_artifact, tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny", depth_optional=True)


class LocalServer:
    """The part of a client that scoring uses, over the model in this process."""

    def __init__(self, directory):
        self.segmenter = load(directory, threads=1)
        self.description = describe_model(Model.open(directory, threads=1))

    def models(self):
        return [self.description]

    def segment(self, *, model, confidence, gate, **images):
        return self.segmenter(**images)


def scored(source, data, **options):
    run = EvaluationRun(source, data=data, dataset="folder", threads=1, **options)
    run.run(details=True)
    return run


def test_an_artifact_has_the_tables_and_the_report_of_a_checkpoint(artifact, data, tmp_path):
    page = tmp_path / "report.html"
    arguments = [artifact, "--data", data, "--dataset", "folder", "--threads", 1, "--report", page]
    done = CliRunner().invoke(evaluate, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    assert "protocol native-labels" in done.output
    assert "boundary F" in done.output
    text = page.read_text(encoding="utf-8")
    assert "tiny@1 (onnxruntime" in text
    assert text.count("<h3>") == 2


def test_labels_are_counted_as_they_are_served(artifact, data):
    scores = scored(artifact, data).scores
    wrong = 36 * 2
    assert scores.pixel_accuracy == pytest.approx(100 * (1 - wrong / (2 * 48 * 64)))


def test_a_server_scores_as_its_artifact(artifact, data):
    here = scored(artifact, data)
    there = scored("http://server", data, connect=lambda url: LocalServer(artifact))
    np.testing.assert_array_equal(here.scores.matrices, there.scores.matrices)
    assert here.results.to_text() == there.results.to_text()


def test_a_modality_may_be_left_out_where_the_model_was_trained_to_miss_it(artifact, data):
    run = scored(artifact, data, without=("depth",))
    assert "without depth" in run.to_text()
    assert run.scores.iou[1] == 0  # nothing is far without depth
    with pytest.raises(ServedError, match="was not trained to do without rgb"):
        EvaluationRun(artifact, data=data, dataset="folder", without=("rgb",))
    with pytest.raises(ValueError, match="there is no thermal to leave out"):
        EvaluationRun(artifact, data=data, dataset="folder", without=("thermal",))


def test_what_needs_a_network_asks_for_the_checkpoint(artifact, data):
    run = EvaluationRun(artifact, data=data, dataset="folder")
    for wish in ({"robustness": True}, {"fit_temperature": True}):
        with pytest.raises(ServedError, match="give the checkpoint"):
            run.run(**wish)


SIZED = SizePolicy(min_side=16, max_pixels=10**7, reference=(480, 640), shorter_side=480, multiple_of=32)


@pytest.mark.parametrize(
    ("protocol", "changes", "shape", "problem"),
    [
        ("native-labels", {}, (48, 64), None),
        ("original-nyu-single-scale", {}, (48, 64), "enlarges logits with bicubic, the graph with bilinear"),
        ("original-nyu-single-scale", {"label_upsampling": "bicubic"}, (48, 64), None),
        ("multi-scale-flip", {}, (48, 64), "several views"),
        ("native-labels", {}, (480, 640), "up to 19200 pixels"),
        ("native-labels", {"size": SIZED}, (530, 730), "sees 730x530 frames as 730x530, the graph as 672x480"),
        ("sunrgbd-test-native", {"size": SIZED, "label_upsampling": "bicubic"}, (530, 730), None),
        ("original-sun", {"size": SIZED, "label_upsampling": "bicubic"}, (530, 730), "at another size"),
        ("deliver-test-native", {"size": SIZED}, (480, 640), "the graph as 640x480"),
    ],
)
def test_only_protocols_that_resize_as_the_graph_are_followed(tiny_artifact, protocol, changes, shape, problem):
    served = dataclasses.replace(ServedModel.of(read_metadata(tiny_artifact), "onnxruntime"), **changes)
    if problem is None:
        served.check(protocol_named(protocol), *shape)
        return
    with pytest.raises(ServedError, match=f"cannot follow {protocol}: .*{problem}.*; score"):
        served.check(protocol_named(protocol), *shape)


def test_one_of_several_models_has_to_be_named(artifact, data):
    one = LocalServer(artifact)
    two = SimpleNamespace(models=lambda: [*one.models(), one.description | {"reference": "other@1"}])
    with pytest.raises(ServedError, match="tiny@1, other@1, and none was asked for; name one with --model"):
        EvaluationRun("http://server", data=data, dataset="folder", connect=lambda url: two)
    two.segment = one.segment
    run = EvaluationRun("http://server", data=data, dataset="folder", connect=lambda url: two, model="tiny")
    assert run.predictor.served.reference == "tiny@1"

import json

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointError, read_info, write_checkpoint
from geminifusion_model.commands import evaluate
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.evaluation.evaluation_run import EvaluationError, EvaluationRun
from geminifusion_model.evaluation.protocols import PROTOCOLS, Protocol


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two training frames, two held out, two to test on, in the NYUv2 layout."""
    root = tmp_path_factory.mktemp("nyuv2")
    for folder in ("rgb", "depth", "label13"):
        (root / folder).mkdir()
    for number in range(6):
        random = np.random.default_rng(number)
        cv2.imwrite(str(root / "rgb" / f"{number}.jpg"), random.integers(0, 256, (48, 64, 3), np.uint8))
        cv2.imwrite(str(root / "depth" / f"{number}.png"), random.integers(0, 9000, (48, 64)).astype(np.uint16))
        cv2.imwrite(str(root / "label13" / f"{number}.png"), random.integers(0, 13, (48, 64), np.uint8))
    (root / "train.txt").write_text("0\n1\n2\n3\n")
    (root / "test.txt").write_text("4\n5\n")
    return root


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    net = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16)).eval()
    record = {"frames": 2, "steps": 1, "start": "random weights", "config": {"holdout": 2}}
    write_checkpoint(net, tmp_path / "net", task=nyuv2_task(13), training=record)
    return tmp_path / "net"


def run(*arguments):
    return CliRunner().invoke(evaluate, [str(a) for a in (*arguments, "--threads", 1)])


def test_command_prints_protocol_scores_and_interval(checkpoint, data):
    result = run(checkpoint, "--data", data)
    assert result.exit_code == 0, result.output
    last = result.output.strip().splitlines()[-2:]
    assert "2 frames, test, protocol original-nyu-single-scale: mIoU" in " ".join(last)
    assert "…" in " ".join(last)


def test_command_writes_a_report_with_everything(checkpoint, data, tmp_path):
    page = tmp_path / "report.html"
    result = run(checkpoint, "--data", data, "--robustness", "--report", page, "--report-frames", 1)
    assert result.exit_code == 0, result.output
    assert "EMM: depth missing" in result.output
    assert "boundary F" in result.output
    text = page.read_text(encoding="utf-8")
    assert "When sensors fail" in text
    assert text.count("<h3>") == 1


def test_fitted_temperature_is_stored_and_used_by_the_next_evaluation(checkpoint, data):
    weights = (checkpoint / "model.safetensors").read_bytes()
    result = run(checkpoint, "--data", data, "--fit-temperature", "--details")
    assert result.exit_code == 0, result.output
    stored = Temperature.from_record(read_info(checkpoint).training)
    assert stored.frames == 2
    assert stored.data == "held-out training frames"
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    assert f"at temperature {stored.value:.3f}" in run(checkpoint, "--data", data, "--details").output


def test_recorded_scores_keep_the_rest_of_the_training_record(checkpoint, data):
    result = run(checkpoint, "--data", data, "--robustness", "--record", "--protocol", "native-labels")
    assert result.exit_code == 0, result.output
    training = read_info(checkpoint).training
    assert training["config"] == {"holdout": 2}
    assert training["test"]["protocol"] == "native-labels"
    low, high = training["test"]["miou_interval"]
    assert low <= training["test"]["miou"] <= high
    assert training["robustness"]["miou"]["all modalities intact"] == training["test"]["miou"]
    assert set(training["robustness"]["means"]["EMM"]) == {"Avg", "E(p=0.2)", "E(p=0.1)", "E(p=0.05)"}
    json.dumps(training)


def test_temperature_needs_the_frames_that_were_held_out(checkpoint, data):
    info = read_info(checkpoint)
    net = GeminiFusion.from_pretrained(checkpoint)
    write_checkpoint(net, checkpoint, task=info.task, training={"frames": 4, "config": {"holdout": 0}})
    with pytest.raises(ValueError, match="trained without held-out frames"):
        EvaluationRun(checkpoint, data=data).run(fit_temperature=True)
    write_checkpoint(net, checkpoint, task=info.task, training={"frames": 9, "config": {"holdout": 2}})
    with pytest.raises(ValueError, match="give the data it was trained on"):
        EvaluationRun(checkpoint, data=data).run(fit_temperature=True)


def test_checkpoint_without_a_task_is_refused(data, tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16)).save_pretrained(tmp_path / "bare")
    with pytest.raises(CheckpointError, match="holds no task"):
        EvaluationRun(tmp_path / "bare", data=data)


def test_report_before_details_is_refused(checkpoint, data):
    evaluation = EvaluationRun(checkpoint, data=data)
    evaluation.run()
    with pytest.raises(ValueError, match="a report needs details"):
        evaluation.report(1)


def test_memory_that_torch_cannot_get_is_one_sentence_with_what_to_do(checkpoint, data, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "enormous", Protocol(name="enormous", source="this test", shorter_side=10**7))
    with pytest.raises(EvaluationError) as caught:
        EvaluationRun(checkpoint, data=data, protocol="enormous").run()
    assert "too little memory for a frame under the protocol enormous" in str(caught.value)
    assert "choose a --protocol that shows the network smaller frames" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memory_that_numpy_cannot_get_is_too(checkpoint, data, monkeypatch):
    evaluation = EvaluationRun(checkpoint, data=data)
    monkeypatch.setattr(evaluation.predictor, "score", lambda *_, **__: np.empty(2**60, np.uint8))
    with pytest.raises(EvaluationError, match=r"too little memory .*Unable to allocate .*; choose a --protocol"):
        evaluation.run()

"""`--dataset` of the training and evaluation commands."""

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from geminifusion_model.checkpoint import read_info
from geminifusion_model.commands import evaluate, train
from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.sample import DatasetError


@pytest.fixture
def folder(tmp_path):
    """Four frames of two classes, depth in centimetres."""
    root = tmp_path / "data"
    random = np.random.default_rng(0)
    for role in ("rgb", "labels", "depth"):
        (root / role).mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        labels = np.zeros((40, 48), np.uint8)
        labels[:, int(random.integers(10, 38)) :] = 1
        cv2.imwrite(str(root / "labels" / f"{name}.png"), labels)
        cv2.imwrite(str(root / "depth" / f"{name}.png"), (150 + 200 * labels).astype(np.uint16))
        cv2.imwrite(str(root / "rgb" / f"{name}.png"), random.integers(0, 256, (40, 48, 3), np.uint8))
    everything = {role: role for role in ("rgb", "labels", "depth")}
    contract = {
        "name": "halves",
        "license": "CC0-1.0",
        "classes": ["left", "right"],
        "modalities": {
            "depth": {"encoding": "log", "metres_per_unit": 0.01, "range": [0.3, 8], "mean": 2.5, "std": 1.0}
        },
        "splits": {"train": everything, "test": everything},
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(contract))
    return root


def test_a_custom_folder_can_be_trained_and_evaluated_on(folder, tmp_path):
    arguments = ["--data", folder, "--out", tmp_path / "run", "--threads", 1, "--set", "steps=1"]
    trained = CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)
    assert trained.exit_code == 0, trained.output
    assert "2 classes, rgb+depth, frames of 48x40; crops of 32x32 at input_scale 1" in trained.output
    task = read_info(tmp_path / "run" / "final").task
    assert task.class_names == ("left", "right")
    assert task.modalities[1].encoding == "log"
    arguments = [tmp_path / "run" / "final", "--data", folder, "--threads", 1]
    scored = CliRunner().invoke(evaluate, list(map(str, arguments)), catch_exceptions=False)
    assert scored.exit_code == 0, scored.output
    assert "4 frames, test" in scored.output


def test_a_folder_of_another_kind_is_refused_with_a_report(folder, tmp_path):
    arguments = ["--data", str(folder), "--dataset", "nyuv2", "--out", str(tmp_path / "run")]
    with pytest.raises(LayoutError, match=r"train\.txt is missing"):
        CliRunner().invoke(train, arguments, catch_exceptions=False)


def test_depth_encoding_that_the_data_cannot_give_is_refused(folder, tmp_path):
    arguments = ["--data", folder, "--dataset", "folder", "--out", tmp_path / "run"]
    arguments += ["--depth-encoding", "metric"]
    with pytest.raises(DatasetError, match="the depth of folder data comes as log, not as metric"):
        CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)

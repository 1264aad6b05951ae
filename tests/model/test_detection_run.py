"""Training of detectors: exact resume, what a run leaves, and learning one frame by heart."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from street_frames import SIZE, network, streets, training
from transformers import SegformerConfig, SegformerForImageClassification

from geminifusion_model.commands import evaluate, train
from geminifusion_model.detection.checkpoint import read_detector
from geminifusion_model.detection.data.augment import DetectionAugmentation
from geminifusion_model.detection.data.labels import KittiObjects
from geminifusion_model.detection.data.streets import Streets
from geminifusion_model.detection.data.streets.folder import StreetsFolder, write_streets
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.detecting import detect_all
from geminifusion_model.detection.evaluation.kitti_ap import CellName, kitti_scores
from geminifusion_model.detection.recipes import RECIPES
from geminifusion_model.detection.run import DetectionRun
from geminifusion_model.detection.state import build_state
from geminifusion_model.detection.step import rate_factor
from geminifusion_model.fusion_kernels import choice
from geminifusion_model.fusion_op import pixelwise_fusion_reference
from geminifusion_model.training.errors import ConfigError, DataChangedError, TrainingError
from geminifusion_model.weights.encoder_file import classifier_layout, write_encoder_file
from geminifusion_runtime.detection.boxes import CameraBoxes


def interrupted(run, step, monkeypatch):
    """Train up to a step and stop there as if the user had asked for it."""
    take = run._take

    def stopping(batch, wants_stop):
        return take(batch, lambda: run.state.step + 1 == step)

    monkeypatch.setattr(run, "_take", stopping)
    with pytest.raises(KeyboardInterrupt):
        run.train()


def metrics(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time", "seconds")} for line in lines]


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, monkeypatch):
    config = training(4, holdout=1)
    DetectionRun(config, streets(), tmp_path / "whole").train()
    interrupted(DetectionRun(config, streets(), tmp_path / "cut"), 3, monkeypatch)
    found = DetectionRun(config, streets(), tmp_path / "cut", resume=True).train()
    assert found.frames == 1
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "cut")]
    for part in ("net", "average"):
        for name, tensor in states[0][part].items():
            assert tensor.equal(states[1][part][name]), name
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
    one, other = (Detector.from_pretrained(tmp_path / name / "final").state_dict() for name in ("whole", "cut"))
    assert all(tensor.equal(other[name]) for name, tensor in one.items())
    info = read_detector(tmp_path / "whole" / "final")
    assert info.training["steps"] == 4
    assert "rendered streets" in info.training["summary"]


def test_a_run_with_other_data_or_settings_is_refused(tmp_path):
    config = training(1)
    DetectionRun(config, streets(), tmp_path).train()
    with pytest.raises(DataChangedError, match="other"):
        DetectionRun(config, streets(seed=9), tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"learning_rate was 0\.001 and is 0\.01"):
        DetectionRun(training(1, learning_rate=0.01), streets(), tmp_path, resume=True)
    with pytest.raises(TrainingError, match="4 frames, 4 are to be held out"):
        DetectionRun(training(1, holdout=4), streets(), tmp_path / "other")


def test_a_run_starts_from_a_checkpoint_of_the_same_network(tmp_path):
    DetectionRun(training(1), streets(), tmp_path / "first").train()
    start = str(tmp_path / "first" / "final")
    run = DetectionRun(training(1, start_from=start), streets(), tmp_path / "second")
    expected = Detector.from_pretrained(tmp_path / "first" / "final").state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in run.state.net.state_dict().items())
    with pytest.raises(ConfigError, match="whose fusion is geminifusion and not sum"):
        DetectionRun(training(1, start_from=start, network=network(fusion="sum")), streets(), tmp_path / "third")


def test_the_image_encoder_starts_from_a_classifier(tmp_path):
    torch.manual_seed(7)
    backbone = Detector(network()).image.backbone.state_dict()
    path = tmp_path / "mit_b0.pth"
    write_encoder_file(path, "mit_b0", classifier_layout("mit_b0", backbone), {"description": "of a test"})
    started = build_state(training(1, imagenet=str(path)), torch.device("cpu")).net.image.backbone.state_dict()
    assert all(tensor.equal(started[name]) for name, tensor in backbone.items())
    with pytest.raises(ConfigError, match="no such file"):
        build_state(training(1, imagenet=str(tmp_path / "none.pth")), torch.device("cpu"))
    with pytest.raises(ValueError, match="no mit image encoder"):
        training(1, imagenet=str(path), network=network(fusion="none"))


def test_the_image_encoder_starts_from_a_directory_of_transformers(tmp_path):
    torch.manual_seed(3)
    SegformerForImageClassification(SegformerConfig()).save_pretrained(tmp_path)  # MiT-B0
    backbone = build_state(training(1, imagenet=str(tmp_path)), torch.device("cpu")).net.image.backbone
    expected = load_file(tmp_path / "model.safetensors")["segformer.encoder.patch_embeddings.1.proj.weight"]
    assert torch.equal(backbone.stages[1].patch_embed.conv.weight, expected)


def test_a_run_has_one_start_and_its_checkpoint_says_which(tmp_path):
    path = tmp_path / "mit_b0.pth"
    layout = classifier_layout("mit_b0", Detector(network()).image.backbone.state_dict())
    write_encoder_file(path, "mit_b0", layout, {"description": "distilled from a test"})
    DetectionRun(training(1, imagenet=str(path)), streets(), tmp_path / "run").train()
    assert read_detector(tmp_path / "run" / "final").training["start"] == "distilled from a test"
    both = training(1, imagenet=str(path), start_from=str(tmp_path / "run" / "final"))
    with pytest.raises(ConfigError, match="starts from one of them"):
        build_state(both, torch.device("cpu"))


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        ("kitti-mvxnet", "seed=1", "needs a checkpoint of this network"),
        ("streets-pillars-b0", "start_from=nowhere", r"start_from is nowhere, where there is no config\.json"),
        ("streets-pillars-b0", "imagenet=nowhere.pth", "no such file"),
    ],
)
def test_missing_starts_are_named_before_data_is_opened(recipe, setting, message, tmp_path):
    (tmp_path / "data").mkdir()  # in no layout
    arguments = ["--recipe", recipe, "--set", setting, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "o")]
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(train, arguments, catch_exceptions=False)


def test_a_run_computes_its_fusions_by_the_code_that_is_chosen_for_the_card(tmp_path, monkeypatch):
    widths = set()

    def chosen(q, *others):
        widths.add(q.shape[-1])
        return pixelwise_fusion_reference(q, *others)

    monkeypatch.setattr(choice, "_kept_choice", lambda *_, **__: "compiled")
    monkeypatch.setattr(choice, "_candidates", lambda: {"compiled": chosen})
    on_card = functools.partial(choice.use_fastest_fusion, device=torch.device("cuda"))
    monkeypatch.setattr(
        "geminifusion_model.detection.run.use_fastest_fusion",
        lambda net, _, dtype, **how: on_card(net, dtype=dtype, **how),
    )
    DetectionRun(training(1, network=network(fused_channels=16)), streets(), tmp_path).train()
    assert widths == {8, 16}  # behind the first point layer and behind the last


def test_the_published_recipe_has_the_published_schedule():
    config = RECIPES["kitti-mvxnet"]()
    assert (config.steps, config.batch_size, config.image_size) == (37120, 8, (384, 1280))
    rates = [3e-3 * rate_factor(config, step) for step in (0, 500, 928, 928 * 2 - 1, 928 * 20, 928 * 39)]
    np.testing.assert_allclose(rates[0], 3e-4)
    np.testing.assert_allclose(rates[1], 1.65e-3)
    np.testing.assert_allclose(rates[4], (3e-3 + 1e-5) / 2)
    assert rates[5] == pytest.approx(1e-5 + (3e-3 - 1e-5) * (1 + np.cos(np.pi * 39 / 40)) / 2)
    assert rate_factor(config, 928 * 20) == rate_factor(config, 928 * 21 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti") / "streets"
    write_streets(root, StreetsFolder(train=2, val=2, seed=5, size=SIZE), workers=1)
    return root


def test_the_command_line_trains_resumes_and_scores(folder, tmp_path):
    small = training(2)
    (tmp_path / "small.yaml").write_text(small.to_yaml())
    run, invoke = tmp_path / "run", CliRunner().invoke
    out = invoke(train, ["--config", str(tmp_path / "small.yaml"), "--data", str(folder), "--out", str(run)])
    assert out.exit_code == 0, out.output
    out = invoke(train, ["--resume", "--data", str(folder), "--out", str(run)])
    assert out.exit_code == 0, out.output
    final, results = str(run / "final"), tmp_path / "results"
    out = invoke(evaluate, [final, "--data", str(folder), "--results", str(results), "--no-bootstrap", "--record"])
    assert out.exit_code == 0, out.output
    assert "R40 cannot exceed" in out.output
    recorded = read_detector(run / "final").training["test"]
    assert recorded["data"].endswith("val, 2 frames")
    assert all(0 <= value <= 100 for value in recorded["average_precision"].values())
    assert sorted(path.name for path in results.iterdir()) == ["000002.txt", "000003.txt"]
    out = invoke(evaluate, [final, "--data", str(folder), "--found", str(results), "--json", "--no-bootstrap"])
    assert out.exit_code == 0, out.output
    assert json.loads(out.output)["frames"] == 2


def test_the_command_line_prints_the_published_configuration():
    out = CliRunner().invoke(train, ["--recipe", "kitti-mvxnet", "--print-config"])
    assert out.exit_code == 0, out.output
    assert "middle: sparse" in out.output
    assert "# " in out.output


class Near:
    """One frame, with only the objects that lie in the small detector's range."""

    data, data_license = "a drawn street", "Apache-2.0"

    def __init__(self):
        frame = Streets(20, 11, (188, 621), azimuth_step_deg=0.4)[19]
        x, _, z = frame.objects.boxes.location.T
        near = np.nonzero((z < 19) & (np.abs(x) < 9))[0]
        columns = {
            field.name: getattr(frame.objects, field.name)[near]
            for field in dataclasses.fields(frame.objects)
            if field.name not in ("names", "boxes")
        }
        objects = KittiObjects(
            names=tuple(frame.objects.names[index] for index in near),
            boxes=CameraBoxes(*(each[near] for each in frame.objects.boxes)),
            **columns,
        )
        self.frame = dataclasses.replace(frame, objects=objects)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.frame


@pytest.mark.slow
def test_one_frame_is_learned_by_heart(tmp_path):
    data, classes = Near(), ("pedestrian", "cyclist", "car")
    unchanged = DetectionAugmentation(
        rotation=0.0, scale=(1.0, 1.0), translation=0.0, mirror=0.0, image_scale=(1.0, 1.0)
    )
    config = training(
        700, batch_size=1, augmentation=unchanged, learning_rate=5e-3, ema_decay=0.0, checkpoint_every=700
    )
    DetectionRun(config, data, tmp_path).train()
    scores = kitti_scores(detect_all(Detector.from_pretrained(tmp_path / "final"), data, SIZE), classes)
    assert [scores.counts()[name, "hard"] for name in classes] == [1, 1, 3]
    found = {name: scores.cells[CellName(name, "hard", "3d")].all_point() for name in classes}
    assert found == {name: pytest.approx(100.0) for name in classes}

import json

import numpy as np
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.evaluate import evaluate
from geminifusion_model.training.recipes import RECIPES, ConfigError, TrainingConfig
from geminifusion_model.training.run import TrainingError, TrainingRun
from geminifusion_model.weights.checkpoint import read_info


class Blocks:
    """Frames whose class is told by depth alone: near is class 4, far is class 11; the RGB is noise."""

    task = nyuv2_task(13)

    def __init__(self, count=6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        near = np.zeros((48, 64), bool)
        near[:, : random.integers(16, 48)] = True
        depth = np.where(near, 1.0, 6.0).astype(np.float32)
        rgb = random.integers(0, 256, (48, 64, 3), np.uint8)
        return Sample(str(index), rgb, {"depth": depth}, np.where(near, 4, 11).astype(np.uint8))


def config(**changes):
    fields = {
        "network": GeminiFusionConfig(num_classes=13, decoder_channels=32),
        "augmentation": Augmentation(crop=(48, 64), scale=(1.0, 1.0)),
        "steps": 6,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "ema_decay": 0.5,
        "checkpoint_every": 2,
        "evaluate_every": 3,
        "holdout": 2,
    }
    return TrainingConfig(**{**fields, **changes})


def weights(run):
    return {**run.net.state_dict(), **{f"average.{k}": v for k, v in run.state.average.values.items()}}


def test_resumed_run_ends_with_bit_equal_weights(tmp_path):
    """Dropout and stochastic depth are on, so this also shows that the random state is restored."""
    whole = TrainingRun(config(), Blocks(), tmp_path / "whole")
    whole.train()
    first = TrainingRun(config(), Blocks(), tmp_path / "parts")
    taken = 0

    def interrupted(batch):
        nonlocal taken
        if taken == 3:
            raise KeyboardInterrupt
        taken += 1
        return TrainingRun._step(first, batch)

    first._step = interrupted
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert first.state.step == 3
    second = TrainingRun(config(), Blocks(), tmp_path / "parts", resume=True)
    second.train()
    expected, found = weights(whole), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_training_learns_what_depth_tells(tmp_path):
    run = TrainingRun(config(steps=40, ema_decay=0.0, warmup_steps=5, evaluate_every=40), Blocks(), tmp_path)
    scores = run.train()
    assert scores.pixel_accuracy > 90
    trained = GeminiFusion.from_pretrained(tmp_path / "final")
    assert evaluate(trained, Blocks(2)).pixel_accuracy > 90


def test_run_directory_holds_config_metrics_and_checkpoints(tmp_path):
    TrainingRun(config(), Blocks(), tmp_path).train()
    assert TrainingConfig.from_yaml(tmp_path / "config.yaml") == config()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    info = read_info(tmp_path / "final")
    assert info.task == Blocks.task
    assert info.training["steps"] == 6
    assert info.training["start"] == "random weights, no ImageNet"
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path):
    run = TrainingRun(config(), Blocks(), tmp_path)
    inner = run._step

    def poisoned(batch):
        if run.state.step == 4:
            with torch.no_grad():
                run.net.decoder.classify.bias.fill_(torch.nan)
        return inner(batch)

    run._step = poisoned
    with pytest.raises(TrainingError, match="loss is nan at step 4"):
        run.train()
    resumed = TrainingRun(config(), Blocks(), tmp_path, resume=True)
    assert resumed.state.step == 4
    assert all(torch.isfinite(p).all() for p in resumed.net.parameters())


def test_state_on_disk_survives_a_failed_save(tmp_path, monkeypatch):
    run = TrainingRun(config(), Blocks(), tmp_path)
    run.state.save(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()

    def full_disk(content, stream):
        stream.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        run.state.save(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_starting_over_a_run_or_resuming_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="to resume from"):
        TrainingRun(config(), Blocks(), tmp_path, resume=True)
    TrainingRun(config(), Blocks(), tmp_path).train()
    with pytest.raises(TrainingError, match="already holds a run"):
        TrainingRun(config(), Blocks(), tmp_path)
    with pytest.raises(TrainingError, match="configuration differs"):
        TrainingRun(config(learning_rate=2e-3), Blocks(), tmp_path, resume=True)


def test_second_stage_starts_from_the_weights_of_the_first(tmp_path):
    first = TrainingRun(config(steps=2), Blocks(), tmp_path / "first")
    first.train()
    second = TrainingRun(config(start_from=str(tmp_path / "first" / "final")), Blocks(), tmp_path / "second")
    expected = first.state.averaged()
    assert all(torch.equal(second.net.state_dict()[name], expected[name]) for name in expected)
    wider = GeminiFusionConfig(num_classes=13, decoder_channels=64)
    with pytest.raises(TrainingError, match="does not fit the network"):
        TrainingRun(config(network=wider, start_from=str(tmp_path / "first" / "final")), Blocks(), tmp_path / "third")


def test_data_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="13 classes, the network 5"):
        TrainingRun(config(network=GeminiFusionConfig(num_classes=5)), Blocks(), tmp_path)
    with pytest.raises(TrainingError, match="6 frames, 6 are to be held out"):
        TrainingRun(config(holdout=6), Blocks(), tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_validate_and_survive_yaml(name, tmp_path):
    recipe = RECIPES[name]()
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert TrainingConfig.from_yaml(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"wings": 2}, "wings"),
        ({"network.encoder": "mit_b9"}, "encoder is 'mit_b9'"),
        ({"nothing.here": 1}, "no setting 'nothing.here'"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    values = config().model_dump(mode="json")
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.checked(values, overrides)


def test_frozen_decoder_norm_keeps_its_running_statistics(tmp_path):
    run = TrainingRun(config(freeze_decoder_norm=True, steps=2), Blocks(), tmp_path)
    run.train()
    assert run.net.decoder.norm.running_mean.abs().max() == 0
    assert (run.net.decoder.norm.running_var == 1).all()


def test_bfloat16_training_runs_and_stays_finite(tmp_path):
    run = TrainingRun(config(bfloat16=True, steps=2), Blocks(), tmp_path)
    run.train()
    assert all(torch.isfinite(p).all() for p in run.net.parameters())

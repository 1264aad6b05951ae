import json
import re
import resource
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import read_info
from geminifusion_model.commands import train
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.evaluate import evaluate
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError, TrainingError
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.run import TrainingRun
from geminifusion_model.training.loop.signals import deferred_interruption
from geminifusion_model.training.recipes.named import named_recipe
from geminifusion_model.training.records.previews import Previews


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
        "log_every": 1,
        "holdout": 2,
        "allow_unlearnable_classes": True,
    }
    return TrainingConfig(**{**fields, **changes})


def weights(run):
    return {**run.net.state_dict(), **{f"average.{k}": v for k, v in run.state.average.values.items()}}


def metrics(directory):
    """All lines, without what depends on the clock."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time", "seconds")} for line in lines]


def interrupted_after(steps, run):
    """Ctrl-C as the terminal sends it, while the given step is under way."""
    take, taken = run._step.take, 0

    def counted(batch, wants_stop):
        nonlocal taken
        taken += 1
        if taken == steps:
            signal.raise_signal(signal.SIGINT)
        return take(batch, wants_stop)

    run._step.take = counted
    with pytest.raises(KeyboardInterrupt):
        run.train()


@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
def test_resumed_run_ends_with_bit_equal_weights(precision, tmp_path):
    """Dropout and stochastic depth are on, so this also shows that random numbers go on where they were."""
    asked = config(precision=precision)
    whole = TrainingRun(asked, Blocks(), tmp_path / "whole")
    whole.train()
    first = TrainingRun(asked, Blocks(), tmp_path / "parts")
    interrupted_after(3, first)
    assert first.state.step == first.saved_step == 3
    torch.manual_seed(1234)
    second = TrainingRun(asked, Blocks(), tmp_path / "parts", resume=True)
    second.train()
    expected, found = weights(whole), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert second.state.scaler.state_dict() == whole.state.scaler.state_dict()
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_interrupted_evaluation_is_repeated_on_resume(tmp_path, monkeypatch):
    whole = TrainingRun(config(), Blocks(), tmp_path / "whole")
    whole.train()
    first = TrainingRun(config(), Blocks(), tmp_path / "parts")
    add = Previews.add

    def press_ctrl_c(previews, frame):
        signal.raise_signal(signal.SIGINT)
        add(previews, frame)

    monkeypatch.setattr(Previews, "add", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    monkeypatch.undo()
    assert first.saved_step == 3
    assert [line["step"] for line in metrics(tmp_path / "parts")] == [1, 2, 3]
    TrainingRun(config(), Blocks(), tmp_path / "parts", resume=True).train()
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_second_ctrl_c_ends_the_run_in_the_middle_of_a_step(monkeypatch):
    monkeypatch.setattr("geminifusion_model.training.loop.signals._ECHO_S", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with deferred_interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_echo_of_a_ctrl_c_is_not_a_second_one():
    with deferred_interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert interruption.requested


@pytest.mark.slow
def test_training_learns_what_depth_tells(tmp_path):
    run = TrainingRun(config(steps=40, ema_decay=0.0, warmup_steps=5, evaluate_every=40), Blocks(), tmp_path)
    scores = run.train()
    assert scores.pixel_accuracy > 90
    trained = GeminiFusion.from_pretrained(tmp_path / "final")
    assert evaluate(trained, Blocks(2)).pixel_accuracy > 90


def test_run_directory_holds_config_metrics_and_checkpoints(tmp_path):
    TrainingRun(config(), Blocks(), tmp_path).train()
    assert TrainingConfig.from_yaml(tmp_path / "config.yaml") == config()
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "miou" in line] == [3, 6]
    assert lines[0]["loss"] == pytest.approx(lines[0]["loss_rgb"] + lines[0]["loss_depth"])
    assert {"gradient_norm", "rate"} <= lines[0].keys()
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 42
    info = read_info(tmp_path / "final")
    assert info.task == Blocks.task
    assert info.training["steps"] == 6
    assert info.training["start"] == "random weights, no ImageNet"
    assert info.training["summary"].startswith(
        "mit_b0 with geminifusion fusion from random weights, no ImageNet; 6 steps"
    )
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path):
    run = TrainingRun(config(), Blocks(), tmp_path)
    take = run._step.take

    def poisoned(batch, wants_stop):
        if run.state.step == 4:
            with torch.no_grad():
                run.net.decoder.classify.bias.fill_(torch.nan)
        return take(batch, wants_stop)

    run._step.take = poisoned
    with pytest.raises(
        TrainingError,
        match=r"loss is nan at step 4; .* learning_rate.* state of step 4 is in .*state\.pt.* only repeat this",
    ):
        run.train()
    resumed = TrainingRun(config(), Blocks(), tmp_path, resume=True)
    assert resumed.state.step == 4
    assert all(torch.isfinite(p).all() for p in resumed.net.parameters())


@pytest.fixture
def small_files():
    """A disk on which no file grows beyond a limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda num_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_stops_the_run_and_leaves_its_last_state(tmp_path, small_files):
    run = TrainingRun(config(holdout=0), Blocks(), tmp_path)
    interrupted_after(1, run)
    before = (tmp_path / "state.pt").read_bytes()
    resumed = TrainingRun(config(holdout=0), Blocks(), tmp_path, resume=True)
    small_files(len(before) // 2)
    with pytest.raises(TrainingError, match=r"written at step 2: File too large.* state of step 1 is .*--resume"):
        resumed.train()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*partial"))


def test_full_disk_shows_before_the_first_step(tmp_path, small_files):
    run = TrainingRun(config(), Blocks(), tmp_path)
    small_files(100_000)
    with pytest.raises(TrainingError, match=r"written at step 0: File too large.* There is no state yet"):
        run.train()


def test_state_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(config().to_yaml())
    (tmp_path / "state.pt").write_bytes(b"PK not a state")
    with pytest.raises(TrainingError, match="cannot be resumed from"):
        TrainingRun(config(), Blocks(), tmp_path, resume=True)


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
    with pytest.raises(ConfigError, match="does not fit the network"):
        TrainingRun(config(network=wider, start_from=str(tmp_path / "first" / "final")), Blocks(), tmp_path / "third")


def test_data_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="13 classes, the network 5"):
        TrainingRun(config(network=GeminiFusionConfig(num_classes=5)), Blocks(), tmp_path)
    with pytest.raises(TrainingError, match="6 frames, 6 are to be held out"):
        TrainingRun(config(holdout=6), Blocks(), tmp_path)
    with pytest.raises(TrainingError, match="batch_size is 2, which 3 processes with 2 accumulated parts"):
        TrainingRun(config(accumulate=2), Blocks(), tmp_path, processes=Processes(count=3))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"wings": 2}, "wings"),
        ({"network.encoder": "mit_b9"}, "encoder is 'mit_b9'"),
        ({"nothing.here": 1}, "no setting 'nothing.here'"),
        ({"accumulate": 4}, "batch_size is 2, which 4 accumulated parts"),
        ({"schedule": "cosine", "decay_steps": 9}, "decay_steps is 9 with schedule cosine"),
        ({"schedule": "poly_after_warmup", "decay_steps": 2}, "fall from step 2"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    values = config().model_dump(mode="json")
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.checked(values, overrides)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "steps"], "has no '='"),
        (["--set", "network.modalities=[rgb"], r"is no YAML value \(line 2: "),
        (["--recipe", "nyuv2-b0-from-scrap"], "did you mean nyuv2-b0-from-scratch"),
        (["--recipe", "nyuv2-b0-robust"], "start_from is not given"),
        (["--set", "accumulate=4"], "batch_size is 6, which 4 accumulated parts"),
    ],
)
def test_command_refuses_wrong_settings_before_it_reads_data(arguments, message, tmp_path):
    outcome = CliRunner().invoke(train, ["--data", str(tmp_path), "--out", str(tmp_path / "run"), *arguments])
    assert isinstance(outcome.exception, ConfigError)
    assert re.search(message, str(outcome.exception))
    assert not (tmp_path / "run").exists()


def test_printed_configuration_explains_every_setting_and_can_be_read_back(tmp_path):
    outcome = CliRunner().invoke(train, ["--print-config", "--recipe", "rooms-b0", "--set", "seed=5"])
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.output.splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r" *[a-z_]+:", line)]
    in_missing = {lines.index("      rgb: 0.1"), lines.index("      depth: 0.25")}  # names of modalities, no settings
    assert all(lines[number - 1].lstrip().startswith("# ") for number in settings if number not in in_missing)
    (tmp_path / "printed.yaml").write_text(outcome.output)
    expected = TrainingConfig.checked(named_recipe("rooms-b0").model_dump(mode="json"), {"seed": 5})
    assert TrainingConfig.from_yaml(tmp_path / "printed.yaml") == expected


@pytest.mark.parametrize("option", ["--data", "--out"])
def test_training_without_data_or_directory_is_wrong_usage(option, tmp_path):
    given = {"--data": str(tmp_path), "--out": str(tmp_path / "run")}
    del given[option]
    outcome = CliRunner().invoke(train, [part for pair in given.items() for part in pair])
    assert outcome.exit_code == 2
    assert f"Missing option '{option}'" in outcome.output


def test_frozen_decoder_norm_keeps_its_running_statistics(tmp_path):
    run = TrainingRun(config(freeze_decoder_norm=True, steps=2), Blocks(), tmp_path)
    run.train()
    assert run.net.decoder.norm.running_mean.abs().max() == 0
    assert (run.net.decoder.norm.running_var == 1).all()

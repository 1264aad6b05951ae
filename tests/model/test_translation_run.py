"""Training runs of a tiny translator: exact resume, what is written, what is refused."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
import translation_scenario as scenarios
from click.testing import CliRunner

from geminifusion_model.commands import train
from geminifusion_model.data.synthetic_rooms.folder import RoomsFolder, write_rooms
from geminifusion_model.encoder_sizes import GENERATOR_SIZES
from geminifusion_model.tasks.registry import task_of_checkpoint, task_of_config
from geminifusion_model.training.errors import ConfigError, DataChangedError, TrainingError
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.translation.checkpoint import read_translator
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.held_out import compare
from geminifusion_model.translation.run import TranslationRun
from geminifusion_runtime.task_names import TRANSLATION


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(GENERATOR_SIZES, "gen_b0", scenarios.TINY)


def run(directory, chosen=None, *, count=10, **arguments):
    chosen = chosen or scenarios.config()
    return TranslationRun(chosen, scenarios.dataset(chosen, count), directory, **arguments)


def stop_at(step, monkeypatch):
    """Press Ctrl-C in this step of every run."""
    take = TranslationRun._take

    def stopping(self, batch, wants_stop):
        if self.state.step == step - 1:
            signal.raise_signal(signal.SIGINT)
        return take(self, batch, wants_stop)

    monkeypatch.setattr(TranslationRun, "_take", stopping)


def lines(directory):
    """The log without times."""
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time", "seconds")} for line in found]


@pytest.mark.parametrize("settings", [{}, {"adversarial_weight": 0.0, "ema_decay": 0.0, "fusion": "token_fusion"}])
def test_resumed_run_ends_with_bit_equal_networks(settings, tmp_path, monkeypatch):
    chosen = scenarios.config(**settings)
    whole = run(tmp_path / "whole", chosen)
    whole.train()
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        first = run(tmp_path / "parts", chosen)
        with pytest.raises(KeyboardInterrupt):
            first.train()
        assert first.saved_step == 3
    second = run(tmp_path / "parts", chosen, resume=True)
    assert second.state.step == 3
    second.train()
    wanted, found = whole.state.content(), second.state.content()
    assert wanted.keys() == found.keys()
    assert ("discriminator_optimizer" in wanted) == ("adversarial_weight" not in settings)
    for part in ("net", "average", "discriminator"):
        for name, values in wanted.get(part, {}).items():
            assert torch.equal(values, found[part][name]), (part, name)
    for part in ("optimizer", "discriminator_optimizer"):
        for number, moments in wanted.get(part, {"state": {}})["state"].items():
            for name, values in moments.items():
                assert torch.equal(values, found[part]["state"][number][name])
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    for name in ("final", "best"):
        assert (tmp_path / "whole" / name / "model.safetensors").read_bytes() == (
            tmp_path / "parts" / name / "model.safetensors"
        ).read_bytes()


def test_what_a_run_writes_can_be_read_back(tmp_path):
    chosen = scenarios.config()
    trained = run(tmp_path, chosen)
    errors = trained.train()
    assert errors.views == 3
    assert errors.error == errors.outputs["ensemble"] == trained.state.error
    assert task_of_config(tmp_path / "config.yaml").name == TRANSLATION
    assert task_of_checkpoint(tmp_path / "final").name == TRANSLATION
    info = read_translator(tmp_path / "final")
    assert info.network == chosen.network
    assert (info.task.names, info.task.target.name, info.task.size) == (("rgb", "edge_occlusion"), "depth", (32, 32))
    assert info.training["holdout"] == {"frames": 3, "mae": errors.error}
    assert info.training["summary"] == (
        "rgb and edge_occlusion to depth; gen_b0 with geminifusion fusion from random weights, no ImageNet; 6 steps of "
        "2 crops of 32x32, with a discriminator; 7 training views of drawn, 3 held out; exponential average of the "
        "weights"
    )
    net = Generator.from_pretrained(tmp_path / "final")
    assert not net.training
    for name, values in trained.state.average.values.items():
        assert torch.equal(net.state_dict()[name], values)
    logged = lines(tmp_path)
    assert [line["step"] for line in logged if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in logged if "mae" in line] == [4, 6]
    record = json.loads((tmp_path / "run.json").read_text())["data"]
    assert record["name"] == "drawn"
    assert set(record["sha256"]) == {"task", "names", "input 0", "input 1", "target", "counted"}
    assert list((tmp_path / "tensorboard").iterdir())


def test_held_out_error_is_the_mean_over_what_counts(tmp_path):
    trained = run(tmp_path, scenarios.config(steps=1))
    errors = trained.train()
    net = Generator.from_pretrained(tmp_path / "final")
    differences, pixels = 0.0, 0
    for index in range(3):
        sample = trained.holdout[index]
        assert not sample.counted.all()
        with torch.no_grad():
            image = net(*(torch.from_numpy(each)[None] for each in sample.inputs)).ensemble[0].numpy()
        differences += np.abs(image - sample.target).mean(0)[sample.counted].sum()
        pixels += sample.counted.sum()
    assert errors.error == pytest.approx(differences / pixels, rel=1e-4)


def test_a_run_starts_from_anothers_generator(tmp_path):
    first = run(tmp_path / "first")
    first.train()
    chosen = scenarios.config(start_from=str(tmp_path / "first" / "final"), seed=1)
    second = run(tmp_path / "second", chosen)
    for name, values in second.state.net.state_dict().items():
        assert torch.equal(values, first.state.average.values[name])
    other = scenarios.config(start_from=str(tmp_path / "first" / "final"), where="all")
    with pytest.raises(ConfigError, match="whose where is encoder and not all; set network"):
        run(tmp_path / "third", other)
    second.train()
    shutil.rmtree(tmp_path / "first")
    assert run(tmp_path / "second", chosen, resume=True).state.step == 6
    with pytest.raises(ConfigError, match=r"first/final, where there is no config\.json; give a checkpoint"):
        run(tmp_path / "third", chosen)


def test_runs_that_do_not_fit_are_refused(tmp_path):
    run(tmp_path / "run", scenarios.config(steps=1)).train()
    refused = [
        (TrainingError, "already holds a run", {}),
        (TrainingError, "seed was 42 and is 1", {"chosen": scenarios.config(steps=1, seed=1), "resume": True}),
        (DataChangedError, "9 frames instead of 10", {"chosen": scenarios.config(steps=1), "count": 9, "resume": True}),
    ]
    for error, message, arguments in refused:
        with pytest.raises(error, match=message):
            run(tmp_path / "run", **arguments)
    with pytest.raises(TrainingError, match="3 views, 3 are to be held out"):
        run(tmp_path / "other", count=3)
    with pytest.raises(TrainingError, match="batch_size is 2, which 3 processes cannot share"):
        run(tmp_path / "other", processes=Processes(count=3))
    chosen = scenarios.config()
    with pytest.raises(TrainingError, match="gives rgb, edge_occlusion, depth at 32x32, the configuration is for edge"):
        TranslationRun(
            scenarios.config(inputs=("edge_occlusion", "rgb")), scenarios.dataset(chosen), tmp_path / "other"
        )


def test_a_configuration_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="both 0; nothing would be learned"):
        scenarios.config(adversarial_weight=0, reconstruction_weight=0)
    with pytest.raises(ValueError, match="size is 48x32; expected multiples of 32"):
        scenarios.config(size=(48, 32))


def test_interrupted_evaluation_is_repeated_on_resume(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    whole.train()

    def press_ctrl_c(net, sample, errors):
        signal.raise_signal(signal.SIGINT)
        return compare(net, sample, errors)

    with monkeypatch.context() as patch:
        patch.setattr("geminifusion_model.translation.run.compare", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts").train()
    assert [line["step"] for line in lines(tmp_path / "parts")] == [1, 2, 3, 4]
    run(tmp_path / "parts", resume=True).train()
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, RoomsFolder(train=5, test=1, size=(48, 64)))
    return root


SMALL = ["size=[32,32]", "steps=2", "holdout=2", "network.num_fusion_heads=4", "log_every=1"]


def invoke(*arguments):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return CliRunner().invoke(train, [*map(str, arguments), *settings, "--device", "cpu", "--threads", "1"])


@pytest.mark.parametrize("recipe", ["rooms-depth-gen-b0", "rooms-rgb-gen-b0"])
def test_train_command_trains_a_recipe_and_resumes_it(recipe, rooms, tmp_path):
    done = invoke("--recipe", recipe, "--data", rooms, "--out", tmp_path)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "2 held-out training views: mean absolute difference" in done.output
    inputs = {"rooms-depth-gen-b0": ("rgb", "edge_occlusion"), "rooms-rgb-gen-b0": ("depth", "normal")}[recipe]
    assert read_translator(tmp_path / "final").task.names == inputs
    resumed = CliRunner().invoke(train, ["--data", str(rooms), "--out", str(tmp_path), "--resume", "--device", "cpu"])
    assert resumed.exit_code == 0, (resumed.output, resumed.exception)


def test_a_start_that_leads_nowhere_is_named_before_data_is_opened(tmp_path):
    done = invoke("--recipe", "rooms-depth-gen-b0", "--data", tmp_path, "--out", tmp_path, "--set", "start_from=none")
    assert isinstance(done.exception, ConfigError)
    assert "start_from is none, where there is no config.json" in str(done.exception)


def test_options_of_another_task_are_refused_and_settings_explained(rooms, tmp_path):
    refused = invoke("--recipe", "rooms-depth-gen-b0", "--data", rooms, "--out", tmp_path, "--further-data", rooms)
    assert refused.exit_code == 2
    assert "No such option" in refused.output
    printed = CliRunner().invoke(train, ["--recipe", "taskonomy-gen-b2", "--print-config"])
    assert printed.exit_code == 0, printed.exception
    assert "kind: image-translation" in printed.output
    assert "steps: 300000" in printed.output

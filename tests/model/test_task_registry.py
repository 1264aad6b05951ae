"""Tasks are found through one table: by recipe, by configuration, by checkpoint."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from torch import nn

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointError, read_info
from geminifusion_model.commands import evaluate, train
from geminifusion_model.tasks.registry import SEGMENTATION, TASKS, task_of_checkpoint, task_of_config, task_of_recipe
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.run_config import RunConfig


@pytest.mark.parametrize("name", TASKS)
def test_every_part_that_a_task_names_is_there(name):
    kind = TASKS[name]
    assert kind.name == name
    assert isinstance(kind.train.load(), click.Command)
    assert isinstance(kind.evaluate.load(), click.Command)
    assert callable(kind.network.load())
    assert kind.export is None or callable(kind.export.load())


@pytest.mark.parametrize("name", TASKS)
def test_every_recipe_leads_to_its_task(name):
    recipes = TASKS[name].recipes.load()
    for recipe, make in recipes.items():
        assert task_of_recipe(recipe) is TASKS[name]
        assert isinstance(make(), RunConfig)


def test_the_table_imports_nothing_heavy():
    code = "import sys, geminifusion_model.tasks.registry; sys.exit(bool({'torch', 'cv2', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TASKS)
def test_help_of_a_tasks_commands_imports_nothing_heavy(name):
    code = f"""
import sys, click
from geminifusion_model.tasks.registry import TASKS
for part in (TASKS["{name}"].train, TASKS["{name}"].evaluate):
    command = part.load()
    command.get_help(click.Context(command))
sys.exit(bool({{'torch', 'cv2', 'numpy'}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_recipe_is_met_with_the_nearest_of_all_tasks():
    with pytest.raises(ConfigError, match="did you mean nyuv2-b0-from-scratch"):
        task_of_recipe("nyuv2-b0-from-scratchh")


def test_a_configuration_names_its_task_and_segmentation_needs_no_name(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("steps: 3\n")
    assert task_of_config(path) is TASKS[SEGMENTATION]
    path.write_text("kind: dance\n")
    with pytest.raises(ConfigError, match="'dance'; this version of geminifusion knows semantic-segmentation, image-"):
        task_of_config(path)


@pytest.fixture
def checkpoint(tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=3, decoder_channels=8)).save_pretrained(tmp_path)
    return tmp_path


def describe_as(checkpoint, **changes):
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_checkpoint_names_its_task_and_is_read_by_it(checkpoint):
    kind = task_of_checkpoint(checkpoint)
    assert kind is TASKS[SEGMENTATION]
    net = kind.network.load()(checkpoint)
    assert isinstance(net, nn.Module)
    assert not net.training


def test_a_checkpoint_of_an_unknown_task_is_refused(checkpoint):
    describe_as(checkpoint, kind="dance")
    with pytest.raises(CheckpointError, match="'dance'; this version of geminifusion knows"):
        task_of_checkpoint(checkpoint)


def test_segmentation_reads_no_checkpoint_of_another_task(checkpoint):
    describe_as(checkpoint, kind="image-translation")
    with pytest.raises(CheckpointError, match="is a checkpoint for image-translation; give one for semantic-segm"):
        read_info(checkpoint)


def beginning(command):
    """The first words of a command's help, which no other task's has."""
    return " ".join(command.help.split()[:4])


@pytest.mark.parametrize("name", TASKS)
def test_the_checkpoint_among_the_arguments_decides_who_evaluates(name, checkpoint, tmp_path):
    describe_as(checkpoint, kind=name)
    asked = CliRunner().invoke(evaluate, ["--data", str(tmp_path.parent), str(checkpoint), "--help"]).output
    shown = {other for other in TASKS if beginning(TASKS[other].evaluate.load()) in asked}
    assert shown == {name}


@pytest.mark.parametrize("name", TASKS)
def test_the_recipe_decides_who_trains(name):
    recipe = next(iter(TASKS[name].recipes.load()))
    asked = CliRunner().invoke(train, ["--recipe", recipe, "--help"]).output
    assert {other for other in TASKS if beginning(TASKS[other].train.load()) in asked} == {name}


def test_a_run_to_resume_decides_who_trains(tmp_path):
    (tmp_path / "config.yaml").write_text("kind: image-translation\n")
    for arguments in (["--resume", "--out", str(tmp_path)], ["--config", str(tmp_path / "config.yaml")]):
        assert "Train a translator" in CliRunner().invoke(train, [*arguments, "--help"]).output
    assert "--further-data" in CliRunner().invoke(train, ["--out", str(tmp_path), "--help"]).output


def test_where_nothing_decides_it_is_segmentation():
    for command, own in ((train, TASKS[SEGMENTATION].train.load()), (evaluate, TASKS[SEGMENTATION].evaluate.load())):
        assert beginning(own) in CliRunner().invoke(command, ["--help"]).output

"""Settings: refused before anything is opened, one name everywhere."""

import dataclasses
import math
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from geminifusion_service.commands import serve
from geminifusion_service.settings import Settings, SettingsError, environment_variable, option

README = Path(__file__).parents[2] / "service" / "README.md"


def test_defaults_are_valid():
    assert Settings(artifacts=(Path("a"),)).max_pixels == 32_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_batch", -1), ("http_port", 65536), ("queue_size", 0), ("max_wait_ms", -1), ("drain_s", math.nan)],
)
def test_a_value_out_of_range_names_the_option_to_change(name, value):
    with pytest.raises(SettingsError, match=option(name)):
        Settings(artifacts=(Path("a"),), **{name: value})


def test_one_port_for_both_transports_is_refused():
    with pytest.raises(SettingsError, match="different ports"):
        Settings(artifacts=(Path("a"),), http_port=9000, grpc_port=9000)


def test_no_artifact_is_refused():
    with pytest.raises(SettingsError, match="--artifact"):
        Settings(artifacts=())


def test_help_names_every_option_and_its_environment_variable():
    text = CliRunner().invoke(serve, ["--help"], terminal_width=200).output
    for field in dataclasses.fields(Settings):
        assert option(field.name) in text
        assert environment_variable(field.name) in text


def test_a_bad_environment_variable_is_a_usage_error_in_one_line():
    result = CliRunner().invoke(serve, ["--artifact", "x"], env={"GEMINIFUSION_MAX_BATCH": "-1"})
    assert result.exit_code == 2
    assert "max_batch is -1" in result.output
    assert "Traceback" not in result.output


def test_several_artifacts_in_the_environment_are_separated_as_in_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(environment_variable("artifacts"), os.pathsep.join(["one place", "two"]))
        assert serve.make_context("serve", []).params["artifacts"] == (Path("one place"), Path("two"))


def test_the_operators_reference_lists_every_setting_with_its_default():
    text = README.read_text(encoding="utf-8")
    for field in dataclasses.fields(Settings):
        rows = [line for line in text.splitlines() if f"`{environment_variable(field.name)}`" in line]
        assert len(rows) == 1, field.name
        assert f"`{option(field.name)}`" in rows[0]
        if field.name != "artifacts":
            assert f"| {field.default} |" in rows[0]


def context_of(arguments, **environment):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return serve.make_context("serve", [str(argument) for argument in arguments]).params


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path):
    path = tmp_path / "service.toml"
    path.write_text('artifacts = ["a", "b"]\nmax_batch = 2\nqueue_size = 3\ndrain_s = 4\naccess_log = false\n')
    found = context_of(["--config", path, "--max-batch", 5], GEMINIFUSION_MAX_BATCH="6", GEMINIFUSION_QUEUE_SIZE="7")
    assert (found["max_batch"], found["queue_size"], found["drain_s"], found["access_log"]) == (5, 7, 4.0, False)
    assert found["artifacts"] == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_bach = 2", "did you mean max_batch"),
        ("max_batch = 'many'", "not a valid integer"),
        ("max_batch", "cannot be read as TOML"),
        ("[engine]\nmax_batch = 2", "--engine"),
    ],
)
def test_a_file_that_does_not_fit_is_a_usage_error_that_says_why(tmp_path, text, said):
    path = tmp_path / "service.toml"
    path.write_text(text)
    result = CliRunner().invoke(serve, ["--config", str(path), "--artifact", "x"])
    assert result.exit_code == 2
    assert said in result.output


def test_a_variable_that_nobody_knows_is_a_usage_error():
    result = CliRunner().invoke(serve, ["--artifact", "x"], env={"GEMINIFUSION_MAX_BACH": "2"})
    assert result.exit_code == 2
    assert "GEMINIFUSION_MAX_BATCH" in result.output


def test_an_option_that_nobody_knows_is_a_usage_error():
    result = CliRunner().invoke(serve, ["--max-bach", "2"])
    assert result.exit_code == 2
    assert "--max-batch" in result.output

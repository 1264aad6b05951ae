"""Settings: refused before anything is opened, one name everywhere."""

import math
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from geminifusion_service.commands import serve
from geminifusion_service.setting_fields import SettingsError, environment_variable, option
from geminifusion_service.settings import ALL_SETTINGS, GROUPS, BatchingSettings, LimitSettings, Settings, group_heading


def test_defaults_are_valid():
    assert Settings.of(artifacts=(Path("a"),)).limits.max_pixels == 32_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_batch", -1), ("http_port", 65536), ("queue_size", 0), ("max_wait_ms", -1), ("drain_s", math.nan)],
)
def test_a_value_out_of_range_names_the_option_to_change(name, value):
    with pytest.raises(SettingsError, match=option(name)):
        Settings.of(artifacts=(Path("a"),), **{name: value})


@pytest.mark.parametrize(
    ("group", "name", "value"), [(BatchingSettings, "max_batch", -1), (LimitSettings, "queue_size", 0)]
)
def test_a_group_alone_is_checked_too(group, name, value):
    with pytest.raises(SettingsError, match=f"{name} is {value}, expected .*; change {option(name)}"):
        group(**{name: value})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("engine_isolation", "one of thread, process"),
        ("decode_isolation", "one of thread, process"),
        ("sensor_policy", "one of reject, warn, drop-modality"),
        ("log_level", "one of debug, info, warning, error"),
        ("executor", "one of local, ray"),
        ("backend", "one of auto, onnxruntime"),
        ("devices", "expected devices like cpu"),
        ("custom_ops", "is no file"),
    ],
)
def test_a_text_that_means_nothing_is_rejected_with_what_is_expected(name, expected):
    with pytest.raises(SettingsError, match=f"'?nonsense'?.*{expected}.*; change {option(name)}"):
        Settings.of(artifacts=(Path("a"),), **{name: "nonsense"})


def test_every_name_is_in_one_group_and_unknown_ones_are_in_none():
    names = [setting.name for setting in ALL_SETTINGS]
    assert len(set(names)) == len(names) > 50
    with pytest.raises(TypeError, match="max_bach"):
        Settings.of(artifacts=(Path("a"),), max_bach=2)


def test_one_port_for_both_transports_is_refused():
    with pytest.raises(SettingsError, match="different ports"):
        Settings.of(artifacts=(Path("a"),), http_port=9000, grpc_port=9000)


def test_no_artifact_is_refused():
    with pytest.raises(SettingsError, match="--artifact"):
        Settings.of(artifacts=())


def test_help_names_every_option_and_its_environment_variable():
    text = CliRunner().invoke(serve, ["--help"], terminal_width=200).output
    for setting in ALL_SETTINGS:
        assert setting.option in text
        assert setting.environment_variable in text


def test_help_has_a_section_for_each_group_and_shows_choices_and_ranges():
    text = CliRunner().invoke(serve, ["--help"], terminal_width=200).output
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{group_heading(group)}:" for group in GROUPS)]
    assert "[debug|info|warning|error]" in text
    assert "0<=x<=65535" in text


@pytest.mark.parametrize(
    ("option_name", "typed", "completed"),
    [
        ("log_level", "", ["debug", "info", "warning", "error"]),
        ("executor", "r", ["ray"]),
        ("backend", "openvino-", ["openvino-bfloat16", "openvino-int8"]),
    ],
)
def test_shells_complete_values(option_name, typed, completed):
    (parameter,) = (one for one in serve.params if one.name == option_name)
    found = parameter.shell_complete(serve.make_context("serve", [], resilient_parsing=True), typed)
    assert [item.value for item in found] == completed


def test_a_backend_of_a_plugin_is_taken_though_no_shell_completes_it():
    assert context_of(["--backend", "torch:runs/best"])["backend"] == "torch:runs/best"


def test_a_bad_environment_variable_is_a_usage_error_in_one_line():
    result = CliRunner().invoke(serve, ["--artifact", "x"], env={"GEMINIFUSION_MAX_BATCH": "-1"})
    assert result.exit_code == 2
    assert "--max-batch" in result.output
    assert "-1 is not in the range" in result.output
    assert "Traceback" not in result.output


def test_several_artifacts_in_the_environment_are_separated_as_in_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(environment_variable("artifacts"), os.pathsep.join(["one place", "two"]))
        assert serve.make_context("serve", []).params["artifacts"] == (Path("one place"), Path("two"))


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
        ("[executor]\nmax_batch = 2", "--executor"),
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


# What Kubernetes sets in every pod for a Service called geminifusion, geminifusion-http and geminifusion-model, and
# what a link of Docker sets.
OF_THE_PLATFORM = {
    "GEMINIFUSION_SERVICE_HOST": "10.0.0.11",
    "GEMINIFUSION_SERVICE_PORT": "8000",
    "GEMINIFUSION_SERVICE_PORT_HTTP": "8000",
    "GEMINIFUSION_PORT": "tcp://10.0.0.11:8000",
    "GEMINIFUSION_PORT_8000_TCP": "tcp://10.0.0.11:8000",
    "GEMINIFUSION_PORT_8000_TCP_PROTO": "tcp",
    "GEMINIFUSION_PORT_8000_TCP_PORT": "8000",
    "GEMINIFUSION_PORT_8000_TCP_ADDR": "10.0.0.11",
    "GEMINIFUSION_HTTP_PORT": "tcp://10.0.0.12:80",
    "GEMINIFUSION_HTTP_SERVICE_HOST": "10.0.0.12",
    "GEMINIFUSION_GRPC_PORT": "udp://[fd00::1]:53",
    "GEMINIFUSION_MODEL_PORT_53_UDP_ADDR": "fd00::1",
    "GEMINIFUSION_NAME": "/web/geminifusion",
    "GEMINIFUSION_ENV_PATH": "/usr/bin",
}


def test_what_a_platform_sets_for_a_service_of_our_name_is_no_setting():
    found = context_of(["--artifact", "x"], **OF_THE_PLATFORM)
    assert (found["http_port"], found["grpc_port"]) == (8000, 8001)


@pytest.mark.parametrize("variable", OF_THE_PLATFORM)
def test_each_of_them_alone_stops_nothing(variable):
    assert context_of(["--artifact", "x"], **{variable: OF_THE_PLATFORM[variable]})["http_port"] == 8000


@pytest.mark.parametrize("variable", ["GEMINIFUSION_PORT", "GEMINIFUSION_HTTP_PROT", "GEMINIFUSION_SERVICE_HOTS"])
def test_a_misspelt_setting_is_still_refused(variable):
    result = CliRunner().invoke(serve, ["--artifact", "x"], env={variable: "8080"})
    assert result.exit_code == 2
    assert f"'{variable}'" in result.output

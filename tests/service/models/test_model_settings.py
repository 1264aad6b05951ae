"""What an operator may say about models."""

import pytest

from geminifusion_service.setting_fields import SettingsError
from geminifusion_service.settings import Settings, parse_sizes


def test_a_repository_alone_is_enough_and_nothing_at_all_is_not(tmp_path):
    assert Settings.of(artifacts=(), model_repository=str(tmp_path)).models.artifacts == ()
    with pytest.raises(SettingsError, match="--model-repository"):
        Settings.of(artifacts=())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_control", "poll"),
        ("model_eviction", "fifo"),
        ("model_poll_s", -1),
        ("model_versions", 0),
        ("model_memory_mb", -1),
        ("warm_up_sizes", "480"),
        ("warm_up_sizes", "480x0"),
        ("self_test_interval_s", float("nan")),
    ],
)
def test_a_value_nobody_could_mean_names_its_option(tmp_path, name, value):
    with pytest.raises(SettingsError, match="--" + name.replace("_", "-")):
        Settings.of(artifacts=(tmp_path,), **{name: value})


def test_sizes_are_height_by_width():
    assert parse_sizes("480x640, 240x320") == ((480, 640), (240, 320))
    assert parse_sizes("") == ()


def test_replicas_elsewhere_take_no_repository(tmp_path):
    with pytest.raises(SettingsError, match="--artifact instead of --model-repository"):
        Settings.of(artifacts=(), model_repository=str(tmp_path), executor="ray")

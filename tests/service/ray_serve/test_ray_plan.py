"""How a machine is divided among replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geminifusion_service.ray_serve.plan import ReplicaPlan, plan_replicas
from geminifusion_service.setting_fields import SettingsError
from geminifusion_service.settings import Settings


def plan(cores: int = 8, **settings: Any) -> ReplicaPlan:
    return plan_replicas(Settings.of(artifacts=(Path("/"),), executor="ray", **settings), cores)


@pytest.mark.parametrize(("cores", "replicas", "threads"), [(8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1)])
def test_cores_are_divided_among_replicas(cores: int, replicas: int, threads: int) -> None:
    divided = plan(cores, replicas=replicas)
    assert divided.threads == threads
    assert divided.least == divided.most == replicas
    assert not divided.autoscaled


@pytest.mark.parametrize("replicas", range(1, 12))
@pytest.mark.parametrize("cores", [1, 2, 7, 64])
def test_all_replicas_fit_into_the_cores(cores: int, replicas: int) -> None:
    divided = plan(cores, replicas=replicas)
    in_ten_thousandths = round(divided.cpus * 10_000) * replicas  # as Ray counts
    assert in_ten_thousandths <= divided.total_cpus * 10_000
    assert divided.total_cpus <= cores


def test_an_autoscaled_service_divides_by_the_most_replicas() -> None:
    divided = plan(8, replicas=1, max_replicas=4)
    assert (divided.least, divided.most, divided.threads) == (1, 4, 2)
    assert divided.autoscaled


def test_more_threads_than_cores_still_get_their_replicas() -> None:
    assert plan(2, replicas=3, threads=2).total_cpus == 6


def test_fractions_of_gpus_add_up_to_whole_ones() -> None:
    assert plan(8, replicas=3, replica_gpus=0.5).total_gpus == 2


def test_a_replica_decodes_with_as_many_threads_as_it_computes() -> None:
    settings = Settings.of(artifacts=(Path("/"),), executor="ray", replicas=2)
    of_replica = plan_replicas(settings, 8).settings_of_replica(settings)
    assert of_replica.runtime.threads == of_replica.decoding.decode_workers == 4
    assert of_replica.models == settings.models


def test_fewer_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(SettingsError, match="--max-replicas"):
        plan(replicas=3, max_replicas=2)


def test_the_threads_on_other_machines_must_be_said() -> None:
    with pytest.raises(SettingsError, match="--threads"):
        plan(ray_address="10.0.0.1:6379")
    assert plan(ray_address="10.0.0.1:6379", threads=4).cpus == 4


def test_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--artifact"):
        plan(model_repository=str(tmp_path))

"""Cores: the container's quota, not the host's count."""

import os

import pytest

from geminifusion_runtime.cpu_count import quota_cores, usable_cores


def test_version_2_quota_is_read(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert quota_cores(tmp_path) == 1.5


def test_version_2_without_quota_grants_everything(tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert quota_cores(tmp_path) is None


def test_version_1_quota_is_read(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert quota_cores(tmp_path) == 0.5


@pytest.mark.parametrize(("quota", "cores"), [("10000 100000", 1), ("100000 100000", 1)])
def test_a_small_quota_limits_the_cores_but_leaves_one(tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path) == cores


def test_without_a_cgroup_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))

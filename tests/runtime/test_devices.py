"""Where engine instances run."""

import os
import threading

import pytest

from geminifusion_runtime.devices import (
    AUTO,
    Device,
    check_cores,
    engine_threads,
    parse_devices,
    pin_to_cores,
    pinned_to_cores,
)


def test_devices_are_read_from_one_line():
    assert parse_devices("auto") == (AUTO,)
    assert parse_devices("cpu, cpu") == (Device(kind="cpu"), Device(kind="cpu"))
    assert parse_devices("cpu:0-2+8") == (Device(kind="cpu", cores=(0, 1, 2, 8)),)
    assert parse_devices("cuda:1,cuda") == (Device(kind="cuda", index=1), Device(kind="cuda"))


@pytest.mark.parametrize("text", ["", "gpu", "cpu:", "cpu:3-1", "cpu:a", "cuda:0-1", "auto:1", "cpu,,cpu"])
def test_what_is_no_device_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="expected devices like cpu"):
        parse_devices(text)


@pytest.mark.parametrize("text", ["cpu:0-3,cpu:3-4", "cuda:0,cuda"])
def test_a_core_or_a_gpu_belongs_to_one_instance(text):
    with pytest.raises(ValueError, match="twice"):
        parse_devices(text)


def test_cores_this_process_may_not_use_are_named():
    with pytest.raises(RuntimeError, match=r"names cores \[4242\], but this process may run on"):
        check_cores(parse_devices("cpu:4242"))


def test_instances_share_the_cores_unless_they_have_their_own_or_are_told():
    usable = len(os.sched_getaffinity(0))
    assert engine_threads(Device(kind="cpu"), 1, 5) == 5
    assert engine_threads(Device(kind="cpu"), usable, None) == 1
    assert engine_threads(Device(kind="cpu"), 100, None) == 1
    assert engine_threads(Device(kind="cpu", cores=(0,)), 2, None) == 1


def test_threads_started_meanwhile_stay_on_the_cores_and_this_one_gets_its_own_back():
    before = os.sched_getaffinity(0)
    core = min(before)
    seen = []
    with pinned_to_cores((core,)):
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    assert seen == [{core}]
    assert os.sched_getaffinity(0) == before


def test_without_cores_a_thread_is_left_where_it_is():
    before = os.sched_getaffinity(0)
    pin_to_cores(())
    assert os.sched_getaffinity(0) == before

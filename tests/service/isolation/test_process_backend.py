"""An engine in a process of its own: real processes, really killed."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_service.errors import EngineLostError
from geminifusion_service.isolation.process_backend import ProcessBackend, WorkerConfig


@contextmanager
def isolated(directory, **order):
    backend = ProcessBackend(WorkerConfig(directory=directory, threads=1, **order), read_metadata(directory))
    try:
        yield backend
    finally:
        backend.close()


@pytest.fixture(scope="module")
def shared(tiny_artifact):
    with isolated(tiny_artifact) as backend:
        yield backend


def batch_of(size, height=48, width=64, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.integers(0, 256, (size, height, width, 3), dtype=np.uint8),
        "depth": rng.uniform(0.5, 4, (size, height, width)).astype(np.float32),
    }


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def kill(backend):
    process_id = backend.process_id
    os.kill(process_id, signal.SIGKILL)
    return process_id


def test_answers_are_those_of_the_same_runtime_in_this_process(shared, tiny_artifact):
    here = open_backend(tiny_artifact, read_metadata(tiny_artifact), threads=1).backend
    # growing and shrinking, so that the shared memory is mapped anew and then reused
    for size, height, width in [(1, 48, 64), (3, 61, 83), (8, 120, 160), (1, 17, 16)]:
        inputs = batch_of(size, height, width, seed=size)
        there, expected = shared.run(inputs), here.run(inputs)
        np.testing.assert_array_equal(there["labels"], expected["labels"])
        np.testing.assert_array_equal(there["confidence"], expected["confidence"])
        np.testing.assert_array_equal(there["gate"], expected["gate"])
    assert shared.name == here.name
    assert shared.reason.endswith("in a process of its own")


def test_an_answer_outlives_the_batches_after_it(shared):
    first = shared.run(batch_of(1, seed=1))
    kept = first["labels"].copy()
    shared.run(batch_of(1, seed=2))
    np.testing.assert_array_equal(first["labels"], kept)


def test_a_batch_the_runtime_refuses_fails_alone(shared):
    before = shared.process_id
    with pytest.raises(RuntimeError, match="depth"):
        shared.run({"rgb": batch_of(1)["rgb"]})
    assert shared.run(batch_of(1))["labels"].shape == (1, 48, 64)
    assert shared.process_id == before


def test_a_process_killed_while_idle_is_replaced_and_no_batch_fails(tiny_artifact):
    with isolated(tiny_artifact) as backend:
        killed = kill(backend)
        until(lambda: backend.process_id != killed)
        assert backend.run(batch_of(2))["labels"].shape == (2, 48, 64)
        assert backend.process_id not in (None, killed)


def test_a_process_killed_in_the_middle_of_a_batch_fails_it_with_a_retryable_error(tiny_artifact):
    with isolated(tiny_artifact) as backend:
        os.kill(backend.process_id, signal.SIGSTOP)  # the batch cannot end before the kill
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(backend.run, batch_of(1))
            until(lambda: is_waiting_in("readinto"))
            kill(backend)
            with pytest.raises(EngineLostError) as lost:
                running.result(20)
        assert lost.value.retry_after_s == 1
        assert backend.run(batch_of(1))["labels"].shape == (1, 48, 64)  # waits for the next process
        assert backend.problem is None


def is_waiting_in(function):
    """Whether some thread of this process is inside a function of that name."""
    stacks = (traceback.extract_stack(frame) for frame in sys._current_frames().values())
    return any(call.name == function for stack in stacks for call in stack)


@pytest.mark.slow
def test_processes_that_keep_dying_are_not_started_for_ever(tiny_artifact, tmp_path):
    directory = tmp_path / "artifact"
    shutil.copytree(tiny_artifact, directory)
    with isolated(directory) as backend:
        (directory / "model.onnx").unlink()  # no further process can load it
        kill(backend)
        until(lambda: backend.problem is not None)
        assert "model.onnx" in backend.problem
        with pytest.raises(EngineLostError, match="keeps dying") as refused:
            backend.run(batch_of(1))
        assert 1 <= refused.value.retry_after_s <= 10


def test_an_artifact_that_cannot_be_loaded_is_told_as_in_this_process(tiny_artifact):
    with pytest.raises(RuntimeError, match="has no file for openvino"), isolated(tiny_artifact, wanted="openvino"):
        pass


def test_closing_ends_the_process(tiny_artifact):
    with isolated(tiny_artifact) as backend:
        process_id = backend.process_id
    until(lambda: not Path(f"/proc/{process_id}").exists())


@pytest.mark.slow
def test_the_process_ends_when_its_parent_is_killed(tiny_artifact):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from geminifusion_runtime.artifact import read_metadata
        from geminifusion_service.isolation.process_backend import ProcessBackend, WorkerConfig
        directory = Path(sys.argv[1])
        backend = ProcessBackend(WorkerConfig(directory=directory, threads=1), read_metadata(directory))
        print(backend.process_id, flush=True)
        time.sleep(600)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script, str(tiny_artifact)], stdout=subprocess.PIPE, text=True)
    try:
        process_id = int(parent.stdout.readline())
        assert Path(f"/proc/{process_id}").exists()
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not Path(f"/proc/{process_id}").exists())

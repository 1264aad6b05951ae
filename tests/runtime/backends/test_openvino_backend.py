"""The OpenVINO backend, on a network small enough to compile in a moment."""

import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.openvino import OpenVinoBackend, OpenVinoNetwork, run_in_fresh_thread
from geminifusion_runtime.backends.protocol import BackendError

openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")


def inputs(batch=1, height=48, width=64, seed=0):
    random = np.random.default_rng(seed)
    return {
        "rgb": random.integers(0, 256, (batch, height, width, 3), np.uint8),
        "depth": random.uniform(0, 4, (batch, height, width)).astype(np.float32),
    }


def assert_same(found, expected):
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-5)
    np.testing.assert_allclose(found["gate"], expected["gate"], atol=1e-5)


@pytest.fixture(scope="module")
def path(tiny_artifact, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "openvino.xml"
    network = openvino.Core().read_model(tiny_artifact / "model.onnx")
    openvino.save_model(network, path, compress_to_fp16=False)
    return path


@pytest.fixture(scope="module")
def reference(tiny_artifact):
    return OnnxRuntimeBackend(tiny_artifact / "model.onnx", threads=1, retained_pixels=48 * 64)


def test_answers_are_onnx_runtimes_at_any_size_and_batch(path, reference):
    backend = OpenVinoBackend(path, threads=1)
    for shape in ((1, 48, 64), (3, 48, 64), (2, 40, 36)):
        found, expected = backend.run(inputs(*shape)), reference.run(inputs(*shape))
        assert (found["labels"].dtype, found["confidence"].dtype, found["gate"].dtype) == (
            np.uint8,
            np.float32,
            np.float32,
        )
        assert_same(found, expected)


def test_a_size_that_keeps_coming_gets_a_copy_with_the_same_answers(path, reference):
    backend = OpenVinoBackend(path, threads=1, repeats=2)
    for seed in range(4):
        assert_same(backend.run(inputs(seed=seed)), reference.run(inputs(seed=seed)))
        assert backend.fixed_shapes == (() if seed == 0 else ((1, 48, 64),))


def test_prepared_sizes_have_their_copies_before_the_first_request(path):
    assert OpenVinoBackend(path, threads=1, prepared=[(1, 48, 64), (4, 48, 64)]).fixed_shapes == (
        (1, 48, 64),
        (4, 48, 64),
    )


def test_copies_are_few_and_the_least_used_goes_first(path):
    backend = OpenVinoBackend(path, threads=1, repeats=1, max_fixed_shapes=2)
    for batch in (1, 2, 1, 3):
        backend.run(inputs(batch))
    assert backend.fixed_shapes == ((1, 48, 64), (3, 48, 64))


def test_sizes_without_number_do_not_fill_the_memory(path, reference):
    backend = OpenVinoBackend(path, threads=1, repeats=2, max_fixed_shapes=2, max_known_shapes=5)
    for height in range(20, 40):
        for _ in range(height % 3 + 1):
            assert_same(backend.run(inputs(height=height)), reference.run(inputs(height=height)))
            assert backend.num_known_shapes <= 5
            assert len(backend.fixed_shapes) <= 2


def test_answers_stay_valid_after_the_next_run(path):
    backend = OpenVinoBackend(path, threads=1, repeats=1)
    first = backend.run(inputs())
    labels = first["labels"].copy()
    backend.run(inputs(seed=1))
    np.testing.assert_array_equal(first["labels"], labels)


def test_other_threads_run_while_it_computes(path):
    backend = OpenVinoBackend(path, threads=1)
    large = inputs(16, 480, 640)
    backend.run(large)
    started, stop, turns = threading.Event(), threading.Event(), []

    def count():
        started.set()
        while not stop.is_set():
            turns.append(time.perf_counter())
            time.sleep(0.0005)

    counter = threading.Thread(target=count)
    counter.start()
    started.wait()
    begin = time.perf_counter()
    backend.run(large)
    end = time.perf_counter()
    stop.set()
    counter.join()
    assert sum(begin < turn < end for turn in turns) > 3


def test_without_openvino_the_message_says_how_to_get_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeError, match=r'pip install "geminifusion\[openvino\]"'):
        OpenVinoBackend(path, threads=1)


def test_a_precision_the_processor_lacks_is_refused(path):
    lacking = {"bfloat16": "BF16", "float16": "FP16"}
    capabilities = run_in_fresh_thread(lambda: openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    for precision, capability in lacking.items():
        if capability in capabilities:
            OpenVinoBackend(path, threads=1, precision=precision).run(inputs())
        else:
            with pytest.raises(RuntimeError, match=f"does not compute in {precision}"):
                OpenVinoBackend(path, threads=1, precision=precision)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "openvino.xml").write_text("<nothing/>")
    with pytest.raises(BackendError, match=r"cannot load .*openvino\.xml"):
        OpenVinoBackend(tmp_path / "openvino.xml", threads=1)


def test_values_inside_the_network_can_be_asked_for_and_unknown_ones_are_left_out(path):
    request = OpenVinoNetwork(path, threads=1).compile(outputs=["grey", "no such value"])
    found = request.infer(inputs())
    np.testing.assert_allclose(found["grey"], inputs()["rgb"].mean(-1), rtol=1e-5)
    assert not [port for port in request.model_outputs if "no such value" in port.get_names()]


def test_a_signal_is_survived_when_the_network_goes_in_another_thread(path):
    """In a process of its own, which a wild signal stack would kill."""
    program = textwrap.dedent(
        """
        import signal, sys, threading
        from pathlib import Path
        from geminifusion_runtime.backends.openvino import OpenVinoBackend

        held = [OpenVinoBackend(Path(sys.argv[1]), threads=1)]
        dropping = threading.Thread(target=held.clear)
        dropping.start()
        dropping.join()
        signal.signal(signal.SIGINT, lambda *_: print("handled"))
        signal.raise_signal(signal.SIGINT)
        """
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr

"""Verification, benchmark, self-test, `load()` and serving open their sessions alike.

What they ask ONNX Runtime and OpenVINO for is recorded at these libraries, so a session opened past the runtime's
backends, or with an option of its own, shows.
"""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geminifusion
from geminifusion_export.benchmarking.benchmark import BenchmarkOptions, run_benchmark
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.verification.golden_frames import GOLDEN_NAME, GoldenFrames, write_golden_set
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_export.verification.verify_export import verify_export
from geminifusion_runtime.artifact import read_metadata, sha256_of, write_metadata
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_service.isolation.instances import open_instances

openvino = pytest.importorskip("openvino", reason="needs geminifusion[openvino]")

REFERENCE = (1, 48, 64)
OTHER = (1, 40, 56)


@pytest.fixture(scope="module")
def artifact(make_artifact, tmp_path_factory):
    """The tiny artifact with OpenVINO files, and one golden frame that is not of the reference size."""
    directory = make_artifact(tmp_path_factory.mktemp("served") / "tiny")
    generator = np.random.default_rng(0)
    frames = GoldenFrames(
        inputs={
            "rgb": generator.integers(0, 256, (*OTHER, 3), dtype=np.uint8),
            "depth": generator.random(OTHER, dtype=np.float32) * 4,
        },
        truth=None,
        source="noise",
        license="none",
    )
    reference = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=0)
    golden = write_golden_set(directory / GOLDEN_NAME, frames, reference, 4)
    entry = write_openvino(directory / "model.onnx", directory)
    metadata = read_metadata(directory)
    files = {path.name: sha256_of(path) for path in directory.iterdir() if path.name != "metadata.json"}
    write_metadata(directory, dataclasses.replace(metadata, golden=golden, runtimes=(entry,), files=files))
    return directory


@pytest.fixture
def sessions(monkeypatch):
    """Every ONNX Runtime session that was opened on a `model.onnx`, as its options."""
    opened = []
    real = onnxruntime.InferenceSession

    def record(model, options=None, **others):
        if isinstance(model, Path):
            opened.append(
                (
                    options.intra_op_num_threads,
                    options.inter_op_num_threads,
                    options.execution_mode,
                    options.enable_mem_pattern,
                    options.graph_optimization_level,
                    options.get_session_config_entry("session.intra_op.allow_spinning"),
                    str(others),
                )
            )
        return real(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    return opened


@pytest.fixture
def networks(monkeypatch):
    """Every network that OpenVINO compiled, as batch, height and width (None: any) and its properties."""
    compiled = []
    real = openvino.Core.compile_model

    def record(core, network, device, properties):
        shape = next(iter(network.inputs)).get_partial_shape()
        sizes = tuple(axis.get_length() if axis.is_static else None for axis in list(shape)[:3])
        compiled.append((sizes, device, tuple(sorted(properties.items()))))
        return real(core, network, device, properties)

    monkeypatch.setattr(openvino.Core, "compile_model", record)
    return compiled


def served(artifact, sessions, networks):
    """What serving opens: both backends, at once."""
    metadata = read_metadata(artifact)
    for wanted in ("onnxruntime", "openvino"):
        open_instances(artifact, metadata, wanted=wanted)
    opened = set(sessions), set(networks)
    sessions.clear()
    networks.clear()
    return opened


def verify_as_an_export_does(artifact):
    """Without changing the artifact for the tests that follow."""
    before = (artifact / "metadata.json").read_bytes()
    verify_export(artifact, read_metadata(artifact))
    (artifact / "metadata.json").write_bytes(before)


def measure(artifact):
    run_benchmark(artifact, BenchmarkOptions(repeats=1, warmup=0, memory=False))


@pytest.mark.parametrize(
    "command", [verify_artifact, verify_as_an_export_does, measure], ids=["verify", "export", "bench"]
)
def test_what_is_measured_is_opened_as_it_is_served(artifact, sessions, networks, command):
    served_sessions, served_networks = served(artifact, sessions, networks)
    assert len(served_sessions) == 1
    assert {sizes for sizes, *_ in served_networks} == {(None, None, None), REFERENCE}
    command(artifact)
    assert set(sessions) == served_sessions
    assert set(networks) == served_networks


def test_load_opens_what_is_served_by_default(artifact, sessions, networks):
    _, served_networks = served(artifact, sessions, networks)
    geminifusion.load(artifact)
    assert set(networks) == served_networks
    assert sessions == []


def test_sessions_leave_cores_and_memory_to_others(artifact, sessions, networks):
    served_sessions, served_networks = served(artifact, sessions, networks)
    ((threads, _, _, mem_pattern, _, spinning, _),) = served_sessions
    assert (threads, mem_pattern, spinning) == (usable_cores(), False, "0")
    assert {dict(properties)["INFERENCE_PRECISION_HINT"] for *_, properties in served_networks} == {"f32"}


def test_verification_runs_the_prepared_copy_at_the_reference_size_and_the_dynamic_network_elsewhere(artifact):
    certificate = verify_artifact(artifact).certificate
    sizes = {
        (report.batch, report.height, report.width)
        for section in certificate.sections
        for report in section.reports
        if report.backend == "openvino-cpu"
    }
    assert {REFERENCE, OTHER} < sizes
    assert certificate.verdict == "passed"

"""The network in torch behind the service: the same labels as its artifact, and refusals that name the way out."""

import json
import shutil

import numpy as np
import pytest

from geminifusion_export.runtime_discovery import BackendFile, open_candidate
from geminifusion_export.torch_backend import serving
from geminifusion_export.verification.measurement import Measurement
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.golden_set import read_golden_set

ON_CPU = parse_devices("cpu")[0]


@pytest.fixture(scope="module")
def frames(artifact):
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 256, (2, 96, 128, 3), dtype=np.uint8),
        "depth": rng.uniform(0.5, 5, (2, 96, 128)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def opened(artifact):
    def of(wanted):
        metadata = read_metadata(artifact)
        return open_backend(artifact, metadata, wanted=wanted, threads=1, device=ON_CPU).backend

    return of


def test_labels_are_those_of_the_artifact_it_was_exported_to(checkpoint, opened, frames):
    torch, exported = opened(f"torch:{checkpoint}"), opened("onnxruntime")
    assert torch.name == "torch-cpu"
    assert torch.size_problem(96, 128) is None
    ours, theirs = torch.run(frames), exported.run(frames)
    assert (ours["labels"] == theirs["labels"]).mean() > 0.999
    np.testing.assert_allclose(ours["confidence"], theirs["confidence"], atol=1e-4)
    np.testing.assert_allclose(ours["gate"], theirs["gate"], atol=1e-4)
    assert ours["labels"].dtype == np.uint8


def test_a_long_batch_is_run_in_parts_with_the_same_outputs(checkpoint, opened, frames, monkeypatch):
    backend = opened(f"torch:{checkpoint}")
    batch = {name: np.concatenate([array, array[:1], array[::-1]]) for name, array in frames.items()}
    whole = backend.run(batch)
    monkeypatch.setattr(serving, "LARGEST_PART", 2)
    parts = backend.run(batch)
    np.testing.assert_array_equal(parts["labels"], whole["labels"])
    np.testing.assert_allclose(parts["confidence"], whole["confidence"], atol=1e-5)
    np.testing.assert_array_equal(parts["labels"][:2], parts["labels"][:2:-1])


def test_outputs_belong_to_the_caller(checkpoint, opened, frames):
    backend = opened(f"torch:{checkpoint}")
    first = backend.run(frames)
    kept = first["confidence"].copy()
    backend.run({name: np.ascontiguousarray(array[:, ::-1]) for name, array in frames.items()})
    np.testing.assert_array_equal(first["confidence"], kept)


def test_a_batch_that_failed_leaves_nothing_behind(checkpoint, opened, frames):
    backend = opened(f"torch:{checkpoint}")
    with pytest.raises(TypeError):
        backend.run(frames | {"depth": frames["depth"].astype(np.float64)})
    assert backend.run(frames)["labels"].shape == (2, 96, 128)


@pytest.mark.full_depth
@pytest.mark.parametrize("precision", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_the_bundled_model_keeps_the_budget_of_its_golden_set(precision):
    directory = artifact_path()
    metadata = read_metadata(directory)
    wanted = "torch" if precision == "float32" else f"torch-{precision}"
    candidate = open_candidate(BackendFile(wanted, wanted), directory, metadata, 1, device=ON_CPU)
    assert (candidate.name, candidate.precision) == ("torch-cpu", precision)
    measurement = Measurement([candidate], metadata)
    measurement.measure_golden(read_golden_set(directory, metadata)[:1])
    assert measurement.problems == []
    (report,) = measurement.reports
    # the outputs are those of this precision and of no finer one
    assert (report.confidence_max_error < 5e-4) == (precision == "float32")


def test_a_checkpoint_that_is_not_there_is_asked_for(opened):
    with pytest.raises(RuntimeError, match="/nowhere holds no config"):
        opened("torch:/nowhere")


def test_a_network_that_cannot_be_read_back_asks_for_its_checkpoint(tiny_artifact):
    with pytest.raises(RuntimeError, match=r"give its checkpoint; for example: --backend torch:CHECKPOINT"):
        open_backend(tiny_artifact, read_metadata(tiny_artifact), wanted="torch", threads=1, device=ON_CPU)


def test_a_checkpoint_of_another_task_is_refused(checkpoint, tiny_artifact):
    with pytest.raises(RuntimeError, match=r"13 classes, but tiny@1 .* and 4;"):
        open_backend(tiny_artifact, read_metadata(tiny_artifact), wanted=f"torch:{checkpoint}", threads=1)


def test_a_checkpoint_without_a_task_is_refused(checkpoint, opened, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "untold")
    described = tmp_path / "untold" / "config.json"
    facts = json.loads(described.read_text())
    del facts["task"]
    described.write_text(json.dumps(facts))
    with pytest.raises(RuntimeError, match="does not say what its inputs and classes are"):
        opened(f"torch:{tmp_path / 'untold'}")


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(checkpoint, artifact):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    gpu = parse_devices("cuda:0")[0]
    with pytest.raises(RuntimeError, match="torch sees no GPU here"):
        open_backend(artifact, read_metadata(artifact), wanted=f"torch:{checkpoint}", threads=1, device=gpu)
    with pytest.raises(RuntimeError, match=r"ONNX Runtime: .*; torch: torch sees no GPU here"):
        open_backend(artifact, read_metadata(artifact), threads=1, device=gpu)

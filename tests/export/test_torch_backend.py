"""The network in torch behind the service: the same labels as its artifact, and refusals that name the way out."""

import json
import shutil

import numpy as np
import pytest

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.selection import open_backend


@pytest.fixture(scope="module")
def frames(artifact):
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 256, (2, 96, 128, 3), dtype=np.uint8),
        "depth": rng.uniform(0.5, 5, (2, 96, 128)).astype(np.float32),
    }


def test_labels_are_those_of_the_artifact_it_was_exported_to(checkpoint, artifact, frames):
    metadata = read_metadata(artifact)
    torch = open_backend(artifact, metadata, wanted=f"torch:{checkpoint}", threads=1)
    exported = open_backend(artifact, metadata, wanted="onnxruntime", threads=1)
    assert torch.backend.name == "torch"
    assert torch.backend.size_problem(96, 128) is None
    ours, theirs = torch.backend.run(frames), exported.backend.run(frames)
    assert (ours.labels == theirs.labels).mean() > 0.999
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-4)
    np.testing.assert_allclose(ours.gate, theirs.gate, atol=1e-4)
    assert ours.labels.dtype == np.uint8


@pytest.mark.parametrize(("location", "said"), [("", "needs a checkpoint"), ("/nowhere", "holds no config.json")])
def test_a_checkpoint_that_is_not_there_is_asked_for(artifact, location, said):
    with pytest.raises(RuntimeError, match=said):
        open_backend(artifact, read_metadata(artifact), wanted=f"torch:{location}", threads=1)


def test_a_checkpoint_of_another_task_is_refused(checkpoint, tiny_artifact):
    with pytest.raises(RuntimeError, match=r"13 classes, but tiny@1 .* and 4;"):
        open_backend(tiny_artifact, read_metadata(tiny_artifact), wanted=f"torch:{checkpoint}", threads=1)


def test_a_checkpoint_without_a_task_is_refused(checkpoint, artifact, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "untold")
    described = tmp_path / "untold" / "config.json"
    facts = json.loads(described.read_text())
    del facts["task"]
    described.write_text(json.dumps(facts))
    with pytest.raises(RuntimeError, match="does not say what its inputs and classes are"):
        open_backend(artifact, read_metadata(artifact), wanted=f"torch:{tmp_path / 'untold'}", threads=1)


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(checkpoint, artifact):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from geminifusion_runtime.devices import parse_devices

    with pytest.raises(RuntimeError, match="torch sees no GPU here"):
        open_backend(
            artifact,
            read_metadata(artifact),
            wanted=f"torch:{checkpoint}",
            threads=1,
            device=parse_devices("cuda:0")[0],
        )

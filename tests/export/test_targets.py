"""Adding runtimes to an artifact that exists."""

import json

import pytest
from click.testing import CliRunner

from geminifusion_export.commands import export
from geminifusion_export.errors import ExportError
from geminifusion_export.targets import TargetOptions
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.tasks.registry import TASKS


def run(*arguments):
    return CliRunner().invoke(export, list(map(str, arguments)), catch_exceptions=False)


def test_a_runtime_is_added_to_a_copy_without_torch_and_proven(artifact, tmp_path):
    pytest.importorskip("openvino", reason="needs geminifusion[openvino]")
    result = run(artifact, tmp_path / "more", "--to", "openvino")
    assert result.exit_code == 0, result.output
    before, after = open_artifact(artifact), open_artifact(tmp_path / "more")
    assert [(entry.runtime, entry.file, entry.precision) for entry in after.runtimes] == [
        ("openvino", "openvino.xml", "float32")
    ]
    assert {"openvino.xml", "openvino.bin"} <= after.files.keys()
    assert before.runtimes == ()
    golden = [report for report in after.verification if report.backend == "openvino-cpu" and report.miou is not None]
    assert golden[0].label_agreement > 0.999
    assert set(before.verification) <= set(after.verification)


def test_what_an_artifact_settles_cannot_be_changed_when_adding_to_it(artifact, tmp_path):
    result = run(artifact, tmp_path / "more", "--to", "openvino", "--precision", "float16")
    assert result.exit_code == 2
    assert "is an artifact, which settles --precision already" in result.output


def test_an_artifact_with_nothing_to_add_is_refused(artifact, tmp_path):
    result = run(artifact, tmp_path / "more")
    assert result.exit_code == 2
    assert "say what to add with --to" in result.output


def test_a_damaged_artifact_is_refused_before_anything_is_made(artifact, tmp_path):
    source = tmp_path / "damaged"
    source.mkdir()
    for path in artifact.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ValueError, match="damaged or replaced"):
        run(source, tmp_path / "more", "--to", "openvino")
    assert not (tmp_path / "more").exists()


def test_int8_without_frames_to_calibrate_on_is_refused():
    with pytest.raises(ExportError, match="--calibration ROOT"):
        TargetOptions(targets=("openvino-int8",))


def test_an_engine_is_refused_where_there_is_no_tensorrt(artifact, tmp_path):
    with pytest.raises(RuntimeError, match=r"geminifusion\[tensorrt\]|GPU|driver"):
        run(artifact, tmp_path / "engine", "--to", "tensorrt", "--no-plugin")
    assert not (tmp_path / "engine").exists()
    assert json.loads((artifact / "metadata.json").read_text())["engine"] is None


def test_a_plugin_is_a_command_and_not_a_checkpoint():
    result = CliRunner().invoke(export, ["plugin", "--help"])
    assert result.exit_code == 0
    assert "Compile the kernel of the fusion" in result.output


def test_a_runtime_for_a_task_without_any_is_refused_before_it_is_built(detector_artifact, tmp_path):
    with pytest.raises(ExportError, match=r"street@1 is for object-detection-3d, for which no runtime can be added"):
        run(detector_artifact, tmp_path / "more", "--to", "openvino")
    assert not (tmp_path / "more").exists()


def test_every_task_can_be_verified():
    assert VERIFICATIONS.keys() == TASKS.keys()

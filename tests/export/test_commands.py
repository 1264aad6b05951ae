import pytest
from click.testing import CliRunner

from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.measure_commands import verify
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_model import GeminiFusion, GeminiFusionConfig


def test_verify_without_a_checkpoint_checks_files_and_graph(artifact):
    result = CliRunner().invoke(verify, [str(artifact)], catch_exceptions=False)
    assert "2 file(s) match their SHA-256" in result.output
    assert "8 PixelwiseFusion nodes with their function" in result.output


def test_verify_against_a_checkpoint_measures_here(artifact, checkpoint):
    golden, shapes = verify_artifact(artifact, checkpoint).certificate.sections
    assert golden.reports[0].miou == pytest.approx(golden.reports[0].reference_miou, abs=0.1)
    assert shapes.against == "on random inputs, against torch"
    assert {report.traced for report in shapes.reports} == {True, False}
    assert len(shapes.reports) == 5
    assert min(report.label_agreement for report in shapes.reports) > 0.999


def test_verify_on_data_needs_the_network(artifact, tmp_path):
    with pytest.raises(VerificationError, match="give --checkpoint too"):
        verify_artifact(artifact, None, tmp_path)


def test_verify_refuses_another_checkpoint(artifact, tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=13)).save_pretrained(tmp_path)
    with pytest.raises(ExportError, match="give the checkpoint it was exported from"):
        verify_artifact(artifact, tmp_path, None, 0)


def test_checkpoint_without_a_task_cannot_be_exported(tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=13)).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match="does not say what its inputs and classes are"):
        build_artifact(tmp_path / "checkpoint", tmp_path / "out", ExportOptions(name="x"))


def test_existing_destination_is_not_overwritten(checkpoint, artifact):
    with pytest.raises(ExportError, match="exists; remove it"):
        build_artifact(checkpoint, artifact, ExportOptions(name="x"))


def test_a_camera_that_is_none_is_refused_before_anything_is_traced():
    with pytest.raises(ExportError, match="--intrinsics have focal lengths"):
        ExportOptions(name="x", intrinsics=(0.0, 500.0, 320.0, 240.0))

import re

import pytest
from click.testing import CliRunner

from geminifusion_export.artifact import BackendReport
from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_export.commands import verify
from geminifusion_export.graph import ExportError
from geminifusion_export.recheck import recheck_artifact
from geminifusion_export.verification import Budget, VerificationError, require_within
from geminifusion_model import GeminiFusion, GeminiFusionConfig


def test_verify_without_a_checkpoint_checks_files_and_graph(artifact):
    result = CliRunner().invoke(verify, [str(artifact)], catch_exceptions=False)
    assert "1 file(s) match their SHA-256" in result.output
    assert "16 PixelwiseFusion nodes with their function" in result.output


def test_verify_against_a_checkpoint_measures_here(artifact, checkpoint):
    text = recheck_artifact(artifact, checkpoint, None, 0)
    agreements = [float(match) for match in re.findall(r"([\d.]+) %$", text, re.MULTILINE)]
    assert len(agreements) == 5
    assert min(agreements) > 99.9


def test_verify_refuses_another_checkpoint(artifact, tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=13)).save_pretrained(tmp_path)
    with pytest.raises(ExportError, match="give the checkpoint it was exported from"):
        recheck_artifact(artifact, tmp_path, None, 0)


def test_checkpoint_without_a_task_cannot_be_exported(tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=13)).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match="does not say what its inputs and classes are"):
        build_artifact(tmp_path / "checkpoint", tmp_path / "out", ExportOptions(name="x"))


def test_existing_destination_is_not_overwritten(checkpoint, artifact):
    with pytest.raises(ExportError, match="exists; remove it"):
        build_artifact(checkpoint, artifact, ExportOptions(name="x"))


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"confidence_max_error": 0.01}, "confidence off by 1.00e-02"),
        ({"gate_max_error": float("nan")}, "gate off by nan"),
        ({"label_agreement": 0.99}, "99.000 % of the labels agree"),
    ],
)
def test_report_over_budget_fails_with_shape_and_figure(figures, message):
    good = {
        "confidence_max_error": 0.0,
        "confidence_mean_error": 0.0,
        "gate_max_error": 0.0,
        "gate_mean_error": 0.0,
        "label_agreement": 1.0,
    }
    report = BackendReport(backend="b", batch=1, height=8, width=9, traced=False, **{**good, **figures})
    with pytest.raises(VerificationError, match=f"b at 1x8x9: {message}"):
        require_within([report], Budget())

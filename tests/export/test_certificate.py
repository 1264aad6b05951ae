"""`verify` on a tiny artifact, without torch and without a checkpoint."""

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion_export.errors import VerificationError
from geminifusion_export.measure_commands import verify
from geminifusion_export.verification.golden_frames import GOLDEN_NAME, GoldenFrames, write_golden_set
from geminifusion_export.verification.html_report import REPORT_NAME, html_report, write_report
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_export.verification.verify_export import verify_export
from geminifusion_runtime.artifact import RuntimeFile, open_artifact, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend


class WrongInOneCorner:
    """A reference that disagrees with the graph in a twentieth of the pixels."""

    name = "torch"

    def __init__(self, backend):
        self.backend = backend

    def run(self, inputs):
        outputs = self.backend.run(inputs)
        outputs["labels"][:, :5, :8] ^= 1
        return outputs


def with_golden(directory, *, wrong=False):
    generator = np.random.default_rng(0)
    frames = GoldenFrames(
        inputs={
            "rgb": generator.integers(0, 256, (2, 20, 40, 3), dtype=np.uint8),
            "depth": generator.random((2, 20, 40), dtype=np.float32) * 4,
        },
        truth=None,
        source="noise <made> for this test",
        license="none",
    )
    backend = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=48 * 64)
    golden = write_golden_set(directory / GOLDEN_NAME, frames, WrongInOneCorner(backend) if wrong else backend, 4)
    metadata = read_metadata(directory)
    files = {**metadata.files, GOLDEN_NAME: sha256_of(directory / GOLDEN_NAME)}
    write_metadata(directory, dataclasses.replace(metadata, golden=golden, files=files))
    return directory


@pytest.fixture
def verified(make_artifact, tmp_path):
    return with_golden(make_artifact(tmp_path / "tiny"))


def test_verification_without_a_checkpoint_measures_on_the_golden_frames(verified):
    certificate = verify_artifact(verified, threads=1).certificate
    assert certificate.verdict == "passed"
    certificate.require_passed()
    (section,) = certificate.sections
    assert section.against == "on 2 golden frames, against torch's recorded outputs"
    assert [report.label_agreement for report in section.reports] == [1.0]


def test_certificate_names_hashes_machine_versions_and_verdict(verified):
    certificate = verify_artifact(verified, threads=1).certificate
    text, facts = str(certificate), json.loads(certificate.to_json())
    for name in ("model.onnx", "golden.npz", "metadata.json", "weights"):
        assert facts["hashes"][name] in text
    assert facts["machine"]["threads"] >= 1
    assert facts["packages"]["onnxruntime"] in text
    assert re.match(r"20\d\d-\d\d-\d\dT", facts["date"])
    assert facts["verdict"] == text.splitlines()[-1] == "passed"


def test_outputs_over_budget_fail_the_verification(make_artifact, tmp_path):
    certificate = verify_artifact(with_golden(make_artifact(tmp_path / "tiny"), wrong=True), threads=1).certificate
    assert certificate.verdict == "failed"
    assert "OVER BUDGET: onnxruntime-cpu (float32) at 1x20x40: 95.000 % of the labels agree" in str(certificate)
    with pytest.raises(VerificationError, match="tiny@1 differs from torch beyond its budget on this machine"):
        certificate.require_passed()


def test_artifact_without_golden_set_is_checked_but_not_passed(tiny_artifact):
    certificate = verify_artifact(tiny_artifact, threads=1).certificate
    assert certificate.verdict == "unmeasured"
    assert any("no golden set" in check for check in certificate.checks)
    certificate.require_passed()


def test_runtime_that_cannot_be_opened_is_named_with_the_reason(verified):
    (verified / "openvino.xml").write_text("no network")
    metadata = read_metadata(verified)
    entry = RuntimeFile(runtime="openvino", file="openvino.xml", precision="float32")
    files = {**metadata.files, "openvino.xml": sha256_of(verified / "openvino.xml")}
    write_metadata(verified, dataclasses.replace(metadata, runtimes=(entry,), files=files))
    certificate = verify_artifact(verified, threads=1).certificate
    (missing,) = certificate.not_measured
    assert missing.name == "openvino float32"
    assert f"not measured: openvino float32: {missing.reason}" in str(certificate)
    assert certificate.verdict == "passed"


def test_page_stands_alone_and_escapes_what_it_shows(verified):
    verification = verify_artifact(verified, threads=1)
    page = html_report(verification, read_metadata(verified))
    assert "class=passed" in page
    assert "noise &lt;made&gt; for this test" in page
    assert page.count("data:image/png;base64,") == 2 * 4, "rgb, depth, torch and one runtime of each frame"
    assert not re.findall(r"(?:src|href)=.(?!data:)", page)


def test_verified_export_holds_its_reports_and_a_page(verified):
    metadata = verify_export(verified, read_metadata(verified), threads=1)
    assert [report.backend for report in metadata.verification] == ["onnxruntime-cpu"]
    assert read_metadata(verified) == metadata
    assert REPORT_NAME not in metadata.files
    assert sha256_of(verified / "metadata.json") in (verified / REPORT_NAME).read_text()
    assert verify_artifact(verified, threads=1).certificate.verdict == "passed"


def test_artifact_that_lists_its_report_among_its_files_stays_valid_when_it_is_verified_again(verified):
    (verified / REPORT_NAME).write_text("of an earlier release")
    metadata = read_metadata(verified)
    files = {**metadata.files, REPORT_NAME: sha256_of(verified / REPORT_NAME)}
    write_metadata(verified, dataclasses.replace(metadata, files=files))
    assert "3 file(s) match" in str(verify_artifact(verified, threads=1))
    verify_export(verified, read_metadata(verified), threads=1)
    assert REPORT_NAME not in open_artifact(verified).files
    assert "of an earlier release" not in (verified / REPORT_NAME).read_text()


def test_export_over_budget_names_the_layer_once_and_leaves_no_page(make_artifact, tmp_path):
    directory = with_golden(make_artifact(tmp_path / "tiny"), wrong=True)
    asked = []

    def locate(report):
        asked.append(report)
        return "the last layer"

    with pytest.raises(VerificationError, match=r"95\.000 % of the labels agree.* departs most at the last layer"):
        verify_export(directory, read_metadata(directory), locate=locate, threads=1)
    assert [report.label_agreement for report in asked] == [0.95]
    assert not (directory / REPORT_NAME).exists()


def test_page_is_written_where_it_was_asked_for(verified, tmp_path):
    write_report(tmp_path / "report.html", verify_artifact(verified, threads=1), read_metadata(verified))
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_command_writes_json_and_page_and_succeeds(verified, tmp_path):
    arguments = [
        str(verified),
        "--threads",
        "1",
        "--json",
        str(tmp_path / "c.json"),
        "--html",
        str(tmp_path / "c.html"),
    ]
    result = CliRunner().invoke(verify, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.rstrip().endswith("passed")
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == "passed"
    assert (tmp_path / "c.html").is_file()


def test_command_over_budget_fails_after_it_has_printed_the_certificate(make_artifact, tmp_path):
    result = CliRunner().invoke(verify, [str(with_golden(make_artifact(tmp_path / "tiny"), wrong=True))])
    assert result.exit_code != 0
    assert isinstance(result.exception, VerificationError)
    assert "certificate of tiny@1" in result.output

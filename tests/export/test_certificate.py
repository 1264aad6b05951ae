"""`verify` on a tiny artifact, without torch and without a checkpoint."""

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion_export.measure_commands import verify
from geminifusion_export.runtimes import OnnxRuntime
from geminifusion_export.verification.comparison import VerificationError
from geminifusion_export.verification.golden import GOLDEN_NAME, GoldenFrames, write_golden
from geminifusion_export.verification.html_report import PAGE_NAME, verification_page, write_page
from geminifusion_export.verification.verify_artifact import recheck_artifact
from geminifusion_export.verification.verify_export import prove
from geminifusion_runtime.artifact import RuntimeFile, read_metadata, sha256_of, write_metadata


class WrongInOneCorner:
    """A reference that disagrees with the graph in a twentieth of the pixels."""

    name, precision = "torch", "float32"

    def __init__(self, runtime):
        self.runtime = runtime

    def run(self, feeds):
        answers = self.runtime.run(feeds)
        answers.labels[:, :5, :8] ^= 1
        return answers


def with_golden(directory, *, wrong=False):
    generator = np.random.default_rng(0)
    frames = GoldenFrames(
        feeds={
            "rgb": generator.integers(0, 256, (2, 20, 40, 3), dtype=np.uint8),
            "depth": generator.random((2, 20, 40), dtype=np.float32) * 4,
        },
        truth=None,
        source="noise <made> for this test",
        license="none",
    )
    runtime = OnnxRuntime(directory / "model.onnx", threads=1)
    golden = write_golden(directory / GOLDEN_NAME, frames, WrongInOneCorner(runtime) if wrong else runtime, 4)
    metadata = read_metadata(directory)
    files = {**metadata.files, GOLDEN_NAME: sha256_of(directory / GOLDEN_NAME)}
    write_metadata(directory, dataclasses.replace(metadata, golden=golden, files=files))
    return directory


@pytest.fixture
def proven(make_artifact, tmp_path):
    return with_golden(make_artifact(tmp_path / "tiny"))


def test_verification_without_a_checkpoint_measures_on_the_golden_frames(proven):
    certificate = recheck_artifact(proven, threads=1).certificate
    assert certificate.verdict == "passed"
    certificate.require_passed()
    (section,) = certificate.sections
    assert section.against == "on 2 golden frames, against torch's recorded answers"
    assert [report.label_agreement for report in section.reports] == [1.0]


def test_certificate_names_hashes_machine_versions_and_verdict(proven):
    certificate = recheck_artifact(proven, threads=1).certificate
    text, facts = str(certificate), json.loads(certificate.to_json())
    for name in ("model.onnx", "golden.npz", "metadata.json", "weights"):
        assert facts["hashes"][name] in text
    assert facts["machine"]["threads"] >= 1
    assert facts["packages"]["onnxruntime"] in text
    assert re.match(r"20\d\d-\d\d-\d\dT", facts["date"])
    assert facts["verdict"] == text.splitlines()[-1] == "passed"


def test_answers_over_budget_fail_the_verification(make_artifact, tmp_path):
    certificate = recheck_artifact(with_golden(make_artifact(tmp_path / "tiny"), wrong=True), threads=1).certificate
    assert certificate.verdict == "failed"
    assert "OVER BUDGET: onnxruntime-cpu (float32) at 1x20x40: 95.000 % of the labels agree" in str(certificate)
    with pytest.raises(VerificationError, match="tiny@1 differs from torch beyond its budget on this machine"):
        certificate.require_passed()


def test_artifact_without_golden_set_is_checked_but_not_passed(tiny_artifact):
    certificate = recheck_artifact(tiny_artifact, threads=1).certificate
    assert certificate.verdict == "unmeasured"
    assert any("no golden set" in check for check in certificate.checks)
    certificate.require_passed()


def test_runtime_that_cannot_be_opened_is_named_with_the_reason(proven):
    (proven / "openvino.xml").write_text("no network")
    metadata = read_metadata(proven)
    entry = RuntimeFile(runtime="openvino", file="openvino.xml", precision="float32")
    files = {**metadata.files, "openvino.xml": sha256_of(proven / "openvino.xml")}
    write_metadata(proven, dataclasses.replace(metadata, runtimes=(entry,), files=files))
    certificate = recheck_artifact(proven, threads=1).certificate
    (missing,) = certificate.not_measured
    assert missing.name == "openvino float32"
    assert f"not measured: openvino float32: {missing.reason}" in str(certificate)
    assert certificate.verdict == "passed"


def test_page_stands_alone_and_escapes_what_it_shows(proven):
    recheck = recheck_artifact(proven, threads=1)
    page = verification_page(recheck, read_metadata(proven))
    assert "class=passed" in page
    assert "noise &lt;made&gt; for this test" in page
    assert page.count("data:image/png;base64,") == 2 * 4, "rgb, depth, torch and one runtime of each frame"
    assert not re.findall(r"(?:src|href)=.(?!data:)", page)


def test_proof_writes_reports_and_page_into_the_artifact(proven):
    metadata = prove(proven, read_metadata(proven), threads=1)
    assert [report.backend for report in metadata.verification] == ["onnxruntime-cpu"]
    assert metadata.files[PAGE_NAME] == sha256_of(proven / PAGE_NAME)
    assert read_metadata(proven) == metadata
    assert recheck_artifact(proven, threads=1).certificate.verdict == "passed"


def test_proof_over_budget_names_the_layer_and_leaves_no_page(make_artifact, tmp_path):
    directory = with_golden(make_artifact(tmp_path / "tiny"), wrong=True)
    with pytest.raises(VerificationError, match=r"95\.000 % of the labels agree.* departs most at the last layer"):
        prove(directory, read_metadata(directory), locate=lambda report: "the last layer", threads=1)
    assert not (directory / PAGE_NAME).exists()


def test_page_is_written_where_it_was_asked_for(proven, tmp_path):
    write_page(tmp_path / "report.html", recheck_artifact(proven, threads=1), read_metadata(proven))
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_command_writes_json_and_page_and_succeeds(proven, tmp_path):
    arguments = [str(proven), "--threads", "1", "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")]
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

import json
import shutil

import pytest

from geminifusion_runtime.artifact import ArtifactError, open_artifact, read_metadata, write_metadata

OPENVINO = {"runtime": "openvino", "file": "openvino.xml", "precision": "float32"}
PROFILE = {"minimum": [1, 64, 64], "optimum": [1, 480, 640], "maximum": [4, 480, 640]}
BACKWARDS = {**PROFILE, "minimum": [1, 500, 64]}
ENGINE = {"tensorrt_version": "11.4.0.106", "compute_capability": "8.9", "profiles": [PROFILE]}


@pytest.fixture
def copy(artifact, tmp_path):
    return shutil.copytree(artifact, tmp_path / "copy")


def edit(directory, change):
    raw = json.loads((directory / "metadata.json").read_text())
    change(raw)
    (directory / "metadata.json").write_text(json.dumps(raw))


def test_metadata_says_what_the_service_needs(artifact):
    metadata = open_artifact(artifact)
    assert metadata.reference == "random-b0@1"
    assert [(m.name, m.dtype, m.channels, m.unit) for m in metadata.modalities] == [
        ("rgb", "uint8", 3, "intensity"),
        ("depth", "float32", 1, "metre"),
    ]
    assert metadata.classes[4].name == "floor"
    assert len(metadata.palette()) == 13
    assert metadata.checkpoint_sha256
    assert metadata.created_with["torch"]
    assert metadata.training.summary == "random weights for tests"


def test_metadata_holds_the_verification_at_traced_and_untraced_shapes(artifact):
    reports = read_metadata(artifact).verification
    assert {report.traced for report in reports} == {True, False}
    assert (1, 192, 256) in {(r.batch, r.height, r.width) for r in reports}
    assert min(report.label_agreement for report in reports) > 0.999


def test_artifact_ships_golden_frames_with_torchs_answers_and_a_page(artifact):
    metadata = read_metadata(artifact)
    assert set(metadata.files) == {"model.onnx", "golden.npz"}
    assert metadata.golden.frames == 8
    scored = [report for report in metadata.verification if report.miou is not None]
    assert [report.reference_miou for report in scored] == [pytest.approx(metadata.golden.miou)]
    assert "rooms" in metadata.golden.source


def test_metadata_survives_a_round_trip(artifact, tmp_path):
    metadata = read_metadata(artifact)
    write_metadata(tmp_path, metadata)
    assert read_metadata(tmp_path) == metadata


def test_damaged_model_is_refused(copy):
    content = bytearray((copy / "model.onnx").read_bytes())
    content[1000] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.onnx has SHA-256 .* damaged or replaced"):
        open_artifact(copy)


def test_missing_parts_are_named(copy):
    (copy / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing"):
        open_artifact(copy)
    (copy / "metadata.json").unlink()
    with pytest.raises(ArtifactError, match=r"holds no metadata\.json"):
        open_artifact(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(schema_version=99), "schema version 99, this geminifusion reads 1"),
        (lambda raw: raw.update(surprise=1), "surprise"),
        (lambda raw: raw["classes"].pop(3), "class ids must be"),
        (lambda raw: raw.update(modalities=[]), "modalities"),
        (lambda raw: raw["modalities"].extend(raw["modalities"]), "expected each name once"),
        (lambda raw: raw["modalities"][1].update(unit="intensity"), "encoded as metric in unit intensity"),
        (lambda raw: raw["modalities"][1].update(dtype="uint8"), "dtype uint8 with unit metre"),
        (lambda raw: raw["modalities"][1].update(channels=3), "3 channels; metric in metre has 1"),
        (lambda raw: raw["modalities"][1].update(metres_per_unit=0.1), "belongs to encoding raw with unit metre"),
        (lambda raw: raw["modalities"][1].update(encoding="raw"), "belongs to encoding raw with unit metre"),
        (lambda raw: raw["modalities"][1].update(mean=[1.0, 2.0]), "a mean and a std for each of its 1 channels"),
        (lambda raw: raw.update(temperature=0.0), "temperature"),
        (lambda raw: raw.update(ignore_index=5), "ignore_index 5 is also a class"),
        (lambda raw: raw["files"].update({"../evil": "0" * 64}), "plain names"),
        (lambda raw: raw.update(name="a b"), "name"),
        (lambda raw: raw["files"].pop("golden.npz"), r"files must name golden\.npz"),
        (lambda raw: raw.update(runtimes=[OPENVINO]), r"files must name openvino\.xml"),
        (lambda raw: raw.update(engine=ENGINE), "requirements belong together"),
        (lambda raw: raw.update(engine={**ENGINE, "profiles": [BACKWARDS]}), "not in order on every axis"),
    ],
)
def test_metadata_that_does_not_fit_is_refused_with_the_field(copy, change, message):
    edit(copy, change)
    with pytest.raises(ArtifactError, match=message):
        read_metadata(copy)


def test_text_that_is_no_json_is_refused(copy):
    (copy / "metadata.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read as JSON"):
        read_metadata(copy)

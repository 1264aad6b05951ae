"""Reading a folder that others write to."""

import os
import shutil

import pytest

from geminifusion_runtime.artifact import ArtifactError
from geminifusion_service.models.repository import (
    RepositoryUnreachableError,
    misplaced,
    read_stored,
    scan,
)


def test_versions_are_found_by_name_and_version(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny" / "1")
    make_artifact(tmp_path / "tiny" / "2", version="2")
    make_artifact(tmp_path / "other" / "1", name="other")
    found = scan(tmp_path)
    assert sorted(found) == ["other@1", "tiny@1", "tiny@2"]
    assert found["tiny@2"].directory == tmp_path / "tiny" / "2"
    assert read_stored(found["tiny@2"]).reference == "tiny@2"


def test_hidden_directories_files_and_impossible_names_are_passed_over(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny" / ".incoming")
    make_artifact(tmp_path / ".trash" / "1")
    make_artifact(tmp_path / "lost+found" / "1")
    (tmp_path / "tiny" / "notes.txt").write_text("not a version")
    (tmp_path / "readme").write_text("not a model")
    assert scan(tmp_path) == {}


def test_a_numbered_directory_decides_the_version_and_any_other_has_to_agree(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny" / "7", version="2026.11-b0")
    make_artifact(tmp_path / "tiny" / "2026.11-b0", version="2026.11-b0")
    make_artifact(tmp_path / "tiny" / "stable", version="2026.11-b0")
    found = scan(tmp_path)
    assert read_stored(found["tiny@7"]).version == "2026.11-b0"
    assert read_stored(found["tiny@2026.11-b0"]).version == "2026.11-b0"
    with pytest.raises(ArtifactError, match=r"holds version '2026\.11-b0'"):
        read_stored(found["tiny@stable"])


def test_another_name_than_the_folders_is_refused_with_the_right_place(tmp_path, make_artifact):
    make_artifact(tmp_path / "kitchen" / "1", name="tiny")
    with pytest.raises(ArtifactError, match=f"move it to {tmp_path}/tiny/1"):
        read_stored(scan(tmp_path)["kitchen@1"])


def test_a_fingerprint_changes_with_anything_in_the_directory_and_only_then(tmp_path, make_artifact):
    directory = make_artifact(tmp_path / "tiny" / "1")
    before = scan(tmp_path)["tiny@1"].fingerprint
    assert scan(tmp_path)["tiny@1"].fingerprint == before
    with (directory / "model.onnx").open("ab") as stream:
        stream.write(b"!")
    grown = scan(tmp_path)["tiny@1"].fingerprint
    assert grown != before
    (directory / "new.bin").touch()
    assert scan(tmp_path)["tiny@1"].fingerprint not in (before, grown)


def test_a_missing_repository_is_unreachable_and_not_empty(tmp_path):
    with pytest.raises(RepositoryUnreachableError, match="cannot be read"):
        scan(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryUnreachableError):
        scan(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_makes_the_repository_unreachable(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny" / "1")
    (tmp_path / "tiny").chmod(0)
    try:
        with pytest.raises(RepositoryUnreachableError):
            scan(tmp_path)
    finally:
        (tmp_path / "tiny").chmod(0o700)


def test_a_version_removed_before_it_is_read_is_an_artifact_error(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny" / "1")
    stored = scan(tmp_path)["tiny@1"]
    shutil.rmtree(stored.directory)
    with pytest.raises(ArtifactError, match=r"holds no metadata\.json"):
        read_stored(stored)


def test_artifacts_in_the_wrong_place_are_pointed_out(tmp_path, make_artifact):
    make_artifact(tmp_path / "tiny")
    assert ["NAME/VERSION" in line and str(tmp_path / "tiny") in line for line in misplaced(tmp_path)] == [True]
    make_artifact(tmp_path)
    assert len(misplaced(tmp_path)) == 2

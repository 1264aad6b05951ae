"""The headers that a docker build fetches: those of one commit of a repository, or a sentence and nothing."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "export/plugin/fetch_tensorrt_headers.sh"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", folder, *IDENTITY, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository like NVIDIA's, served as a remote is, with the ids of its commits, oldest first."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    (folder / "README.md").write_text("no headers yet")
    commits = []
    for version in (None, "11.1", "11.2"):
        if version:
            (folder / "include/impl").mkdir(parents=True, exist_ok=True)
            (folder / "include/NvInferRuntime.h").write_text(f"// {version}\n")
            (folder / "include/impl/NvInferPython.h").write_text("//\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"Release {version}")
        commits.append(git(folder, "rev-parse", "HEAD"))
    git(folder, "tag", "v11.1", commits[1])
    git(folder, "config", "uploadpack.allowFilter", "true")
    return f"file://{folder}", commits


def fetch(commit, destination, address):
    done = subprocess.run(["sh", SCRIPT, commit, destination, address], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_the_headers_of_that_commit_come_and_nothing_else(repository, tmp_path):
    address, (_, chosen, _) = repository
    assert fetch(chosen, tmp_path / "tensorrt", address) == (0, "")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["tensorrt/include/NvInferRuntime.h", "tensorrt/include/impl/NvInferPython.h"]
    assert (tmp_path / "tensorrt/include/NvInferRuntime.h").read_text() == "// 11.1\n"


def test_a_commit_that_is_not_there_is_refused_in_one_sentence(repository, tmp_path):
    address, _ = repository
    wrong = "0123456789" * 4
    code, said = fetch(wrong, tmp_path / "tensorrt", address)
    assert code == 1
    assert said.startswith(f"no commit {wrong} came from {address} (")
    assert said.count("\n") == 1
    assert not (tmp_path / "tensorrt").exists()


def test_a_commit_without_headers_is_refused(repository, tmp_path):
    address, (empty, _, _) = repository
    code, said = fetch(empty, tmp_path / "tensorrt", address)
    assert code == 1
    assert f"commit {empty} of {address} has no include/NvInferRuntime.h" in said
    assert not (tmp_path / "tensorrt").exists()


@pytest.mark.parametrize("name", ["v11.1", "82d1dca", "82D1DCA801C8318A5605399D5240780D0679E4E1", ""])
def test_what_does_not_name_one_content_for_ever_is_refused(repository, tmp_path, name):
    address, _ = repository
    code, said = fetch(name, tmp_path / "tensorrt", address)
    assert code == 2
    assert said.startswith(f"COMMIT is '{name}'; expected the full id of a commit")

"""The workflows: their schema, their security, and actions pinned to commits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def lint(*command):
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *map(str, command[1:])], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_schema_accepts_every_workflow():
    code, said = lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    assert code == 0, said
    code, said = lint("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    assert code == 0, said


def test_actionlint_finds_nothing():
    code, said = lint("actionlint", *WORKFLOWS)
    assert code == 0, said


def test_zizmor_finds_nothing():
    code, said = lint("zizmor", "--offline", "--no-progress", ".github")
    assert code == 0, said


def test_the_packages_of_every_image_are_audited():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    audited = workflow["jobs"]["audit"]["strategy"]["matrix"]["lock"]
    assert sorted(audited) == sorted(lock.stem for lock in (ROOT / "docker/locks").glob("*.txt"))


def test_published_images_are_labelled_with_the_base_of_their_stage():
    text = (ROOT / "docker/Dockerfile").read_text()
    parents = {stage: parent for parent, stage in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}
    published = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())
    rows = published["jobs"]["image"]["strategy"]["matrix"]["include"]
    assert {row["target"] for row in rows} == {"service", "service-gpu", "service-tensorrt", "ray", "train"}
    for row in rows:
        base = row["target"]
        while base in parents:
            base = parents[base]
        assert base == f"${{{row['base']}}}", row["target"]


def test_every_tier_of_tests_that_needs_no_gpu_runs_each_night():
    nightly = [path.read_text() for path in WORKFLOWS if "  schedule:\n" in path.read_text()]
    for command in ("test-slow", "pytest -m browser", "make container-test"):
        assert any(command in text for text in nightly), command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_commits_and_jobs_end(path):
    text = path.read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", use) for use in uses)
    assert text.count("runs-on:") == text.count("timeout-minutes:")

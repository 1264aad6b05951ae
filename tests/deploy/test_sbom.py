"""`make sbom`: every package of the service's lock file, and nothing else, with its version and a licence."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # installs the packages of the service
ROOT = Path(__file__).parents[2]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_lists_what_the_lock_file_names(tmp_path):
    places = [f"VENV={tmp_path / 'venv'}", f"DIST={tmp_path / 'dist'}", f"PYTHON={sys.executable}"]
    subprocess.run(["make", "sbom", *places], cwd=ROOT, check=True, capture_output=True, timeout=900)
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "docker/locks/service.txt").read_text(), re.MULTILINE))
    expected = {normal(name): version for name, version in locked.items()}
    components = json.loads((tmp_path / "dist/sbom.cdx.json").read_text())["components"]
    listed = {normal(component["name"]): component["version"] for component in components}
    assert listed.pop("geminifusion")
    assert listed == expected
    rows = [row.strip("| ").split("|") for row in (tmp_path / "dist/licences.md").read_text().splitlines()[2:]]
    licences = {normal(row[0].strip()): row[2].strip() for row in rows}
    assert set(licences) == {*expected, "geminifusion"}
    assert licences["geminifusion"] == "Apache-2.0"
    assert "UNKNOWN" not in licences.values()
    assert not (tmp_path / "venv-sbom").exists()

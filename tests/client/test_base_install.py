"""The client with nothing installed but what `pip install geminifusion` brings, as pyproject.toml has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PRELUDE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def normalized(requirement):
    return re.sub(r"[-_.]+", "-", _NAME.match(requirement)[0]).lower()


def closure(names):
    found, left = set(), [normalized(name) for name in names]
    while left:
        if (name := left.pop()) in found:
            continue
        found.add(name)
        try:
            left += [normalized(one) for one in requires(name) or () if "extra ==" not in one]
        except PackageNotFoundError:  # of another platform or Python
            continue
    return found


@pytest.fixture(scope="module")
def prelude():
    """Hides every module of this environment that the base dependencies, or theirs, do not bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = closure(project["dependencies"]) | {project["name"]}
    absent = sorted(
        module
        for module, owners in packages_distributions().items()
        if base.isdisjoint(normalized(owner) for owner in owners) and not module.startswith("geminifusion")
    )
    assert {"isal", "cv2", "simplejpeg", "grpc", "google", "onnxruntime"} <= set(absent)
    return _PRELUDE.format(absent=set(absent))


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_a_client_opens_and_lists_models(client, prelude, live_server):
    listed = "client.models()" if client == "Client" else "asyncio.run(client.models())"
    done = run(f"""{prelude}
import asyncio, geminifusion
client = geminifusion.{client}({live_server.http_url!r})
print([model["name"] for model in {listed}])
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['tiny']"


def test_a_frame_of_files_is_made_a_detection_request(prelude, make_street, tmp_path):
    street = make_street()
    paths = {name: tmp_path / name for name in ("rgb", "points", "calibration")}
    for name, content in street.files().items():
        paths[name].write_bytes(content)
    npy = tmp_path / "sweep.npy"
    npy.write_bytes(street.npy())
    done = run(f"""{prelude}
import json
from geminifusion.detection.calls import detect_call, read_cloud
call = detect_call(*{[str(paths[name]) for name in ("rgb", "points", "calibration")]!r}, {{}})
print(json.dumps([len(call.sources.points), len(read_cloud({str(npy)!r}).points)]))
""")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [len(street.points)] * 2

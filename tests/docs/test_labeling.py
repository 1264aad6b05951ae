"""The commands and the code of the page "Label tools" run as they stand, on two small frames."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import pytest

PAGE = (Path(__file__).parents[2] / "docs/guides/labeling.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("geminifusion ")
]
CONFIG = re.search(r"```xml\n(.*?)```", PAGE, re.DOTALL)[1]
SERVE = "geminifusion label-studio"


@pytest.fixture(scope="module")
def folder(make_pair, tmp_path_factory):
    """What the page begins with."""
    root = tmp_path_factory.mktemp("labeling")
    for seed, name in enumerate(["0001", "0002"]):
        scene = make_pair(seed, 72, 96)
        for role, file, image in (("rgb", f"{name}.jpg", scene.rgb), ("depth", f"{name}.png", scene.depth_mm)):
            (root / "frames" / role).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "frames" / role / file), image)
    for command in COMMANDS:
        if not command.startswith(SERVE):
            run(["-m", *shlex.split(command)], root)
    return root


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, "-P", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_ranked_tasks_are_pre_annotated(folder):
    tasks = json.loads((folder / "tasks.json").read_text())
    (command,) = [command for command in COMMANDS if command.startswith(SERVE)]
    log = folder / "backend.log"
    with log.open("wb") as stream:
        arguments = [sys.executable, "-P", "-m", *shlex.split(command), "--port", "0"]
        backend = subprocess.Popen(arguments, cwd=folder, stdout=stream, stderr=stream)
    try:
        while not (found := re.search(r"running on (http://\S+)", log.read_text())):
            assert backend.poll() is None, log.read_text()
            time.sleep(0.05)
        setup = httpx.post(f"{found[1]}/setup", json={"project": "1.2", "schema": CONFIG}, timeout=60)
        assert setup.status_code == 200, setup.text
        body = {"tasks": tasks, "label_config": CONFIG}
        results = httpx.post(f"{found[1]}/predict", json=body, timeout=60).json()["results"]
    finally:
        backend.terminate()
        backend.wait(20)
    uncertainty = [task["meta"]["uncertainty"] for task in tasks]
    assert uncertainty == sorted(uncertainty, reverse=True)
    assert [1 - result["score"] for result in results] == pytest.approx(uncertainty, abs=1e-3)


def test_the_code_for_cvat_runs(folder):
    pytest.importorskip("cvat_sdk")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    classes, files = map(json.loads, run(["-c", code], folder).replace("'", '"').splitlines())
    assert "floor" in classes
    assert sorted(files) == ["frames/rgb/0001.jpg", "frames/rgb/0002.jpg"]

"""The commands of the page on recordings run as they stand, with small files made here."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from geminifusion.server_process import running_server
from geminifusion.sinks.formats import FORMATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guides/recordings.md").read_text(encoding="utf-8")
_, COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
SERVED_AT = "grpc://localhost:8001"


def recorded():
    spec = importlib.util.spec_from_file_location("recorded", ROOT / "tests/client/predict/conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file that the page names: twelve frames of each kind."""
    root, module = tmp_path_factory.mktemp("recordings"), recorded()
    scenes = [module.scene(number) for number in range(12)]
    depth_kind = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    code = cv2.VideoWriter.fourcc(*"FFV1")
    color, depth = (
        cv2.VideoWriter(str(root / name), cv2.CAP_FFMPEG, code, 30, (80, 60), kind)
        for name, kind in (("room.mkv", []), ("room_depth.mkv", depth_kind))
    )
    for number, one in enumerate(scenes):
        color.write(np.ascontiguousarray(one.rgb[..., ::-1]))
        depth.write(one.depth_mm)
        for kind, image in (("rgb", one.rgb[..., ::-1]), ("depth", one.depth_mm)):
            (root / "frames" / kind / "a").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "frames" / kind / "a" / f"{number:04d}.png"), image)
    color.release()
    depth.release()
    cv2.imwrite(str(root / "room.jpg"), scenes[0].rgb[..., ::-1])
    cv2.imwrite(str(root / "room_depth.png"), scenes[0].depth_mm)
    recorder = module.Recorder(root)
    shutil.move(recorder.write("room", count=12), root / "room.mcap")
    shutil.rmtree(root / "room")
    recorder.write("room_ros1", "ros1", count=12)
    recorder.write("room_ros2", "ros2", count=12)
    return root


@pytest.mark.slow
def test_every_command_runs(folder, tmp_path):
    with running_server([], tmp_path / "server.log") as server:  # the bundled model, which can do without depth
        for command in COMMANDS.strip().splitlines():
            arguments = [sys.executable, "-P", "-m", *shlex.split(command.replace(SERVED_AT, server.grpc_url))]
            done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert len(list((folder / "masks").rglob("*_mask.png"))) == 12
    assert len(list((folder / "bag1").glob("*_mask.png"))) == 5
    for written in ("one/room_mask.png", "video/room_overlay.mp4", "nav2/room_segmentation/metadata.yaml"):
        assert (folder / written).is_file()
    assert len((folder / "served/room.jsonl").read_text().splitlines()) == 12


def test_the_page_has_every_format():
    section = PAGE.split("\n## What it writes\n")[1].split("\n## ")[0]
    named = [
        name
        for row in re.findall(r"^\| (`.*?)(?:, or .*?)? \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w[\w-]*)`", row)
    ]
    assert sorted(named) == sorted(FORMATS)

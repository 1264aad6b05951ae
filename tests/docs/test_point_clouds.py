"""The commands and the code of the page "Maps and clouds" run as they stand, against a real server."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

from geminifusion.server_process import running_server
from geminifusion_runtime.bundled import demo_pairs

PAGE = (Path(__file__).parents[2] / "docs/guides/point-clouds.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("clouds")
    pair = demo_pairs()["livingroom"]
    shutil.copy(pair.rgb, root / "rgb.jpg")
    shutil.copy(pair.depth, root / "depth.png")
    return root


def test_every_block_runs_as_it_stands(folder, tiny_artifact, tmp_path):
    command = f'geminifusion() {{ {sys.executable} -m geminifusion "$@" --artifact {tiny_artifact}; }}\n'
    with running_server(["--artifact", tiny_artifact], tmp_path / "log") as server, contextlib.chdir(folder):
        ports = {
            "localhost:8000": server.http_url.partition("//")[2],
            "localhost:8001": server.grpc_url.partition("//")[2],
        }
        names = {}
        for language, block in BLOCKS:
            for written, there in ports.items():
                block = block.replace(written, there)
            if language == "bash":
                done = subprocess.run(["bash", "-ec", command + block], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
            else:
                exec(block, names)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written["room.ply"] == written["room-grpc.ply"] == written["rgb.ply"]
    assert written["registered.ply"] == written["registered-here.ply"] != written["room.ply"]
    for name in ("room.ply", "registered.ply"):
        assert len(trimesh.load(folder / name).vertices) > 100_000
    assert {"rgb.pcd", "rgb_cloud.npz"} <= set(written)

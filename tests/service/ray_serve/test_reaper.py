"""Nothing of a private Ray stays behind, however its owner ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geminifusion_service.ray_serve.reaper import FOLDER_VARIABLE, Reaper, processes_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "session" / "logs").mkdir(parents=True)
    return tmp_path / "session"


@pytest.fixture
def leftover(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was started with the folder and would run on."""
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, FOLDER_VARIABLE: str(folder)})
    yield process
    process.kill()
    process.wait()


def test_processes_are_found_by_their_folder(folder: Path, leftover: subprocess.Popen[bytes]) -> None:
    assert processes_of(folder) == [leftover.pid]
    assert processes_of(folder / "other") == []


def test_the_reaper_ends_processes_and_removes_the_folder(folder: Path, leftover: subprocess.Popen[bytes]) -> None:
    reaper = Reaper(folder, grace_s=0.1)
    assert leftover.poll() is None
    reaper.finish()
    assert leftover.wait(5) == -9
    assert not folder.exists()


def test_the_reaper_acts_when_its_owner_is_killed(folder: Path, leftover: subprocess.Popen[bytes]) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib\n"
            "from geminifusion_service.ray_serve.reaper import Reaper\n"
            "reaper = Reaper(pathlib.Path(sys.argv[1]), 0.1)\n"
            "print('started', flush=True)\n"
            "sys.stdin.read()",
            str(folder),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"started\n"
        owner.kill()
    assert leftover.wait(10) == -9

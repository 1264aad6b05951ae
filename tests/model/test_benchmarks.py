import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
FILES = [path for folder in (".", "translation", "detection", "service") for path in FOLDER.glob(f"{folder}/*.py")]
PROGRAMS = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix()
    for path in FILES
    if re.search(r"\.parse_(known_)?args\(", path.read_text(encoding="utf-8"))
)


# Most import torch, which takes seconds; of those one is enough on every run.
QUICK = ("latency", "paired_bootstrap")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_benchmark_imports_what_it_needs_and_explains_itself(name):
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.slow
def test_translators_are_compared_and_a_finished_comparison_is_not_repeated(tmp_path):
    rooms = [sys.executable, "-m", "geminifusion", "data", "rooms", tmp_path / "rooms", "--aligned", "--height", "64"]
    subprocess.run([*rooms, "--width", "64", "--train", "4", "--test", "3"], check=True, timeout=100)
    program = [sys.executable, FOLDER / "translation" / "compare.py", tmp_path / "rooms", tmp_path / "out"]
    budget = ["--steps", "2", "--batch-size", "2", "--height", "32", "--width", "32", "--threads", "1", "--seeds", "1"]

    def compared(*arguments):
        return subprocess.run([*program, *budget, *arguments], capture_output=True, text=True, timeout=300)

    first = compared("--networks", "geminifusion,rgb")
    assert first.returncode == 0, first.stderr
    assert "edge_occlusion: computed from the target" in first.stdout
    assert "| `rgb` |" in first.stdout
    again = compared("--networks", "geminifusion,rgb")
    assert "geminifusion, seed 0" not in again.stdout
    tables = [run.stdout[run.stdout.rindex("| network") :] for run in (first, again)]
    assert tables[0] == tables[1]
    other = compared("--networks", "geminifusion", "--target", "normal")
    assert "target depth (now normal)" in other.stderr
    wrong = compared("--target", "thermal")
    assert "no domain 'thermal'" in wrong.stderr


@pytest.mark.slow
def test_detectors_are_compared_and_a_finished_comparison_is_not_repeated(tmp_path):
    streets = [sys.executable, "-m", "geminifusion", "data", "streets", tmp_path / "streets", "--height", "128"]
    subprocess.run([*streets, "--width", "416", "--train", "3", "--val", "3"], check=True, timeout=100)
    program = [sys.executable, FOLDER / "detection" / "compare.py", tmp_path / "streets", tmp_path / "out"]
    budget = ["--steps", "2", "--height", "32", "--width", "96", "--reach", "20.48", "--pillar", "0.64"]

    def compared(*arguments):
        command = [*program, *budget, "--threads", "1", "--seeds", "1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    first = compared("--networks", "lidar,sum-last")
    assert first.returncode == 0, first.stderr
    assert "`sum-last` less `lidar`" in first.stdout
    assert "| blank image |" in first.stdout
    again = compared("--networks", "lidar,sum-last")
    assert "lidar, seed 0" not in again.stdout
    tables = [run.stdout[run.stdout.rindex("3-D AP R40, moderate, IoU .7") :] for run in (first, again)]
    assert tables[0] == tables[1]
    other = compared("--networks", "lidar", "--batch-size", "3")
    assert "batch_size 2 (now 3)" in other.stderr
    wrong = compared("--networks", "radar")
    assert "no network 'radar'" in wrong.stderr

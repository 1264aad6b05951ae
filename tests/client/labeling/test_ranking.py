"""`geminifusion rank`: which frames to label first, as lists for both tools."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion.labeling.commands import rank
from geminifusion.labeling.ranking import MEASURES

CONFIDENCE = {"a/0001": (0.9, 0.9), "a/0002": (0.4, 1.0), "b.c/0001": (0.45, 0.45), "b.c/0003": (0.9, 0.9)}


@pytest.fixture
def folders(tmp_path):
    """Maps as `Result.save` writes them, and files of the same names."""
    for name, values in CONFIDENCE.items():
        for role, file in (("maps", f"{name}.npz"), ("rgb", f"{name}.jpg"), ("depth", f"{name}_depth.png")):
            path = tmp_path / role / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        maps = {"confidence": np.float32([values]), "disagreement": np.float32([values])}
        np.savez_compressed(tmp_path / "maps" / f"{name}.npz", labels=np.zeros((4, 8), np.uint8), **maps)
    return tmp_path


def run(folders, *arguments):
    output = folders / "order.json"
    common = [folders / "maps", "--images", folders / "rgb", "--output", output, *arguments]
    done = CliRunner().invoke(rank, list(map(str, common)))
    return done, json.loads(output.read_text()) if output.exists() else None


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], ["b.c/0001", "a/0002", "a/0001", "b.c/0003"]),
        (["--by", "low-confidence"], ["b.c/0001", "a/0002", "a/0001", "b.c/0003"]),
        (["--by", "low-confidence", "--threshold", 0.42], ["a/0002", "a/0001", "b.c/0001", "b.c/0003"]),
        (["--by", "disagreement"], ["a/0001", "b.c/0003", "a/0002", "b.c/0001"]),
        (["--limit", 1], ["b.c/0001"]),
    ],
)
def test_the_most_uncertain_come_first(folders, arguments, order):
    done, paths = run(folders, "--for", "cvat", *arguments)
    assert done.exit_code == 0, done.output
    assert paths == [str(folders / "rgb" / f"{name}.jpg") for name in order]


def test_tasks_name_files_as_label_studio_serves_them(folders):
    done, tasks = run(folders, "--depth", folders / "depth", "--root", folders)
    assert done.output.splitlines()[0] == "0.5500  b.c/0001"
    assert tasks[0] == {
        "data": {
            "image": "/data/local-files/?d=rgb/b.c/0001.jpg",
            "depth": "/data/local-files/?d=depth/b.c/0001_depth.png",
        },
        "meta": {"uncertainty": 0.55},
    }
    assert len(tasks) == len(CONFIDENCE)


@pytest.mark.parametrize(
    ("spoil", "arguments", "said"),
    [
        (lambda root: (root / "rgb/a/0001.jpg").unlink(), [], "frame 'a/0001' has no rgb image"),
        (lambda root: (root / "rgb/a/0001.png").touch(), [], "frame 'a/0001' has 2 rgb images"),
        (lambda root: None, ["--root", "maps"], "does not lie in"),
        (lambda root: (root / "maps/a/0001.npz").write_bytes(b"PK"), [], "cannot be read"),
        (lambda root: np.savez(root / "maps/a/0001.npz", labels=0), [], "has no confidence; write it again"),
        (lambda root: np.savez(root / "maps/a/0001.npz", confidence=np.int8([1])), [], "not floats"),
        (lambda root: [path.unlink() for path in (root / "maps").rglob("*.npz")], [], "holds no .npz files"),
    ],
)
def test_what_cannot_be_ranked_is_told_in_one_sentence(folders, monkeypatch, spoil, arguments, said):
    monkeypatch.chdir(folders)
    spoil(folders)
    done, written = run(folders, *arguments)
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert written is None


def test_every_measure_can_be_chosen():
    (by,) = [option for option in rank.params if option.name == "by"]
    assert list(by.type.choices) == list(MEASURES)

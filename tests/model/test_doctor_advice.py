"""`geminifusion data check` on small broken copies: each silent fault of training, and words that lead to its mend."""

import numpy as np
import pytest
from click.testing import CliRunner
from own_data import METRIC, write_own_data, write_png
from PIL import Image

from geminifusion_model.data_commands import data


def colors(path, labels):
    write_png(path, np.array([[128, 64, 128], [70, 70, 70], [107, 142, 35]], np.uint8)[labels])


def values(*stored):
    return lambda path, labels: write_png(path, np.array(stored, np.uint8)[labels])


def strays(path, labels):
    if path.name == "2.png" and "train" in path.parts:
        labels[:3, :3] = 5
    write_png(path, labels)


def binary(path, labels):
    write_png(path, ((labels == 2) * 255).astype(np.uint8))


def turned(path, rgb_root):
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = 3
    image.save(path.with_suffix(".jpg"), exif=exif, quality=95)
    path.unlink()


def counts(low, step):
    return lambda labels: (low + step * labels.astype(np.uint16)).astype(np.uint16)


TWO = {"classes": ["background", "crack"]}
THERMAL = {"name": "thermal", "modality": {"encoding": "raw", "channels": 1}}
BROKEN = {
    "colors": ({"write_labels": colors}, "list them in labels.colors"),
    "binary, 255 void": ({**TWO, "write_labels": binary}, "labels: {map: {0: background, 255: crack}}"),
    "binary, no void": (
        {**TWO, "write_labels": binary, "labels": {"void": []}},
        "if it is the other class: labels: {map: {0: background, 255: crack}}",
    ),
    "one class": ({"classes": ["crack"], "write_labels": values(255, 255, 0)}, "classes: [background, crack]"),
    "one class of two values": (
        {"classes": ["crack"], "write_labels": values(0, 0, 1)},
        "classes: [background, crack]",
    ),
    "ids with gaps": ({"write_labels": values(0, 7, 24)}, "labels: {map: {0: a, 7: b, 24: c}}"),
    "strays": ({"write_labels": strays}, "repair these label files, or declare them void: labels: {void: [255, 5]}"),
    "from 1": ({"write_labels": values(1, 2, 3)}, "labels: {offset: -1}"),
    "void 254": ({"write_labels": values(0, 254, 2), "classes": ["a", "b", "c"]}, "labels: {void: [255, 254]}"),
    "16 bits under 8": (
        {**THERMAL, "other": counts(28000, 900)},
        "say bits: 16, and the range that the sensor measures in (this file has 28000 to 29800)",
    ),
    "clipped": (
        {
            "name": "thermal",
            "modality": {"encoding": "raw", "bits": 16, "range": [0, 255]},
            "other": counts(28000, 900),
        },
        "range: [28000, 29800]",
    ),
    "no contrast": (
        {"name": "thermal", "modality": {"encoding": "raw", "bits": 16}, "other": counts(28000, 300)},
        "say what it measures in the contract: bits: 16, range: [28000, 28600]",
    ),
    "millimetres as metres": ({"modality": {**METRIC, "metres_per_unit": 1.0}}, "1000 times too large"),
}
MISLEADING = ("drop the class", "remove these frames", "take the frame off")


def check(root):
    return CliRunner().invoke(data, ["check", str(root)], catch_exceptions=False)


def test_nothing_is_found_in_intact_data(tmp_path):
    result = check(write_own_data(tmp_path))
    findings = [line for line in result.output.splitlines() if line.startswith("ERROR")]
    assert [line for line in findings if "leakage" not in line] == [], result.output


@pytest.mark.parametrize("fault", BROKEN)
def test_each_silent_fault_is_found_with_its_mend(tmp_path, fault):
    how, advice = BROKEN[fault]
    result = check(write_own_data(tmp_path, **how))
    assert result.exit_code == 1
    # one line, however the advice is wrapped
    assert advice in " ".join(result.output.split()), result.output
    assert not any(words in result.output for words in MISLEADING), result.output


def test_an_exif_orientation_is_warned_of(tmp_path):
    root = write_own_data(tmp_path)
    for path in (root / "train" / "rgb").glob("*.png"):
        turned(path, root)
    result = check(root)
    assert "orientation-tag (train: 0, 1, 2, 3)" in result.output
    assert "store it turned and without the tag" in result.output


def test_two_pictures_of_one_stem_are_found(tmp_path):
    root = write_own_data(tmp_path)
    write_png(root / "train" / "rgb" / "1.webp", np.zeros((64, 96, 3), np.uint8))
    assert "both could be the rgb of frame 1; take one away" in check(root).output

"""Damaged and hostile files of a data set and of checkpoints: whatever they hold, one of our errors or a right result.

A few hundred rounds are a slow test; `python tests/model/test_data_fuzz.py ROUNDS [SEED]` runs more and prints figures.
"""

import io
import json
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointError, read_info, write_checkpoint
from geminifusion_model.data.label_files import LabelCode, read_labels
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.task_files import TaskFileError, describe_task
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError, TrainingError
from geminifusion_model.training.loop.checkpointer import Checkpointer
from geminifusion_model.training.loop.state import STATE_NAME, ExponentialAverage, TrainingState
from geminifusion_model.training.recipes.named import named_recipe
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors

ODD_VALUES = (
    None, True, 0, -1, 255, 256, 2**31, 2**64, 10**30, 1e308, -1e-308, float("nan"), float("inf"), "", "void", "a",
    "../..", "/etc/passwd", "\u202e\ud7ff", "x" * 5000, [], [[]], {}, {"a": {}}, [1, 2, 3], ["a", "a"],
)  # fmt: skip
ODD_TEXT = (
    "[",
    "]",
    "{",
    "}",
    ":",
    "\n",
    "  ",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "- ",
    "\x00",
    "\t",
    "|",
    "'",
)
CONTRACT = {
    "name": "own",
    "license": "CC0-1.0",
    "classes": ["a", {"name": "b", "color": [1, 2, 3]}],
    "labels": {"offset": 0, "void": [255]},
    "modalities": {"depth": {"encoding": "metric", "metres_per_unit": 0.001, "range": [0.3, 9], "mean": 2, "std": 1}},
    "intrinsics": {"fx": 1.0, "fy": 1.0, "cx": 1.0, "cy": 1.0},
    "splits": {"train": "train.csv", "test": {"rgb": "rgb", "labels": "labels", "depth": "depth"}},
    "columns": {"rgb": "image"},
    "input_policy": {"shorter_side": 64, "multiple_of": 32},
}
TABLE = b"image,labels,depth\nrgb/0.png,labels/0.png,depth/0.png\nrgb/1.png,labels/1.png,\n"


def damaged(data, random):
    """Bytes changed, cut out, doubled or cut off."""
    content = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        if not content:
            break
        at, length = int(random.integers(len(content))), int(random.integers(1, 64))
        match int(random.integers(5)):
            case 0:
                content[at] ^= 1 << int(random.integers(8))
            case 1:
                content[at : at + length] = random.integers(0, 256, length, np.uint8).tobytes()
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length]
            case _:
                del content[max(at, len(content) // 2) :]
    return bytes(content)


def with_right_checksums(data):
    """A PNG whose chunks have the checksums of what they hold now, so that decoders look further."""
    content, position = bytearray(data), 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(content)


def changed(value, random):
    """A tree of lists and mappings with some of its values replaced, removed or moved."""
    if random.random() < 0.08:
        return ODD_VALUES[int(random.integers(len(ODD_VALUES)))]
    if isinstance(value, dict):
        return {
            (key if random.random() > 0.02 else f"{key}x"): changed(entry, random)
            for key, entry in value.items()
            if random.random() > 0.03
        }
    if isinstance(value, list):
        return [changed(entry, random) for entry in value for _ in range(1 + (random.random() < 0.03))]
    return value


def damaged_text(text, random):
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(len(text) + 1))
        cut = at + int(random.integers(0, 12))
        text = text[:at] + ODD_TEXT[int(random.integers(len(ODD_TEXT)))] + text[cut:]
    return text


class Labels:
    """Label files, read."""

    expected = (DatasetError,)

    def __init__(self, folder, random):
        self.folder, self.random = folder, random
        labels = random.integers(0, 5, (24, 40), np.uint8)
        self.codes = (
            LabelCode(num_classes=5),
            LabelCode(num_classes=3, mapping={0: 0, 7: 1, 255: 2}, void=(float("nan"),)),
            LabelCode(num_classes=2, colors={(0, 0, 0): 0, (9, 9, 9): 1}),
        )
        encoded = [
            cv2.imencode(".png", image)[1].tobytes()
            for image in (labels, labels.astype(np.uint16), palette_like(labels))
        ]
        encoded += [cv2.imencode(".tif", labels)[1].tobytes()]
        encoded += [as_palette(encoded[0])]
        for array in (labels.astype(np.int64), labels.astype(np.float32), labels > 2):
            stream = io.BytesIO()
            np.save(stream, array)
            encoded.append(stream.getvalue())
        self.files = encoded

    def round(self, number):
        data = damaged(self.files[number % len(self.files)], self.random)
        path = self.folder / "l.png"
        path.write_bytes(with_right_checksums(data) if number % 2 else data)
        found = read_labels(path, self.codes[number % len(self.codes)])
        assert found.classes.ndim == 2
        assert found.classes.dtype == np.uint8


def palette_like(labels):
    return np.dstack([labels * 9] * 3)


def as_palette(gray_png):
    """The same rows as indices of a palette."""
    header = bytearray(gray_png[8:33])
    header[8 + 9] = 3
    header[-4:] = zlib.crc32(header[4:-4]).to_bytes(4, "big")
    entries = bytes(range(15))
    chunk = b"PLTE" + entries
    palette = len(entries).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return gray_png[:8] + bytes(header) + palette + gray_png[33:]


class Contracts:
    """`dataset.yaml` and tables, opened."""

    expected = (DatasetError, TaskFileError)

    def __init__(self, folder, random):
        self.folder, self.random = folder, random
        for role in ("rgb", "labels", "depth"):
            (folder / role).mkdir()
            for number in range(2):
                shape = (32, 40, 3) if role == "rgb" else (32, 40)
                image = np.full(shape, number, np.uint16 if role == "depth" else np.uint8)
                cv2.imwrite(str(folder / role / f"{number}.png"), image)

    def round(self, number):
        content = changed(CONTRACT, self.random) if number % 3 else CONTRACT
        text = yaml.safe_dump(content, allow_unicode=True)
        if number % 3 == 1:
            text = damaged_text(text, self.random)
        (self.folder / "dataset.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        (self.folder / "train.csv").write_bytes(TABLE if number % 3 else damaged(TABLE, self.random))
        if number % 2:
            describe_task(self.folder)
        dataset = open_dataset("folder", self.folder, ("train", "test")[number % 2])
        dataset[0]


class Checkpoints:
    """Checkpoint directories, weight files and training configurations, read."""

    expected = (CheckpointError, OfficialWeightsError, ConfigError, TrainingError)

    def __init__(self, folder, random):
        self.folder, self.random = folder, random
        torch.manual_seed(0)
        net = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=8))
        self.start = folder / "net"
        write_checkpoint(net, self.start, task=nyuv2_task(13), training={"frames": 2, "config": {"holdout": 1}})
        self.config = json.loads((self.start / "config.json").read_text())
        weights = {"segmenter": {"a.weight": torch.ones(3, 4)}, "epoch": 3, "best": np.float64(1.5)}
        stream = io.BytesIO()
        torch.save(weights, stream)
        self.pickled = stream.getvalue()
        stream = io.BytesIO()
        torch.save(weights, stream, _use_new_zipfile_serialization=False)
        self.old_pickled = stream.getvalue()
        self.safetensors = (self.start / "model.safetensors").read_bytes()
        plain = GeminiFusion(net.config)
        average = ExponentialAverage(plain, 0.5)
        self.checkpointer = Checkpointer(folder, TrainingState(plain, torch.optim.AdamW(plain.parameters()), average))
        self.checkpointer.save()
        self.state = (folder / STATE_NAME).read_bytes()
        self.recipe = named_recipe("nyuv2-b0-from-scratch").model_dump(mode="json")

    def round(self, number):
        kind = number % 6
        if kind == 0:
            text = json.dumps(changed(self.config, self.random))
            (self.start / "config.json").write_text(damaged_text(text, self.random) if number % 2 else text)
            read_info(self.start)
        elif kind == 1:
            (self.start / "config.json").write_text(json.dumps(self.config))
            header = damaged(self.safetensors[:4000], self.random)
            (self.start / "model.safetensors").write_bytes(header + self.safetensors[4000:])
            GeminiFusion.from_pretrained(self.start)
        elif kind == 5:
            end = len(self.state) - 100_000  # its directory lies at the end
            tail = damaged(self.state[end:], self.random) if number % 2 else self.state[end:]
            head = self.state[:2000] if number % 2 else damaged(self.state[:2000], self.random)
            (self.folder / STATE_NAME).write_bytes(head + self.state[2000:end] + tail)
            self.checkpointer.restore()
        elif kind == 4:
            path = self.folder / "c.yaml"
            text = yaml.safe_dump(changed(self.recipe, self.random), allow_unicode=True)
            path.write_bytes((damaged_text(text, self.random) if number % 2 else text).encode("utf-8", "surrogatepass"))
            TrainingConfig.from_yaml(path)
        else:
            path = self.folder / "w.pth"
            path.write_bytes(damaged(self.pickled if kind == 2 else self.old_pickled, self.random))
            read_tensors(path)


KINDS = (Labels, Contracts, Checkpoints)


def fuzz(kind, rounds, seed):
    """Count the outcomes by name; anything but a result or an expected error is raised with its round."""
    outcomes = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = kind(Path(folder), np.random.default_rng((seed, KINDS.index(kind))))
        for number in range(rounds):
            begin = time.perf_counter()
            try:
                run.round(number)
                outcomes["read"] += 1
            except kind.expected as error:
                message = str(error)
                assert message, f"round {number} has an error without a word"
                assert "Traceback" not in message
                outcomes[type(error).__name__] += 1
            except Exception as error:
                raise AssertionError(f"{kind.__name__}, seed {seed}, round {number}: {error!r}") from error
            slowest = max(slowest, time.perf_counter() - begin)
    outcomes["slowest_ms"] = round(1000 * slowest)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rounds"), [(Labels, 400), (Contracts, 150), (Checkpoints, 18)])
def test_whatever_a_file_holds_the_outcome_is_a_result_or_an_error_of_ours(kind, rounds):
    outcomes = fuzz(kind, rounds, seed=1)
    assert outcomes["slowest_ms"] < 5000


if __name__ == "__main__":
    rounds, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    torch.set_num_threads(1)
    for kind in KINDS:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        outcomes = fuzz(kind, rounds, seed)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        print(
            f"{kind.__name__}: {rounds} in {time.monotonic() - began:.0f} s, {dict(outcomes)}, {grown} MiB more at most"
        )

"""The commands of the page "Bring your own model" run as they stand, with small files made here."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from geminifusion.server_process import running_server
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import write_checkpoint
from geminifusion_model.data.nyuv2 import nyuv2_task

PAGE = Path(__file__).parents[2] / "docs/guides/bring-your-own-model.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SERVED_AT = "http://localhost:8000"
DATASET = """
name: rooms
license: none
classes: [{classes}]
modalities:
  depth: {{encoding: metric, metres_per_unit: 0.001, range: [0.3, 10.0], mean: 2.8, std: 1.4}}
splits: {{train: frames.csv, test: frames.csv}}
"""


@pytest.fixture(scope="module")
def folder(original_weights, tmp_path_factory):
    """Every file that the page names, but for what its commands make."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for name in ("room.jpg", "street.jpg", "street_hha.png"):
        cv2.imwrite(str(root / name), cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (96, 72)))
    depth = cv2.resize(rng.integers(800, 5000, (6, 8)).astype(np.uint16), (96, 72))
    cv2.imwrite(str(root / "room_depth.png"), depth)
    weights = original_weights("mit_b0_b1_64x96")
    torch.save(
        {"segmenter": {f"module.{k}": v for k, v in weights.items()}, "epoch_start": 1}, root / "model-best.pth.tar"
    )
    torch.save(original_weights("deliver_b0_rgbd_b2_64x64"), root / "deliver.pth")
    task = nyuv2_task(13)
    record = {"summary": "random", "config": {"augmentation": {"noise": {"missing": {"depth": 0.1}}}}}
    net = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16))
    write_checkpoint(net, root / "checkpoint", task=task, training=record)
    frames = root / "frames"
    frames.mkdir()
    (frames / "dataset.yaml").write_text(DATASET.format(classes=", ".join(map(repr, task.class_names))))
    (frames / "frames.csv").write_text("rgb,labels,depth\nrgb.png,labels.png,depth.png\n")
    cv2.imwrite(str(frames / "rgb.png"), rng.integers(0, 256, (72, 96, 3), np.uint8))
    cv2.imwrite(str(frames / "labels.png"), rng.integers(0, 13, (72, 96), np.uint8))
    cv2.imwrite(str(frames / "depth.png"), depth)
    return root


def run(command, folder):
    arguments = [sys.executable, "-P", "-m", *shlex.split(command)]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def run_block(block, folder):
    """Each command in turn; one that serves keeps running while those below it ask it."""
    with contextlib.ExitStack() as open_until_the_end:
        url = SERVED_AT
        for command in block.strip().splitlines():
            if command.startswith("geminifusion serve "):
                _, _, option, name = shlex.split(command)
                server = running_server([option, folder / name], folder / "server.log")
                url = open_until_the_end.enter_context(server).http_url
            else:
                run(command.replace(SERVED_AT, url), folder)


@pytest.mark.slow
def test_every_command_block_runs(folder):
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(num_labels=150)
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder / "segformer")
    for block in BLOCKS:
        run_block(block, folder)
    masks = sorted(path.name for path in (folder / "masks").glob("*_mask.png"))
    assert masks == ["room_depth_mask.png", "room_mask.png", "street_mask.png"]


def test_every_kind_of_file_is_served_in_three_commands():
    served = [block.strip().splitlines() for block in BLOCKS if "geminifusion serve" in block]
    assert len(served) == 4
    for commands in served:
        assert [command.split()[1] for command in commands] == ["export", "serve", "predict"]

"""Training with frames of a second data set in every batch."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from own_data import METRIC, write_own_data

from geminifusion_model.commands import train
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.folder import folder_dataset
from geminifusion_model.data.loader import FurtherFrames, Share, training_batches
from geminifusion_model.data.sample import DatasetError, Joined
from geminifusion_model.data.sensor_noise import SensorNoise, corrupt

HOW = Augmentation(crop=(32, 32), noise=SensorNoise(missing={"rgb": 0.5, "depth": 0.5}))


def pseudo_labeled(root, **changes):
    """The same folder without a measurement of depth, by a table."""
    write_own_data(root, **changes)
    rows = [f"train/rgb/{number}.png,train/labels/{number}.png," for number in range(4)]
    (root / "train.csv").write_text("\n".join(["rgb,labels,depth", *rows]) + "\n")
    contract = (root / "dataset.yaml").read_text()
    start = contract.index("splits:")
    (root / "dataset.yaml").write_text(contract[:start] + "splits: {train: train.csv}\n")
    return root


@pytest.fixture
def own(tmp_path):
    return folder_dataset(write_own_data(tmp_path / "own"), "train")


@pytest.fixture
def further(tmp_path):
    return folder_dataset(pseudo_labeled(tmp_path / "further"), "train")


def batches(own, further, first_step=0, **changes):
    return list(
        training_batches(
            own,
            HOW,
            batch_size=5,
            seed=3,
            first_step=first_step,
            last_step=6,
            further=FurtherFrames(dataset=further, per_batch=2),
            **changes,
        )
    )


def test_every_batch_ends_with_its_share_of_further_frames(own, further):
    measured = [batch.inputs[1].flatten(1).any(1).tolist() for batch in batches(own, further)]
    assert all(frames[3:] == [False, False] for frames in measured)
    assert any(any(frames[:3]) for frames in measured)


def test_they_do_not_depend_on_where_training_resumed(own, further):
    whole, resumed = batches(own, further), batches(own, further, first_step=4)
    for expected, found in zip(whole[4:], resumed, strict=True):
        assert all((a == b).all() for a, b in zip(expected.inputs, found.inputs, strict=True))
        assert (expected.labels == found.labels).all()


def test_processes_share_them(own, further):
    halves = [
        training_batches(
            own,
            HOW,
            batch_size=4,
            seed=3,
            first_step=0,
            last_step=1,
            further=FurtherFrames(dataset=further, per_batch=2),
            share=Share(rank=rank, processes=2),
        )
        for rank in (0, 1)
    ]
    assert [len(next(half).labels) for half in halves] == [2, 2]


def test_what_is_measured_alone_is_never_missing(further):
    sample = further[0]
    for seed in range(20):
        noisy = corrupt(sample, HOW.noise, np.random.default_rng(seed))
        assert np.array_equal(noisy.rgb, sample.rgb)


def test_joined_frames_follow_each_other(own, further):
    joined = Joined(own, further)
    assert len(joined) == len(own) + len(further)
    assert joined[len(own)].name == further[0].name
    assert np.array_equal(joined.labels(1), own[1].labels)


def test_frames_of_another_task_are_refused(own, tmp_path):
    other = folder_dataset(write_own_data(tmp_path / "other", classes=("a", "c", "b")), "train")
    with pytest.raises(DatasetError, match="the classes of own are not those of own"):
        Joined(own, other)
    metric = {**METRIC, "mean": 3.0}
    other = folder_dataset(write_own_data(tmp_path / "depth", modality=metric), "train")
    with pytest.raises(DatasetError, match="the modalities of own"):
        Joined(own, other)


def run(tmp_path, *settings, further=True):
    write_own_data(tmp_path / "own")
    arguments = ["--data", str(tmp_path / "own"), "--out", str(tmp_path / "run"), "--threads", "1"]
    if further:
        arguments += ["--further-data", str(pseudo_labeled(tmp_path / "further"))]
    values = ("steps=2", "batch_size=3", "network.decoder_channels=16", "ema_decay=0", "class_balance=0", *settings)
    return CliRunner().invoke(train, [*arguments, *(part for value in values for part in ("--set", value))])


def test_a_run_says_that_further_frames_took_part(tmp_path):
    result = run(tmp_path, "further_per_batch=1", "holdout=0")
    assert result.exit_code == 0, result.output
    assert "4 frames and 4 further ones" in result.output
    training = json.loads((tmp_path / "run/final/config.json").read_text())["training"]
    assert "1 of the 3 crops from 4 frames of own (CC0-1.0)" in training["summary"]


@pytest.mark.parametrize(("setting", "further"), [("further_per_batch=0", True), ("further_per_batch=1", False)])
def test_further_data_and_its_setting_come_together(tmp_path, setting, further):
    result = run(tmp_path, setting, further=further)
    assert result.exit_code != 0
    assert "further_per_batch is" in str(result.exception or result.output)


def test_a_batch_keeps_a_frame_of_its_own(tmp_path):
    result = run(tmp_path, "further_per_batch=3")
    assert result.exit_code != 0
    assert "leave at least one frame" in str(result.exception or result.output)

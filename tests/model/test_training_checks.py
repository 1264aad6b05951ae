"""What a network cannot learn from, and would not complain of, stops `train` before its first step."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from own_data import METRIC, write_own_data, write_png

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import write_checkpoint
from geminifusion_model.commands import evaluate, train
from geminifusion_model.data.matching import open_matching, with_classes
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError, Subset
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.data_checks import check_frames
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.initialization import start_network
from geminifusion_model.training.loop.run import explanation
from geminifusion_model.training.recipes.named import named_recipe
from geminifusion_model.training.recipes.own_data import fitted_to

THERMAL = {"encoding": "raw", "channels": 1, "bits": 16}


def config(**changes):
    return TrainingConfig.model_validate({**dict(named_recipe("nyuv2-b0-from-scratch")), **changes})


def check(root, **changes):
    check_frames(config(**changes), open_dataset("folder", root, "train"))


def refusal(root, **changes):
    with pytest.raises((TrainingError, DatasetError)) as caught:
        check(root, **changes)
    return str(caught.value)


def binary(path, labels):
    write_png(path, ((labels == 2) * 255).astype(np.uint8))


def stored_counts(low, step):
    return {
        "name": "thermal",
        "modality": THERMAL,
        "other": lambda labels: (low + step * labels.astype(np.uint16)).astype(np.uint16),
    }


def test_intact_data_passes(tmp_path):
    check(write_own_data(tmp_path))


def test_binary_masks_of_255_are_refused_with_the_map_that_reads_them(tmp_path):
    root = write_own_data(tmp_path, classes=["background", "crack"], write_labels=binary)
    message = refusal(root)
    assert "crack of 2 classes never occurs in the training frames" in message
    assert "labels: {map: {0: background, 255: crack}}" in message
    check(root, allow_unlearnable_classes=True)
    labels = {"map": {0: "background", 255: "crack"}}
    check(write_own_data(tmp_path, classes=["background", "crack"], labels=labels, write_labels=binary))


def test_a_single_class_is_refused(tmp_path):
    root = write_own_data(
        tmp_path, classes=["crack"], write_labels=lambda p, ls: write_png(p, ((ls != 2) * 255).astype("u1"))
    )
    assert "classes: [background, crack]" in refusal(root)
    check(root, allow_unlearnable_classes=True)


def test_a_value_without_a_class_in_the_last_frame_is_found_before_the_first_step(tmp_path):
    def stray(path, labels):
        if path.name == "3.png":
            labels[0, 0] = 11
        write_png(path, labels)

    assert "frame 3: " in refusal(write_own_data(tmp_path, write_labels=stray))


def test_a_value_without_a_class_in_a_held_out_frame_is_found_before_the_first_step_too(tmp_path):
    def stray(path, labels):
        if path.name == "3.png":
            labels[0, 0] = 11
        write_png(path, labels)

    frames = open_dataset("folder", write_own_data(tmp_path, write_labels=stray), "train")
    check_frames(config(), Subset(frames, range(3)))
    with pytest.raises(DatasetError, match="frame 3: "):
        check_frames(config(), Subset(frames, range(3)), Subset(frames, [3]))


def test_labels_that_are_void_alone_are_refused(tmp_path):
    root = write_own_data(tmp_path, write_labels=lambda p, ls: write_png(p, np.full_like(ls, 255)))
    assert "not one pixel of the training frames has a class" in refusal(root)


def test_a_modality_that_the_network_sees_as_a_constant_is_refused_with_its_range(tmp_path):
    narrow = {**THERMAL, "range": [0, 255]}
    message = refusal(write_own_data(tmp_path, **{**stored_counts(28000, 900), "modality": narrow}))
    assert "the network sees a constant" in message
    assert "range: [28000, 29800]" in message


def test_a_modality_of_hardly_any_contrast_is_warned_of(tmp_path, caplog):
    check(write_own_data(tmp_path, **stored_counts(28000, 300)))
    assert "its pixels hardly differ; say what it measures" in caplog.text
    good = {**THERMAL, "range": [27000, 30000], "mean": 111.5, "std": 1.2}
    caplog.clear()
    check(write_own_data(tmp_path / "good", **{**stored_counts(28000, 300), "modality": good}))
    assert not caplog.text


def test_data_without_files_is_checked_too():
    from geminifusion_model.data.sample import Sample

    class Strays:
        task = dataclasses.replace(open_task(), class_names=("a", "b"), palette=((0, 0, 0),) * 2)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            labels = np.array([[0, 1], [1, 9]], np.uint8)
            return Sample("only", np.zeros((2, 2, 3), np.uint8), {"depth": np.ones((2, 2), np.float32)}, labels)

    with pytest.raises(DatasetError, match="frame only: labels hold 9 on 1 pixels; expected 0 to 1"):
        check_frames(config(), Strays())


def open_task():
    from geminifusion_model.data.nyuv2 import nyuv2_task

    return nyuv2_task(13)


class TestFittedRecipe:
    def fit(self, root, **given):
        values, _ = fitted_to(named_recipe("nyuv2-b0-from-scratch").model_dump(mode="json"), root, given)
        return TrainingConfig.checked(values, dict(given))

    def test_classes_modalities_frames_and_sizes_come_from_the_contract(self, tmp_path):
        root = write_own_data(
            tmp_path, name="thermal", modality={"encoding": "raw"}, other=lambda ls: 80 * ls, frames=9
        )
        fitted = self.fit(root)
        assert fitted.network.num_classes == 3
        assert fitted.network.modalities == ("rgb", "thermal")
        assert fitted.holdout == 1
        assert fitted.input_scale == 1.0
        assert fitted.augmentation.crop == (32, 64)  # of 64x96, as the recipe's of 480x640
        assert fitted.augmentation.scale == (0.76, 1.8)

    def test_what_the_user_sets_stays(self, tmp_path):
        given = {"network.modalities": ["rgb"], "holdout": 2, "input_scale": 0.5, "augmentation.crop": [64, 64]}
        fitted = self.fit(write_own_data(tmp_path), **given)
        assert fitted.network.fusion == "none"
        assert (fitted.holdout, fitted.input_scale, fitted.augmentation.crop) == (2, 0.5, (64, 64))
        assert fitted.augmentation.scale == (0.38, 0.9)

    def test_the_printed_configuration_is_the_fitted_one(self, tmp_path):
        arguments = ["--data", str(write_own_data(tmp_path)), "--out", "x", "--print-config"]
        printed = CliRunner().invoke(train, arguments, catch_exceptions=False).output
        assert "num_classes: 3" in printed


class TestClassesByName:
    def network(self, directory, names):
        torch.manual_seed(0)
        net = GeminiFusion(GeminiFusionConfig(num_classes=len(names), decoder_channels=16)).eval()
        task = dataclasses.replace(open_task(), class_names=names, palette=((9, 9, 9),) * len(names))
        write_checkpoint(net, directory, task=task)
        return net

    def test_the_same_classes_in_another_order_have_the_same_score(self, tmp_path):
        self.network(tmp_path / "net", ("a", "b", "c"))
        same = write_own_data(tmp_path / "same")
        turned = write_own_data(
            tmp_path / "turned", classes=("c", "b", "a"), write_labels=lambda p, ls: write_png(p, (2 - ls).astype("u1"))
        )
        lines = []
        for root in (same, turned):
            arguments = [str(tmp_path / "net"), "--data", str(root), "--threads", "1"]
            result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
            lines.append(result.output.splitlines()[-5:])
        assert lines[0] == lines[1]

    def test_other_classes_are_refused_by_name(self, tmp_path):
        root = write_own_data(tmp_path, classes=("a", "b", "x"))
        with pytest.raises(DatasetError, match=r"has the classes x, which net does not know; its classes c are not"):
            open_matching(
                "folder",
                root,
                "test",
                modalities=open_task().modalities,
                class_names=("a", "b", "c"),
                network="net",
            )

    def test_fewer_classes_are_put_into_the_networks_numbering(self, tmp_path):
        frames = open_dataset("folder", write_own_data(tmp_path), "test")
        found = with_classes(frames, ("z", "c", "b", "a"), "net")
        expected = np.array([3, 2, 1], np.uint8)[frames[0].labels]
        np.testing.assert_array_equal(found[0].labels, expected)
        np.testing.assert_array_equal(found.labels(0), expected)

    def test_another_unit_is_refused(self, tmp_path):
        raw = {"encoding": "raw", "channels": 1, "bits": 16, "metres_per_unit": "ask"}
        root = write_own_data(tmp_path, modality=raw)
        with pytest.raises(DatasetError, match="depth of own is in unit count, and net takes metre"):
            open_matching(
                "folder",
                root,
                "test",
                modalities=open_task().modalities,
                class_names=("a", "b", "c"),
                network="net",
            )

    def test_classes_that_no_frame_shows_are_named_beside_the_scores(self, tmp_path):
        self.network(tmp_path / "net", ("a", "b", "c"))
        root = write_own_data(tmp_path / "data", write_labels=lambda p, ls: write_png(p, np.minimum(ls, 1)))
        arguments = [str(tmp_path / "net"), "--data", str(root), "--threads", "1"]
        result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
        assert "never labeled in test, so without a score of their own: c" in result.output

    @pytest.mark.parametrize("names", [("c", "a", "b"), ("a", "b", "x")])
    def test_a_start_of_other_classes_gives_no_class_the_weights_of_another(self, tmp_path, names):
        start = self.network(tmp_path / "net", ("a", "b", "c")).state_dict()
        wanted = config(
            network=GeminiFusionConfig(num_classes=3, decoder_channels=16), start_from=str(tmp_path / "net")
        )
        found = start_network(wanted, names).state_dict()
        weight = next(name for name in start if name.startswith("decoder.classify.") and name.endswith("weight"))
        rows = [torch.equal(found[weight][k], start[weight]["abc".index(n)]) for k, n in enumerate(names) if n in "abc"]
        assert all(rows) if set(names) == set("abc") else not any(rows)


def test_a_configuration_that_differs_on_resume_is_named_with_the_way_on(tmp_path):
    from geminifusion_model.training.loop.preparation import check_directory
    from geminifusion_model.training.loop.state import STATE_NAME

    (tmp_path / STATE_NAME).touch()
    (tmp_path / "config.yaml").write_text(config().to_yaml())
    with pytest.raises(TrainingError, match=r"steps was 3600 and is 16.*start_from="):
        check_directory(config(steps=16), tmp_path, resume=True)


def test_what_torch_really_says_without_memory_is_explained():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert "has too little memory" in explanation(caught.value, config(), Processes())
    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, np.uint8)
    assert "has too little memory" in explanation(caught.value, config(), Processes())


def test_metres_that_are_measured_nowhere_are_refused(tmp_path):
    root = write_own_data(tmp_path, other=lambda labels: np.zeros(labels.shape, np.uint16), modality=METRIC)
    assert "depth is measured nowhere in the 4 frames" in refusal(root)

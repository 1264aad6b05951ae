import cv2
import numpy as np
import pytest

from geminifusion_model.data.augment import Augmentation, augment
from geminifusion_model.data.loader import frames_of_step, training_batches
from geminifusion_model.data.nyuv2 import NYUv2, nyuv2_task
from geminifusion_model.data.palettes import evenly_spread_palette
from geminifusion_model.data.sample import DatasetError, Sample


def write_frames(root, count=4, depth_dtype=np.uint16):
    """A folder in the NYUv2 layout; depth grows with x, labels follow depth."""
    for folder in ("rgb", "depth", "label13", "label40"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    names = [f"{index:06d}" for index in range(1, count + 1)]
    for name in names:
        cv2.imwrite(str(root / "rgb" / f"{name}.jpg"), random.integers(0, 256, (48, 64, 3), np.uint8))
        ramp = np.tile(np.arange(64), (48, 1))
        depth = (1000 + 50 * ramp).astype(np.uint16) if depth_dtype == np.uint16 else (30 + ramp).astype(np.uint8)
        cv2.imwrite(str(root / "depth" / f"{name}.png"), depth)
        for folder in ("label13", "label40"):
            cv2.imwrite(str(root / folder / f"{name}.png"), (ramp // 16).astype(np.uint8))
    (root / "train.txt").write_text("\n".join(names) + "\n")
    (root / "test.txt").write_text("\n".join(names[:2]) + "\n")
    return root


def test_depth_arrives_in_metres_whatever_the_file_stores(tmp_path):
    wide = NYUv2(write_frames(tmp_path / "wide"), "train")[0]
    assert wide.others["depth"][0, 10] == pytest.approx(1.5)
    narrow = NYUv2(write_frames(tmp_path / "narrow", depth_dtype=np.uint8), "train")[0]
    assert narrow.others["depth"][0, 10] == pytest.approx(40 * 10 / 255)


def test_split_and_limit_choose_the_frames(tmp_path):
    root = write_frames(tmp_path)
    assert len(NYUv2(root, "train")) == 4
    assert NYUv2(root, "test").names == ["000001", "000002"]
    assert len(NYUv2(root, "train", limit=3)) == 3


def test_layout_errors_name_the_file(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.txt is missing"):
        NYUv2(tmp_path / "nothing", "train")
    root = write_frames(tmp_path / "data")
    (root / "depth" / "000002.png").unlink()
    with pytest.raises(DatasetError, match=r"1 problem in .*\n.*000002\.png is missing \(depth of frame 000002"):
        NYUv2(root, "train")
    (root / "depth" / "000001.png").write_bytes(b"not an image")
    (root / "train.txt").write_text("000001")
    with pytest.raises(DatasetError, match=r"000001\.png is no image"):
        NYUv2(root, "train")[0]


def test_tasks_have_a_color_for_every_class():
    assert len(nyuv2_task(13).class_names) == 13
    assert len(set(evenly_spread_palette(39))) == 39
    with pytest.raises(ValueError, match="13 and 39"):
        nyuv2_task(40)


def test_augmentation_moves_all_modalities_together():
    """Depth and labels are made from the same ramp, so they must still agree wherever the frame is inside the crop."""
    ramp = np.tile(np.arange(200, dtype=np.float32), (150, 1))
    frame = Sample("ramp", np.full((150, 200, 3), 128, np.uint8), {"depth": ramp + 1}, ramp.astype(np.uint8))
    how = Augmentation(crop=(96, 128), scale=(0.5, 2.0), color=0.0, blur=0.0)
    sizes = set()
    for seed in range(20):
        found = augment(frame, how, np.random.default_rng(seed), ignore_index=255)
        assert found.rgb.shape == (96, 128, 3)
        inside = found.labels != 255
        np.testing.assert_array_equal(found.others["depth"][inside], found.labels[inside] + 1.0)
        assert (found.others["depth"][~inside] == 0).all()
        assert (found.rgb[~inside] == 0).all()
        sizes.add(len(np.unique(found.labels)))
    assert len(sizes) > 5, "the scale should vary"


def test_augmentation_is_a_function_of_the_seed():
    frame = Sample(
        "noise",
        np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8),
        {"depth": np.ones((60, 80), np.float32)},
        np.zeros((60, 80), np.uint8),
    )
    how = Augmentation(crop=(32, 32))
    first, again, other = (augment(frame, how, np.random.default_rng(seed), 255).rgb for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_epoch_visits_every_frame_once_in_its_own_order():
    pairs = [pair for step in range(14) for pair in frames_of_step(7, 3, seed=1, step=step)]
    for epoch in range(6):
        assert sorted(index for e, index in pairs if e == epoch) == list(range(7))
    assert [i for e, i in pairs if e == 0] != [i for e, i in pairs if e == 1]


def test_frames_of_a_step_stay_the_ones_that_published_runs_saw():
    assert frames_of_step(7, 3, seed=1, step=2) == [(0, 3), (1, 6), (1, 1)]


def test_batches_do_not_depend_on_where_reading_started(tmp_path):
    dataset = NYUv2(write_frames(tmp_path), "train")
    how = Augmentation(crop=(32, 48))
    fields = {"batch_size": 2, "seed": 3, "last_step": 5}
    all_steps = list(training_batches(dataset, how, first_step=0, **fields))
    later = list(training_batches(dataset, how, first_step=3, **fields))
    assert len(all_steps) == 5
    for expected, found in zip(all_steps[3:], later, strict=True):
        assert (expected.labels == found.labels).all()
        assert all((a == b).all() for a, b in zip(expected.inputs, found.inputs, strict=True))

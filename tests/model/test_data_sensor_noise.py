import dataclasses

import numpy as np
import pytest
from pydantic import TypeAdapter

from geminifusion_model.data.augment import Augmentation, augment
from geminifusion_model.data.loader import training_batches
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.data.sensor_noise import MISSING_RGB, Corruption, Curriculum, SensorNoise, corrupt, without

SIZE = (60, 80)
ALWAYS = {"probability": 1.0}


def frame(seed=0):
    random = np.random.default_rng(seed)
    return Sample(
        f"frame{seed}",
        random.integers(1, 255, (*SIZE, 3), np.uint8),
        {"depth": random.uniform(1, 8, SIZE).astype(np.float32)},
        random.integers(0, 13, SIZE, np.uint8),
    )


def corrupted(how, strength=1.0, seed=0):
    return corrupt(frame(), how, np.random.default_rng(seed), strength)


def share_of_zeros(found):
    return (found.rgb == 0).all(axis=2).mean(), (found.others["depth"] == 0).mean()


def share_missing(found):
    return (found.rgb == MISSING_RGB).all(axis=2).mean(), (found.others["depth"] == 0).mean()


def test_one_whole_modality_is_missing_and_never_both():
    lost = {"rgb": 0, "depth": 0}
    for seed in range(60):
        rgb, depth = share_missing(corrupted(SensorNoise(missing=0.8), seed=seed))
        assert rgb in (0, 1)
        assert depth in (0, 1)
        assert rgb + depth <= 1
        lost["rgb"] += rgb
        lost["depth"] += depth
    assert lost["rgb"] > 12
    assert lost["depth"] > 12
    assert 38 < lost["rgb"] + lost["depth"] < 58


def test_zeroed_pixels_lose_all_their_channels():
    shares = [share_of_zeros(corrupted(SensorNoise(zeroed=Corruption(**ALWAYS, most=0.6)), seed=s)) for s in range(20)]
    assert max(rgb for rgb, _ in shares) == pytest.approx(0.55, abs=0.08)
    assert np.mean([depth for _, depth in shares]) == pytest.approx(0.3, abs=0.12)


def test_salt_is_the_largest_value_and_pepper_is_zero():
    found = corrupted(SensorNoise(salt_and_pepper=Corruption(**ALWAYS, most=1.0)), seed=1)
    changed = found.others["depth"] != frame().others["depth"]
    assert set(np.unique(found.others["depth"][changed])) == {0, frame().others["depth"].max()}
    touched = (found.rgb != frame().rgb).any(axis=2)
    assert set(np.unique(found.rgb[touched])) == {0, 255}


def test_holes_are_patches_in_depth_only():
    found = corrupted(SensorNoise(holes=Corruption(**ALWAYS, most=0.5)), seed=2)
    np.testing.assert_array_equal(found.rgb, frame().rgb)
    holes = found.others["depth"] == 0
    assert 0.01 < holes.mean() <= 0.5
    # most neighbours of a hole are holes too, unlike among single pixels
    assert holes[:, 1:][holes[:, :-1]].mean() > 0.8


def test_misregistration_moves_depth_against_the_picture():
    found = corrupted(SensorNoise(misregistration=Corruption(**ALWAYS, most=0.1)), seed=3)
    np.testing.assert_array_equal(found.rgb, frame().rgb)
    before, after = frame().others["depth"], found.others["depth"]
    shifts = [
        (y, x)
        for y in range(-8, 9)
        for x in range(-8, 9)
        if np.array_equal(np.roll(before, (y, x), (0, 1))[8:-8, 8:-8], after[8:-8, 8:-8])
    ]
    assert len(shifts) == 1
    assert shifts != [(0, 0)]


FULL = SensorNoise(
    missing=0.3,
    zeroed=Corruption(probability=0.5, most=0.3),
    salt_and_pepper=Corruption(probability=0.5, most=0.1),
    holes=Corruption(probability=0.5, most=0.4),
    misregistration=Corruption(probability=0.5, most=0.05),
    curriculum=Curriculum(begin=2, end=6),
)


def test_strength_zero_changes_nothing_and_the_source_is_never_written_to():
    source = frame()
    found = corrupt(source, FULL, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(found.rgb, source.rgb)
    np.testing.assert_array_equal(found.others["depth"], source.others["depth"])
    for seed in range(10):
        corrupt(source, FULL, np.random.default_rng(seed))
    np.testing.assert_array_equal(source.rgb, frame().rgb)
    np.testing.assert_array_equal(source.others["depth"], frame().others["depth"])


def test_amounts_grow_with_strength():
    how = SensorNoise(zeroed=Corruption(**ALWAYS, most=0.8))
    shares = [share_of_zeros(corrupted(how, strength, seed=5))[1] for strength in (0.0, 0.25, 0.5, 1.0)]
    assert shares[0] == 0
    assert shares[1] < shares[2] < shares[3]


def test_curriculum_rises_evenly_between_its_steps():
    curriculum = Curriculum(begin=100, end=300)
    assert [curriculum.strength(step) for step in (0, 100, 200, 300, 9999)] == [0, 0, 0.5, 1, 1]
    assert Curriculum().strength(0) == 1


def test_augmentation_without_noise_draws_the_same_frames_as_with_noise_of_no_strength():
    plain = Augmentation(crop=(32, 48))
    noisy = dataclasses.replace(plain, noise=FULL)
    for seed in range(5):
        wanted = augment(frame(), plain, np.random.default_rng(seed), 255)
        found = augment(frame(), noisy, np.random.default_rng(seed), 255, step=0)
        np.testing.assert_array_equal(found.rgb, wanted.rgb)
        np.testing.assert_array_equal(found.others["depth"], wanted.others["depth"])


class Frames:
    task = nyuv2_task(13)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return frame(index)


def test_noisy_batches_do_not_depend_on_where_training_resumed():
    how = Augmentation(crop=(32, 48), noise=FULL)
    fields = {"batch_size": 2, "seed": 3, "last_step": 8}
    whole = list(training_batches(Frames(), how, first_step=0, **fields))
    resumed = list(training_batches(Frames(), how, first_step=5, **fields))
    for expected, found in zip(whole[5:], resumed, strict=True):
        assert all((a == b).all() for a, b in zip(expected.inputs, found.inputs, strict=True))


def test_noise_is_part_of_a_configuration():
    how = Augmentation(crop=(32, 48), noise=FULL)
    adapter = TypeAdapter(Augmentation)
    assert adapter.validate_python(adapter.dump_python(how, mode="json")) == how


def test_a_modality_can_be_taken_away_by_name():
    assert share_missing(without(frame(), "depth")) == (0, 1)
    assert share_missing(without(frame(), "rgb")) == (1, 0)
    with pytest.raises(ValueError, match="it has rgb, depth"):
        without(frame(), "thermal")


def test_noise_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Corruption(probability=0.5, most=1.5)
    with pytest.raises(ValueError, match="0 <= begin <= end"):
        Curriculum(begin=10, end=5)
    with pytest.raises(ValueError, match="probability"):
        SensorNoise(missing=2.0)

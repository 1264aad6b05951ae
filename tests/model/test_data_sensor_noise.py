import dataclasses

import numpy as np
import pytest
from pydantic import TypeAdapter

from geminifusion_model.data.augment import Augmentation, augment
from geminifusion_model.data.loader import training_batches
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.data.sensor_noise import (
    MISSING_RGB,
    Curriculum,
    RandomCorruption,
    SensorNoise,
    corrupt,
    without,
)

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


def counted_missing(missing, strength=1.0, frames=200):
    """How often the RGB and how often depth is missing in so many frames."""
    lost = np.zeros(2)
    for seed in range(frames):
        shares = share_missing(corrupted(SensorNoise(missing=missing), strength, seed))
        assert set(shares) <= {0, 1}
        assert sum(shares) <= 1, "both are missing"
        lost += shares
    return lost


def test_each_modality_is_missing_as_often_as_its_own_rate_says_and_never_both():
    rgb, depth = counted_missing({"rgb": 0.1, "depth": 0.6})
    # four deviations of a binomial distribution
    assert rgb == pytest.approx(20, abs=17)
    assert depth == pytest.approx(120, abs=28)
    assert counted_missing({"rgb": 0.5, "depth": 0.5}).sum() == 200


def test_a_modality_without_a_rate_is_never_missing():
    rgb, depth = counted_missing({"depth": 0.5}, frames=60)
    assert rgb == 0
    assert 15 < depth < 45
    assert not counted_missing({}, frames=20).any()


def test_strength_scales_the_rates_of_missing_modalities():
    assert 10 < counted_missing({"depth": 1.0}, strength=0.25, frames=100)[1] < 43


def test_noise_for_a_modality_the_frames_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"names thermal, but the frames have rgb, depth"):
        corrupted(SensorNoise(missing={"thermal": 0.1}))
    SensorNoise(missing={"rgb": 0.1, "lidar": 0.2}).check_modalities(("rgb", "depth", "lidar"))


def test_the_only_modality_cannot_be_missing():
    with pytest.raises(ValueError, match="nothing else"):
        SensorNoise(missing={"rgb": 0.1}).check_modalities(("rgb",))
    SensorNoise(missing={"rgb": 0.0}).check_modalities(("rgb",))


def test_zeroed_pixels_lose_all_their_channels():
    shares = [
        share_of_zeros(corrupted(SensorNoise(zeroed=RandomCorruption(**ALWAYS, most=0.6)), seed=s)) for s in range(20)
    ]
    assert max(rgb for rgb, _ in shares) == pytest.approx(0.55, abs=0.08)
    assert np.mean([depth for _, depth in shares]) == pytest.approx(0.3, abs=0.12)


def test_salt_is_the_largest_value_and_pepper_is_zero():
    found = corrupted(SensorNoise(salt_and_pepper=RandomCorruption(**ALWAYS, most=1.0)), seed=1)
    changed = found.others["depth"] != frame().others["depth"]
    assert set(np.unique(found.others["depth"][changed])) == {0, frame().others["depth"].max()}
    touched = found.rgb != frame().rgb
    assert set(np.unique(found.rgb[touched])) == {0, 255}
    assert touched.any(axis=2).mean() > touched.all(axis=2).mean(), "each channel is hit by itself"


def test_gaussian_noise_spreads_by_a_share_of_the_largest_value_and_leaves_the_unmeasured():
    source = dataclasses.replace(
        frame(), rgb=np.full((*SIZE, 3), 128, np.uint8), others={"depth": np.full(SIZE, 4.0, np.float32)}
    )
    source.others["depth"][:30] = 0
    spread = {"rgb": [], "depth": []}
    for seed in range(40):
        how = SensorNoise(gaussian=RandomCorruption(**ALWAYS, most=0.1))
        found = corrupt(source, how, np.random.default_rng(seed))
        assert not found.others["depth"][:30].any()
        assert found.others["depth"][30:].min() > 0
        spread["rgb"].append(found.rgb.std() / 255)
        spread["depth"].append(found.others["depth"][30:].std() / 4)
    for found in spread.values():
        # uniform from 0 to 0.1
        assert np.mean(found) == pytest.approx(0.05, abs=0.015)
        assert max(found) == pytest.approx(0.1, abs=0.02)


def test_holes_are_patches_in_depth_only():
    found = corrupted(SensorNoise(holes=RandomCorruption(**ALWAYS, most=0.5)), seed=2)
    np.testing.assert_array_equal(found.rgb, frame().rgb)
    holes = found.others["depth"] == 0
    assert 0.01 < holes.mean() <= 0.5
    # most neighbors of a hole are holes too, unlike among single pixels
    assert holes[:, 1:][holes[:, :-1]].mean() > 0.8


def test_misregistration_moves_depth_against_the_rgb():
    found = corrupted(SensorNoise(misregistration=RandomCorruption(**ALWAYS, most=0.1)), seed=3)
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
    missing={"rgb": 0.1, "depth": 0.2},
    zeroed=RandomCorruption(probability=0.5, most=0.3),
    salt_and_pepper=RandomCorruption(probability=0.5, most=0.1),
    gaussian=RandomCorruption(probability=0.5, most=0.1),
    holes=RandomCorruption(probability=0.5, most=0.4),
    misregistration=RandomCorruption(probability=0.5, most=0.05),
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
    how = SensorNoise(zeroed=RandomCorruption(**ALWAYS, most=0.8))
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
        RandomCorruption(probability=0.5, most=1.5)
    with pytest.raises(ValueError, match="0 <= begin <= end"):
        Curriculum(begin=10, end=5)
    for rates in ({"rgb": 2.0}, {"depth": -0.1}, {"rgb": 0.6, "depth": 0.5}, {"rgb": float("nan")}):
        with pytest.raises(ValueError, match="probabilities that sum to at most 1"):
            SensorNoise(missing=rates)

"""Against numbers made with the original's own transforms (tests/golden/README.md)."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from geminifusion_model.data.augment import augment
from geminifusion_model.data.depth_encodings import raw_encoding
from geminifusion_model.data.original_recipe import (
    OriginalAugmentation,
    blurred,
    evaluation_sizes,
    fitted_size,
    jitter_colors,
    padded_crop,
    resized,
)
from geminifusion_model.data.sample import Sample
from geminifusion_model.encoding import encode
from geminifusion_model.task import IMAGENET_RGB

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "transforms_main.npz")
CROP = (32, 48)


def golden(name):
    """An array of the golden file, channels last."""
    array = GOLDEN[name]
    return np.moveaxis(array, 0, 2) if array.ndim == 3 else array


def golden_sample(height, width):
    rs = np.random.RandomState(4)
    rgb = rs.randint(0, 256, (3, height, width))
    depth = np.repeat(rs.randint(0, 256, (1, height, width)), 3, axis=0)
    labels = rs.randint(0, 40, (height, width))
    return {
        "rgb": np.moveaxis(rgb, 0, 2).astype(np.float32),
        "depth": np.moveaxis(depth, 0, 2).astype(np.float32),
        "mask": labels,
    }


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_resized_crops_are_the_originals(seed, antialias):
    sample = golden_sample(37, 53)
    # the golden file's draws came from Python's generator, in this order
    draws = random.Random(seed)
    size = fitted_size((37, 53), CROP, 0.5 + 1.5 * draws.random())
    start = tuple(draws.randint(0, max(s - c, 0) + 1) for s, c in zip(size, CROP, strict=True))
    for name, mode, fill in (("rgb", "bilinear", 0), ("depth", "bilinear", 0), ("mask", "nearest", 255)):
        found = padded_crop(resized(sample[name], size, mode, antialias), start, CROP, fill)
        wanted = golden(f"rrc{seed}_{'aa' if antialias else 'noaa'}_{name}")
        np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["aa", "noaa"])
def test_evaluation_resizes_twice_as_the_original(kind):
    sample = golden_sample(37, 53)
    first, second = evaluation_sizes((37, 53), 32)
    assert second == (32, 64)
    for name, mode in (("rgb", "bilinear"), ("depth", "bilinear"), ("mask", "nearest")):
        once = resized(sample[name], first, mode, kind == "aa")
        found = resized(once, second, mode, kind == "aa")
        np.testing.assert_allclose(found, golden(f"resize_{kind}_{name}"), atol=1e-3)


def test_evaluation_sizes_of_published_data_sets():
    assert evaluation_sizes((480, 640), 480) == ((480, 640), (480, 640))
    assert evaluation_sizes((530, 730), 480) == ((480, 661), (480, 672))


def test_jitter_blanks_floats_as_in_the_original():
    factors = tuple(GOLDEN["jitter_params"])
    found = jitter_colors(golden("jitter_rgb_in").astype(np.float32), factors, blank=True)
    np.testing.assert_allclose(found, golden("jitter_rgb_out"), atol=1e-5)
    assert found.max() <= 1


def test_jitter_without_the_accident_keeps_the_image():
    rgb = golden("jitter_rgb_in").astype(np.float32)
    found = jitter_colors(rgb, tuple(GOLDEN["jitter_params"]), blank=False)
    assert np.corrcoef(found.ravel(), rgb.ravel())[0, 1] > 0.98
    assert (found == np.floor(found)).all()
    np.testing.assert_array_equal(jitter_colors(rgb, (1.0, 1.0, 1.0), blank=False), rgb)


def test_blur_is_the_originals():
    np.testing.assert_allclose(blurred(golden_sample(20, 21)["rgb"]), golden("blur_rgb"), atol=1e-3)


def test_our_encodings_normalize_as_the_original():
    sample = golden_sample(8, 9)
    rgb = torch.from_numpy(sample["rgb"])[None]
    np.testing.assert_allclose(encode(rgb, IMAGENET_RGB)[0], GOLDEN["norm_rgb"], atol=1e-5)
    depth = torch.from_numpy(sample["depth"])
    np.testing.assert_allclose(encode(depth[None], raw_encoding("depth", 3))[0], GOLDEN["norm_depth"], atol=1e-6)
    one = encode(depth[None, ..., 0], raw_encoding("depth", 1))
    np.testing.assert_allclose(one[0], GOLDEN["norm_depth"], atol=1e-6)


def ramp_frame():
    ramp = np.tile(np.arange(200, dtype=np.float32), (150, 1))
    rgb = np.repeat((ramp[..., None] / 2 + 60), 3, axis=2).astype(np.uint8)
    return Sample("ramp", rgb, {"depth": ramp + 1, "event": np.dstack([ramp] * 3)}, ramp.astype(np.uint8))


def test_all_modalities_and_labels_move_together_and_padding_is_ignored():
    how = OriginalAugmentation(crop=(96, 128), jitter=0.0, blur=0.0)
    padded = 0
    for seed in range(30):
        found = augment(ramp_frame(), how, np.random.default_rng(seed), 255)
        assert found.rgb.shape == (96, 128, 3)
        assert found.others["event"].shape == (96, 128, 3)
        inside = found.labels != 255
        # labels take the nearest pixel, depth is interpolated
        assert np.abs(found.others["depth"][inside] - 1 - found.labels[inside]).max() <= 3
        assert (found.others["depth"][~inside] == 0).all()
        padded += not inside.all()
    assert 5 < padded < 25


def test_blanked_frames_come_as_often_as_jittered_ones():
    frame = ramp_frame()
    accident = OriginalAugmentation(crop=(64, 64), flip=0.0, blur=0.0)
    blank = [augment(frame, accident, np.random.default_rng(seed), 255).rgb.max() <= 1 for seed in range(200)]
    assert 0.13 < np.mean(blank) < 0.27
    intended = OriginalAugmentation(crop=(64, 64), flip=0.0, blur=0.0, color_jitter_blanks_rgb=False)
    assert all(augment(frame, intended, np.random.default_rng(s), 255).rgb.max() > 20 for s in range(50))


def test_the_same_generator_state_gives_the_same_frame():
    how = OriginalAugmentation(crop=(64, 64))
    first, again, other = (augment(ramp_frame(), how, np.random.default_rng(seed), 255) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("wrong", [{"crop": (16, 64)}, {"scale": (2.0, 0.5)}, {"jitter": 1.2}, {"flip": -0.1}])
def test_recipes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OriginalAugmentation(**{"crop": (64, 64), **wrong})

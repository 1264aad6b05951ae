"""The named configurations: the published ones against the numbers of the authors' code, and all of them run."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sensor_noise import Curriculum, RandomCorruption
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.initialization import check_starts
from geminifusion_model.training.loop.run import TrainingRun
from geminifusion_model.training.loop.schedule import rate_factor
from geminifusion_model.training.recipes.named import RECIPES, named_recipe
from geminifusion_model.training.recipes.original import deliver_original, nyuv2_original, sunrgbd_original

SIZE = (64, 80)

# recipe: encoder, drop path, weight decay, steps of the stages
STAGED = {
    "nyuv2-b3-original": ("mit_b3", 0.4, 0.01, (13200,) * 3),
    "nyuv2-b5-original": ("mit_b5", 0.35, 0.01, (13200,) * 3),
    "nyuv2-swin-tiny-original": ("swin_tiny", 0.2, 0.01, (13200,) * 3),
    "nyuv2-swin-small-original": ("swin_small", 0.4, 0.01, (13200,) * 3),
    "nyuv2-swin-large-original": ("swin_large", 0.4, 0.01, (13200,) * 3),
    "nyuv2-swin-large-384-original": ("swin_large_window12", 0.2, 0.01, (13200,) * 3),
    "nyuv2-swin-large-384-from-sunrgbd-original": ("swin_large_window12", 0.15, 0.01, (13200, 26400, 13200)),
    "sunrgbd-b3-original": ("mit_b3", 0.4, 0.01, (66100,) * 3),
    "sunrgbd-b5-original": ("mit_b5", 0.4, 0.05, (66100,) * 3),
    "sunrgbd-swin-tiny-original": ("swin_tiny", 0.4, 0.01, (66100,) * 3),
    "sunrgbd-swin-large-384-original": ("swin_large_window12", 0.4, 0.01, (66100,) * 3),
}
DELIVER = {
    "deliver-b2-rgbd-original": (("rgb", "depth"), 0.4),
    "deliver-b2-rgbe-original": (("rgb", "event"), 0.4),
    "deliver-b2-rgbl-original": (("rgb", "lidar"), 0.4),
    "deliver-b2-rgbdel-original": (("rgb", "depth", "event", "lidar"), 0.2),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_validates_and_survives_yaml(name, tmp_path):
    recipe = named_recipe(name)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert TrainingConfig.from_yaml(tmp_path / "recipe.yaml") == recipe


def test_every_published_recipe_is_compared_with_its_published_values():
    staged = {f"{name}{suffix}" for name in STAGED for suffix in ("", "-stage2", "-stage3")}
    assert {name for name in RECIPES if "original" in name} == staged | set(DELIVER)


@pytest.mark.parametrize("name", STAGED)
def test_staged_recipes_have_the_published_values(name):
    encoder, drop_path, weight_decay, steps = STAGED[name]
    nyu = name.startswith("nyuv2")
    for stage, rate in enumerate((6e-5, 3e-5, 1.5e-5)):
        config = named_recipe(name if stage == 0 else f"{name}-stage{stage + 1}")
        assert (config.network.encoder, config.network.drop_path_rate) == (encoder, drop_path)
        assert (config.network.num_classes, config.batch_size) == ((40, 6) if nyu else (37, 8))
        assert config.network.modalities == ("rgb", "depth")
        assert (config.network.decoder_channels, config.network.upsample_logits) == (256, False)
        assert config.augmentation == OriginalAugmentation(crop=(480, 640) if nyu else (480, 480))
        assert config.augmentation.color_jitter_blanks_rgb
        assert (config.learning_rate, config.decoder_factor, config.weight_decay) == (rate, 10, weight_decay)
        assert config.steps == steps[stage]
        assert (config.schedule, config.warmup_steps, config.warmup_ratio) == ("poly", 1500, 1e-6)
        assert (config.decay_power, config.decay_steps) == (1, 40000)
        assert (config.parameter_groups, config.loss, config.freeze_decoder_norm) == ("original", "cross_entropy", True)
        assert (config.gradient_clip, config.ema_decay, config.precision) == (None, 0, "float32")
        assert config.seed == 42 + stage


@pytest.mark.parametrize("name", DELIVER)
def test_deliver_recipes_have_the_published_values(name):
    modalities, drop_path = DELIVER[name]
    config = named_recipe(name)
    assert (config.network.encoder, config.network.num_classes) == ("mit_b2", 25)
    assert (config.network.modalities, config.network.drop_path_rate) == (modalities, drop_path)
    assert (config.network.decoder_channels, config.network.upsample_logits) == (512, True)
    assert config.augmentation == OriginalAugmentation(crop=(1024, 1024), color_jitter_blanks_rgb=False)
    assert (config.steps, config.batch_size) == (200 * 497, 8)
    assert (config.learning_rate, config.decoder_factor, config.weight_decay) == (2e-4, 10, 0.01)
    assert (config.parameter_groups, config.loss, config.freeze_decoder_norm) == ("deliver", "ohem", False)
    assert (config.schedule, config.warmup_steps, config.warmup_ratio) == ("poly_after_warmup", 10 * 497, 0.1)
    assert (config.decay_power, config.decay_steps) == (0.9, 201 * 497)
    assert (config.sync_batch_norm, config.precision, config.seed) == (False, "float32", 3407)


@pytest.mark.parametrize(
    ("name", "step", "factor"),
    [
        # t < 1500: 1 - (1 - t / 1500)(1 - 1e-6), then 1 - t / 40000, then at rest
        ("nyuv2-b3-original", 0, 1e-6),
        ("nyuv2-b3-original", 1500, 0.9625),
        ("nyuv2-b3-original", 13199, 0.670025),
        ("sunrgbd-b3-original-stage3", 39999, 2.5e-5),
        ("sunrgbd-b3-original-stage3", 66099, 2.5e-5),
        # 0.1 + 0.9 t / w, then (1 - (t - w) / (T - w))^0.9 with w = 10 epochs and T = 201 epochs of 497 steps
        ("deliver-b2-rgbd-original", 0, 0.1),
        ("deliver-b2-rgbd-original", 497, 0.19),
        ("deliver-b2-rgbd-original", 4970, 1.0),
        ("deliver-b2-rgbd-original", 4970 + 19 * 497, (172 / 191) ** 0.9),
        ("deliver-b2-rgbd-original", 200 * 497 - 1, (498 / 94927) ** 0.9),
    ],
)
def test_rates_follow_the_published_schedule(name, step, factor):
    assert rate_factor(named_recipe(name), step) == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize("name", ["rooms-b0", "nyuv2-b0-from-rooms", "nyuv2-b0-distilled"])
def test_our_robust_recipes_have_the_same_sensor_noise_and_class_balance(name):
    config = named_recipe(name)
    noise = config.augmentation.noise
    assert noise.zeroed == RandomCorruption(probability=0.2, most=0.3)
    assert noise.salt_and_pepper == RandomCorruption(probability=0.2, most=0.2)
    assert noise.holes == RandomCorruption(probability=0.3, most=0.4)
    assert noise.misregistration == RandomCorruption(probability=0.1, most=0.02)
    assert (config.class_balance, config.gradient_clip, config.weight_decay, config.warmup_steps) == (0.5, 5, 0.03, 150)
    assert config.augmentation.crop == (192, 256)


@pytest.mark.parametrize("name", ["rooms-b0", "nyuv2-b0-from-rooms"])
def test_without_photographs_depth_is_missing_more_often_than_rgb(name):
    config = named_recipe(name)
    assert config.augmentation.noise.missing == {"rgb": 0.1, "depth": 0.25}
    assert (config.batch_size, config.decoder_factor, config.ema_decay) == (6, 2, 0.998)


def test_the_recipes_from_random_weights_differ_in_scale_and_length():
    rooms, frames = named_recipe("rooms-b0"), named_recipe("nyuv2-b0-from-rooms")
    assert (rooms.steps, rooms.learning_rate, rooms.input_scale, rooms.seed) == (2000, 6e-4, 1.0, 11)
    assert (rooms.augmentation.scale, rooms.holdout, rooms.evaluate_every) == ((0.76, 1.8), 60, 500)
    assert rooms.augmentation.noise.curriculum == Curriculum(begin=0, end=500)
    assert rooms.start_from is None
    assert (frames.steps, frames.learning_rate, frames.input_scale, frames.seed) == (4000, 5e-4, 0.5, 12)
    assert (frames.augmentation.scale, frames.holdout, frames.evaluate_every) == ((0.38, 0.9), 40, 800)
    assert frames.augmentation.noise.curriculum == Curriculum(begin=0, end=1500)
    assert frames.network == rooms.network


def test_the_recipe_of_the_bundled_model_takes_three_of_eight_frames_from_photographs():
    config = named_recipe("nyuv2-b0-distilled")
    assert (config.steps, config.batch_size, config.further_per_batch) == (4000, 8, 3)
    assert (config.learning_rate, config.decoder_factor, config.ema_decay) == (4e-4, 2.5, 0.999)
    assert config.augmentation.noise.missing == {"rgb": 0.12, "depth": 0.12}
    assert (config.holdout, config.seed, config.precision, config.input_scale) == (40, 16, "bfloat16", 0.5)
    assert config.network == named_recipe("nyuv2-b0-from-scratch").network


def test_the_hardened_recipe_goes_on_gently_with_more_noise_and_the_norm_that_an_artifact_has():
    config, before = named_recipe("nyuv2-b0-hardened"), named_recipe("nyuv2-b0-distilled")
    assert config.freeze_decoder_norm
    assert (config.steps, config.learning_rate, config.seed, config.precision) == (800, 1e-4, 18, "float32")
    noise = config.augmentation.noise
    assert noise.salt_and_pepper == RandomCorruption(probability=0.4, most=0.2)
    assert noise.gaussian == RandomCorruption(probability=0.3, most=0.08)
    assert noise.missing == {"rgb": 0.15, "depth": 0.12}
    assert noise.curriculum.strength(0) == 1
    assert (noise.holes, noise.zeroed) == (before.augmentation.noise.holes, before.augmentation.noise.zeroed)
    assert (config.network, config.further_per_batch) == (before.network, before.further_per_batch)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"nyuv2-b0-from-scratch", "rooms-b0"}))
def test_a_recipe_that_needs_a_start_insists_on_it(name):
    recipe = named_recipe(name)
    setting = "start_from" if recipe.imagenet is None else "imagenet"
    with pytest.raises(ConfigError, match=rf"this recipe needs .+ pass --set {setting}=PATH"):
        check_starts(recipe)
    check_starts(recipe.model_copy(update={setting: None}))


def test_recipes_from_random_weights_need_nothing():
    check_starts(named_recipe("nyuv2-b0-from-scratch"))
    check_starts(named_recipe("rooms-b0"))


def test_unknown_recipes_are_refused_with_the_nearest_names():
    with pytest.raises(ConfigError, match="did you mean nyuv2-b3-original"):
        named_recipe("nyu-b3-original")
    with pytest.raises(ConfigError, match=r"the recipes are .*rooms-b0(?!.*-stage)"):
        named_recipe("?")


def test_runs_that_were_not_published_are_refused():
    with pytest.raises(ValueError, match="encoder is 'mit_b0'; runs were published with mit_b3"):
        nyuv2_original("mit_b0")
    with pytest.raises(ValueError, match="encoder is 'swin_small'"):
        sunrgbd_original("swin_small")
    with pytest.raises(ValueError, match="stage is 4"):
        nyuv2_original("mit_b3", stage=4)
    with pytest.raises(ValueError, match="known for two and for four"):
        deliver_original(("rgb", "depth", "event"))


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def stripes(first, last):
    """Labels in vertical stripes."""
    values = np.linspace(first, last, 5).astype(np.uint8)
    return np.tile(values[np.arange(SIZE[1]) * 5 // SIZE[1]], (SIZE[0], 1))


def image(number):
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)


def metres(number):
    return np.tile(np.linspace(1000, 1500 * number, SIZE[1]), (SIZE[0], 1)).astype(np.uint16)


def tiny_nyuv2(root):
    for number in (1, 2, 3):
        write(root / "rgb" / f"{number}.jpg", image(number))
        write(root / "depth" / f"{number}.png", metres(number))
        write(root / "label13" / f"{number}.png", stripes(0, 12))
        write(root / "label40" / f"{number}.png", stripes(0, 38))
    (root / "train.txt").write_text("1\n2\n3\n")


def tiny_listed(root, folders, labels):
    rgb, masks, depth = folders
    lines = []
    for number in (1, 2, 3):
        write(root / rgb / f"{number}.png", image(number))
        write(root / masks / f"{number}.png", labels)
        write(root / depth / f"{number}.png", metres(number))
        lines.append("\t".join(f"{folder}/{number}.png" for folder in folders))
    (root / "train.txt").write_text("\n".join(lines))


def tiny_nyuv2_lists(root):
    tiny_listed(root, ("rgb", "masks", "depth"), stripes(0, 39))


def tiny_sunrgbd(root):
    tiny_listed(root, ("RGB", "labels", "Depth"), stripes(0, 37))


def tiny_deliver(root):
    for number in (1, 2, 3):
        for folder, kind in (("img", "rgb"), ("hha", "depth"), ("event", "event"), ("lidar", "lidar")):
            write(root / folder / "fog/train/MAP_1" / f"{number}_{kind}_front.png", image(number))
        semantic = np.dstack([stripes(1, 25)] * 3)
        write(root / "semantic/fog/train/MAP_1" / f"{number}_semantic_front.png", semantic)


KINDS = {
    "nyuv2": tiny_nyuv2,
    "nyuv2-lists": tiny_nyuv2_lists,
    "sunrgbd": tiny_sunrgbd,
    "deliver": tiny_deliver,
}

ONE_STEP = [
    ("nyuv2-b0-from-rooms", "nyuv2"),
    ("nyuv2-b3-modern", "nyuv2"),
    ("nyuv2-b3-original", "nyuv2-lists"),
    ("sunrgbd-b5-original", "sunrgbd"),
    ("deliver-b2-rgbdel-original", "deliver"),
    # no other code runs for these
    pytest.param("nyuv2-b0-from-scratch", "nyuv2", marks=pytest.mark.slow),
    pytest.param("nyuv2-b0-robust", "nyuv2", marks=pytest.mark.slow),
    pytest.param("rooms-b0", "nyuv2", marks=pytest.mark.slow),
    pytest.param("deliver-b2-rgbd-original", "deliver", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "kind"), ONE_STEP)
def test_one_step_of_each_recipe_on_data_of_its_kind(name, kind, tmp_path):
    """The smallest encoder and small crops; everything else as the recipe says, but for compilation, which is slow."""
    recipe = named_recipe(name)
    small = {
        "network": dataclasses.replace(recipe.network, encoder="mit_b0", decoder_channels=16),
        "augmentation": dataclasses.replace(recipe.augmentation, crop=(64, 64)),
        "steps": 1,
        "batch_size": 2,
        "warmup_steps": 0,
        "holdout": 1,
        "compile": False,
        "further_per_batch": 0,
        "start_from": None,
        "imagenet": None,
        "allow_unlearnable_classes": True,
    }
    config = recipe.model_copy(update=small)
    KINDS[kind](tmp_path / "data")
    network = config.network
    frames = open_dataset(
        kind, tmp_path / "data", "train", num_classes=network.num_classes, modalities=network.modalities
    )
    run = TrainingRun(config, frames, tmp_path / "run")
    before = {key: value.clone() for key, value in run.net.state_dict().items()}
    scores = run.train()
    assert scores.frames == 1
    after = run.net.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    moved = [key for key, value in after.items() if not torch.equal(before[key], value)]
    assert any(key.startswith("encoder.") for key in moved)
    assert any(key.startswith("decoder.") for key in moved)


def test_compiled_swin_networks_are_refused():
    with pytest.raises(ConfigError, match=r"compile is true with encoder swin_tiny.*set compile to false"):
        TrainingConfig.checked(named_recipe("nyuv2-swin-tiny-original").model_dump(mode="json"), {"compile": True})

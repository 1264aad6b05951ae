"""The named training recipes: our own, and the table of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.sensor_noise import Curriculum, RandomCorruption, SensorNoise
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.recipes.lookup import find_recipe
from geminifusion_model.training.recipes.original import (
    STAGES,
    deliver_original,
    nyuv2_from_sunrgbd_original,
    nyuv2_original,
    sunrgbd_original,
)
from geminifusion_model.training.starts import required

_REDUCED_CROPS = Augmentation(crop=(192, 256), scale=(0.38, 0.9))

# Failures of depth and color cameras; depth fails more often, and networks rely on it.
_FAILING_SENSORS = SensorNoise(
    missing={"rgb": 0.1, "depth": 0.25},
    zeroed=RandomCorruption(probability=0.2, most=0.3),
    salt_and_pepper=RandomCorruption(probability=0.2, most=0.2),
    holes=RandomCorruption(probability=0.3, most=0.4),
    misregistration=RandomCorruption(probability=0.1, most=0.02),
)


def nyuv2_b0_from_scratch() -> TrainingConfig:
    """GeminiFusion-B0 without ImageNet weights on two CPU cores: small crops of reduced frames, a high rate."""
    return TrainingConfig(
        network=GeminiFusionConfig(encoder="mit_b0", num_classes=13, drop_path_rate=0.05),
        augmentation=_REDUCED_CROPS,
        steps=3600,
        batch_size=6,
        learning_rate=5e-4,
        decoder_factor=2.0,
        weight_decay=0.03,
        warmup_steps=150,
        decay_power=1.0,
        gradient_clip=5.0,
        ema_decay=0.998,
        input_scale=0.5,
        seed=7,
        holdout=40,
        evaluate_every=600,
        checkpoint_every=100,
    )


def nyuv2_b0_robust() -> TrainingConfig:
    """Second stage of `nyuv2_b0_from_scratch`: the same frames seen by failing sensors."""
    noise = SensorNoise(
        missing={"rgb": 0.15, "depth": 0.15},
        zeroed=RandomCorruption(probability=0.3, most=0.3),
        salt_and_pepper=RandomCorruption(probability=0.3, most=0.2),
        holes=RandomCorruption(probability=0.5, most=0.5),
        misregistration=RandomCorruption(probability=0.2, most=0.02),
        curriculum=Curriculum(begin=0, end=500),
    )
    return _varied(
        nyuv2_b0_from_scratch(),
        start_from=required("the best checkpoint (RUN/best) of a nyuv2-b0-from-scratch run"),
        augmentation=dataclasses.replace(_REDUCED_CROPS, noise=noise),
        steps=1400,
        learning_rate=3e-4,
        warmup_steps=50,
        seed=8,
        evaluate_every=500,
    )


def rooms_b0() -> TrainingConfig:
    """First step of the bundled model: B0 from random weights on rendered rooms of 240x320 pixels.

    These are as large as NYUv2's frames after `input_scale` 0.5, so crops show things at the sizes that the second
    half, `nyuv2_b0_from_rooms`, shows them at.
    """
    noise = dataclasses.replace(_FAILING_SENSORS, curriculum=Curriculum(begin=0, end=500))
    return _varied(
        nyuv2_b0_from_scratch(),
        augmentation=Augmentation(crop=(192, 256), scale=(0.76, 1.8), noise=noise),
        steps=2000,
        learning_rate=6e-4,
        class_balance=0.5,
        input_scale=1.0,
        seed=11,
        holdout=60,
        evaluate_every=500,
    )


def nyuv2_b0_from_rooms() -> TrainingConfig:
    """Second step of the bundled model: `rooms_b0` goes on with NYUv2's training frames, seen by failing sensors."""
    noise = dataclasses.replace(_FAILING_SENSORS, curriculum=Curriculum(begin=0, end=1500))
    return _varied(
        nyuv2_b0_from_scratch(),
        start_from=required("a checkpoint (RUN/best or RUN/final) of a rooms-b0 run"),
        augmentation=dataclasses.replace(_REDUCED_CROPS, noise=noise),
        steps=4000,
        class_balance=0.5,
        seed=12,
        evaluate_every=800,
    )


def nyuv2_b0_distilled() -> TrainingConfig:
    """Last step of the bundled model: B0 from a distilled encoder, on NYUv2's frames and pseudo-labeled photographs.

    Three of eight frames of a batch are photographs, which have no depth; so depth need not be taken from the others
    as often as `_FAILING_SENSORS` does.
    """
    noise = dataclasses.replace(
        _FAILING_SENSORS, missing={"rgb": 0.12, "depth": 0.12}, curriculum=Curriculum(begin=0, end=1000)
    )
    return _varied(
        nyuv2_b0_from_scratch(),
        imagenet=required("the encoder of a distillation (RUN/final/mit_b0.pth)"),
        augmentation=dataclasses.replace(_REDUCED_CROPS, noise=noise),
        steps=4000,
        batch_size=8,
        further_per_batch=3,
        learning_rate=4e-4,
        decoder_factor=2.5,
        ema_decay=0.999,
        class_balance=0.5,
        precision="bfloat16",
        seed=16,
        evaluate_every=800,
    )


def nyuv2_b0_hardened() -> TrainingConfig:
    """What made the bundled model robust: a trained B0 goes on at a low rate, and most of its frames are noisy.

    On a processor with AVX-512 BF16, bfloat16 is faster.
    """
    noise = dataclasses.replace(
        _FAILING_SENSORS,
        missing={"rgb": 0.15, "depth": 0.12},
        salt_and_pepper=RandomCorruption(probability=0.4, most=0.2),
        gaussian=RandomCorruption(probability=0.3, most=0.08),
    )
    return _varied(
        nyuv2_b0_distilled(),
        imagenet=None,
        start_from=required("a trained B0: its checkpoint or its artifact"),
        freeze_decoder_norm=True,
        augmentation=dataclasses.replace(_REDUCED_CROPS, noise=noise),
        steps=800,
        learning_rate=1e-4,
        warmup_steps=50,
        precision="float32",
        seed=18,
        evaluate_every=400,
    )


def nyuv2_b3_modern() -> TrainingConfig:
    """MiT-B3 on one large GPU as one would train it today. Untested on GPU: take the numbers as a starting point.

    bfloat16, compiled, an average of the weights, cosine rate over about 300 epochs, trained BatchNorm, frames kept
    apart to choose by, failing sensors. Classes and metric depth of the data kind `nyuv2`; for 40 classes, which alone
    compare with published scores, take `nyuv2-lists` and set `network.num_classes`.
    """
    noise = dataclasses.replace(_FAILING_SENSORS, curriculum=Curriculum(begin=3000, end=15000))
    return TrainingConfig(
        network=GeminiFusionConfig(encoder="mit_b3", num_classes=39, drop_path_rate=0.4),
        augmentation=Augmentation(crop=(480, 640), noise=noise),
        imagenet=required("the ImageNet weights mit_b3.pth"),
        steps=28500,
        batch_size=8,
        learning_rate=6e-5,
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=1500,
        gradient_clip=5.0,
        ema_decay=0.999,
        precision="bfloat16",
        compile=True,
        holdout=40,
        evaluate_every=950,
        checkpoint_every=500,
    )


def _varied(config: TrainingConfig, **changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({**dict(config), **changes})


def _staged(name: str, stage_of: Callable[[int], TrainingConfig]) -> dict[str, Callable[[], TrainingConfig]]:
    """Stage 1 has the recipe's own name, the others a suffix."""
    return {name if stage == 1 else f"{name}-stage{stage}": partial(stage_of, stage) for stage in STAGES}


RECIPES: dict[str, Callable[[], TrainingConfig]] = {
    "nyuv2-b0-from-scratch": nyuv2_b0_from_scratch,
    "nyuv2-b0-robust": nyuv2_b0_robust,
    "rooms-b0": rooms_b0,
    "nyuv2-b0-from-rooms": nyuv2_b0_from_rooms,
    "nyuv2-b0-distilled": nyuv2_b0_distilled,
    "nyuv2-b0-hardened": nyuv2_b0_hardened,
    "nyuv2-b3-modern": nyuv2_b3_modern,
    **_staged("nyuv2-b3-original", partial(nyuv2_original, "mit_b3")),
    **_staged("nyuv2-b5-original", partial(nyuv2_original, "mit_b5")),
    **_staged("nyuv2-swin-tiny-original", partial(nyuv2_original, "swin_tiny")),
    **_staged("nyuv2-swin-small-original", partial(nyuv2_original, "swin_small")),
    **_staged("nyuv2-swin-large-original", partial(nyuv2_original, "swin_large")),
    **_staged("nyuv2-swin-large-384-original", partial(nyuv2_original, "swin_large_window12")),
    **_staged("nyuv2-swin-large-384-from-sunrgbd-original", nyuv2_from_sunrgbd_original),
    **_staged("sunrgbd-b3-original", partial(sunrgbd_original, "mit_b3")),
    **_staged("sunrgbd-b5-original", partial(sunrgbd_original, "mit_b5")),
    **_staged("sunrgbd-swin-tiny-original", partial(sunrgbd_original, "swin_tiny")),
    **_staged("sunrgbd-swin-large-384-original", partial(sunrgbd_original, "swin_large_window12")),
    "deliver-b2-rgbd-original": partial(deliver_original, ("rgb", "depth")),
    "deliver-b2-rgbe-original": partial(deliver_original, ("rgb", "event")),
    "deliver-b2-rgbl-original": partial(deliver_original, ("rgb", "lidar")),
    "deliver-b2-rgbdel-original": partial(deliver_original, ("rgb", "depth", "event", "lidar")),
}


def named_recipe(name: str) -> TrainingConfig:
    """The configuration of this name.

    Raises:
        ConfigError: there is none.
    """
    return find_recipe(RECIPES, name)

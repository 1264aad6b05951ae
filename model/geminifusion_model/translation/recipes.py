"""The named training recipes of translation.

`taskonomy-gen-b2` is the published one, of TokenFusion (arXiv:2204.08721), whose hyper-parameters GeminiFusion's paper
takes over: 300 epochs of 1000 views, one a step. Which backbone and which edge the paper's table used is not published;
b2 is the code's default. The others are ours, for two CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable

from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.training_config import TranslationTrainingConfig
from geminifusion_model.translation.transforms import TranslationAugmentation


def taskonomy_gen_b2() -> TranslationTrainingConfig:
    """RGB and texture edges to depth, 286 to 256 pixels, as published; set network.inputs and target for the others."""
    return TranslationTrainingConfig(
        network=TranslatorConfig(size="gen_b2", inputs=("rgb", "edge_texture"), target="depth_zbuffer"),
        size=(256, 256),
        augmentation=TranslationAugmentation(as_published=True),
        steps=300 * 1000,
        batch_size=1,
        evaluate_every=5000,
        checkpoint_every=500,
        log_every=50,
    )


def rooms_depth_gen_b0() -> TranslationTrainingConfig:
    """Depth of rendered rooms from RGB and occlusion edges."""
    return _small(("rgb", "edge_occlusion"), "depth")


def rooms_rgb_gen_b0() -> TranslationTrainingConfig:
    """RGB of rendered rooms from depth and normals."""
    return _small(("depth", "normal"), "rgb")


def nyuv2_depth_gen_b0() -> TranslationTrainingConfig:
    """Depth of NYUv2's frames from RGB and occlusion edges, more steps and fewer views held out than rooms."""
    return _small(("rgb", "edge_occlusion"), "depth", steps=4000, holdout=40)


def _small(inputs: tuple[str, ...], target: str, *, steps: int = 2000, holdout: int = 60) -> TranslationTrainingConfig:
    return TranslationTrainingConfig(
        network=TranslatorConfig(inputs=inputs, target=target, drop_path_rate=0.05),
        size=(128, 128),
        augmentation=TranslationAugmentation(),
        steps=steps,
        batch_size=4,
        schedule="cosine",
        warmup_steps=50,
        ema_decay=0.998,
        seed=21,
        holdout=holdout,
        evaluate_every=500,
    )


RECIPES: dict[str, Callable[[], TranslationTrainingConfig]] = {
    "taskonomy-gen-b2": taskonomy_gen_b2,
    "rooms-depth-gen-b0": rooms_depth_gen_b0,
    "rooms-rgb-gen-b0": rooms_rgb_gen_b0,
    "nyuv2-depth-gen-b0": nyuv2_depth_gen_b0,
}

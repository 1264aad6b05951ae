"""The original authors' training runs (arXiv:2406.01210, their code and its README), as far as they are known.

| | NYUv2 | SUN RGB-D | DeLiVER |
|---|---|---|---|
| data kind, classes | `nyuv2-lists`, 40 | `sunrgbd`, 37 | `deliver`, 25 |
| crop | 480x640 | 480x480 | 1024x1024 |
| processes x frames | 3 x 2 | 4 x 2 | 8 x 1 |
| steps | 3 stages of 100 epochs of 132 | 3 stages of 100 epochs of 661 | 200 epochs of 497 |
| rate of the encoder, decoder x10 | 6e-5, 3e-5, 1.5e-5 | the same | 2e-4 |
| loss, over three outputs | cross-entropy | cross-entropy | over hard pixels |
| the decoder's BatchNorm | frozen | frozen | trained, each process on its own frame |

From their code: optimizer, schedule, augmentation, loss, seeds, epochs and crops. From its README: drop path, and the
weight decay of MiT-B5 on SUN RGB-D. The paper itself gives one drop path for each data set: 0.4, 0.4 and 0.2.

A stage is a run of its own with a new optimizer; stages 2 and 3 start from the last weights of the stage before. Some
things differ from the original. Ours draws other random numbers, and each stage has a seed of its own, or it would draw
those of the stage before again. The original kept the weights with the best score on the *test* frames (on DeLiVER, the
validation frames); here nothing is chosen and `final` counts. And an ImageNet start fills a few norms more than theirs,
see `weights.imagenet`. We have made none of these runs, which need data and GPUs that we do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.starts import required

STAGES = (1, 2, 3)

_STAGE_RATES = (6e-5, 3e-5, 1.5e-5)

# The same however long a stage is: on NYUv2 a stage ends at 0.67 of its rate, on SUN RGB-D the rate rests at 1/40000
# from epoch 60 on.
_DECAY_STEPS = 40000

# Of 3983 frames in batches of 8. As on NYUv2 (795 in batches of 6) an epoch leaves the last few out; on SUN RGB-D
# (5285 in batches of 8) it does not.
_DELIVER_STEPS_PER_EPOCH = 497


@dataclass(frozen=True, kw_only=True)
class _DataSet:
    num_classes: int
    crop: tuple[int, int]
    batch_size: int
    steps_per_epoch: int


_NYU = _DataSet(num_classes=40, crop=(480, 640), batch_size=6, steps_per_epoch=132)
_SUN = _DataSet(num_classes=37, crop=(480, 480), batch_size=8, steps_per_epoch=661)

_IMAGENET_FILES = {
    "mit_b3": "mit_b3.pth",
    "mit_b5": "mit_b5.pth",
    "swin_tiny": "swin_tiny_patch4_window7_224.pth",
    "swin_small": "swin_small_patch4_window7_224.pth",
    "swin_large": "swin_large_patch4_window7_224_22k.pth",
    "swin_large_window12": "swin_large_patch4_window12_384_22k.pth",
}
_NYU_DROP_PATHS = {
    "mit_b3": 0.4,
    "mit_b5": 0.35,
    "swin_tiny": 0.2,
    "swin_small": 0.4,
    "swin_large": 0.4,
    "swin_large_window12": 0.2,
}
_SUN_WEIGHT_DECAYS = {"mit_b3": 0.01, "mit_b5": 0.05, "swin_tiny": 0.01, "swin_large_window12": 0.01}


def nyuv2_original(encoder: str, stage: int = 1) -> TrainingConfig:
    """One of the three stages of a published NYUv2 run, the blanked RGB of every fifth frame included.

    Args:
        encoder: `mit_b3`, `mit_b5`, `swin_tiny`, `swin_small`, `swin_large` or `swin_large_window12` (published as
            Swin-Large 384).
        stage: 1, 2 or 3.

    Raises:
        ValueError: no run with this encoder was published, or there is no such stage.
    """
    _check(encoder, _NYU_DROP_PATHS, stage)
    start = _imagenet(encoder) if stage == 1 else _stage_before(stage)
    return _stage(_NYU, encoder, stage, start, drop_path_rate=_NYU_DROP_PATHS[encoder])


def nyuv2_from_sunrgbd_original(stage: int = 1) -> TrainingConfig:
    """A stage of the best published NYUv2 run: Swin-Large 384 trained on SUN RGB-D before, the classifier anew.

    Its stages have 100, 200 and 100 epochs. That their rates are those of the other runs is likely but not stated.

    Raises:
        ValueError: there is no such stage.
    """
    encoder = "swin_large_window12"
    _check(encoder, _NYU_DROP_PATHS, stage)
    trained = required("the last checkpoint (RUN/final) of stage 3 on SUN RGB-D with swin_large_window12")
    start = {"start_from": trained} if stage == 1 else _stage_before(stage)
    return _stage(_NYU, encoder, stage, start, drop_path_rate=0.15, epochs=(100, 200, 100)[stage - 1])


def sunrgbd_original(encoder: str, stage: int = 1) -> TrainingConfig:
    """One of the three stages of a published SUN RGB-D run.

    Args:
        encoder: `mit_b3`, `mit_b5`, `swin_tiny` or `swin_large_window12`.
        stage: 1, 2 or 3.

    Raises:
        ValueError: no run with this encoder was published, or there is no such stage.
    """
    _check(encoder, _SUN_WEIGHT_DECAYS, stage)
    start = _imagenet(encoder) if stage == 1 else _stage_before(stage)
    return _stage(_SUN, encoder, stage, start, drop_path_rate=0.4, weight_decay=_SUN_WEIGHT_DECAYS[encoder])


def deliver_original(modalities: tuple[str, ...]) -> TrainingConfig:
    """The published DeLiVER run with MiT-B2: hard pixels, all logits at full size, a decoder of 512 channels.

    The warm-up rises from a tenth over 10 epochs. BatchNorm saw one frame at a time; only 8 processes repeat that.

    Args:
        modalities: `rgb` and one of `depth`, `event`, `lidar`, or all four. A run with three was published too, but not
            its drop path.

    Raises:
        ValueError: there are not two or four.
    """
    drop_paths = {2: 0.4, 4: 0.2}
    if len(modalities) not in drop_paths:
        raise ValueError(f"modalities are {', '.join(modalities)}; the settings are known for two and for four")
    return TrainingConfig(
        network=GeminiFusionConfig(
            encoder="mit_b2",
            num_classes=25,
            modalities=modalities,
            decoder_channels=512,
            upsample_logits=True,
            drop_path_rate=drop_paths[len(modalities)],
        ),
        augmentation=OriginalAugmentation(crop=(1024, 1024), color_jitter_blanks_rgb=False),
        imagenet=required("the ImageNet weights mit_b2.pth"),
        steps=200 * _DELIVER_STEPS_PER_EPOCH,
        batch_size=8,
        learning_rate=2e-4,
        parameter_groups="deliver",
        schedule="poly_after_warmup",
        warmup_steps=10 * _DELIVER_STEPS_PER_EPOCH,
        warmup_ratio=0.1,
        decay_power=0.9,
        decay_steps=(200 + 1) * _DELIVER_STEPS_PER_EPOCH,  # theirs counts an epoch more than it trains
        loss="ohem",
        sync_batch_norm=False,
        seed=3407,
    )


def _check(encoder: str, published: Mapping[str, object], stage: int) -> None:
    if encoder not in published:
        raise ValueError(f"encoder is {encoder!r}; runs were published with {', '.join(published)}")
    if stage not in STAGES:
        raise ValueError(f"stage is {stage}; expected 1, 2 or 3")


def _imagenet(encoder: str) -> dict[str, str]:
    return {"imagenet": required(f"the ImageNet weights {_IMAGENET_FILES[encoder]}")}


def _stage_before(stage: int) -> dict[str, str]:
    return {"start_from": required(f"the last checkpoint (RUN/final) of this recipe's stage {stage - 1}")}


def _stage(
    data: _DataSet,
    encoder: str,
    stage: int,
    start: Mapping[str, str],
    *,
    drop_path_rate: float,
    weight_decay: float = 0.01,
    epochs: int = 100,
) -> TrainingConfig:
    return TrainingConfig(
        network=GeminiFusionConfig(encoder=encoder, num_classes=data.num_classes, drop_path_rate=drop_path_rate),
        augmentation=OriginalAugmentation(crop=data.crop),
        start_from=start.get("start_from"),
        imagenet=start.get("imagenet"),
        steps=epochs * data.steps_per_epoch,
        batch_size=data.batch_size,
        learning_rate=_STAGE_RATES[stage - 1],
        weight_decay=weight_decay,
        decay_steps=_DECAY_STEPS,
        freeze_decoder_norm=True,
        seed=41 + stage,
    )

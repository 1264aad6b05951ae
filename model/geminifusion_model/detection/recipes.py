"""The named training recipes of detection.

`kitti-mvxnet` is the published one, of mmdetection3d's MVX-Net, whose settings GeminiFusion's authors keep: 40 epochs
over the doubled list of 3712 frames, 8 at a time on 4 GPUs. It has to start from weights, for the stem, the first
stage and all norms of its image encoder stay as they are; the original starts its image branch from a detector trained
on COCO. `streets-pillars-b0` is ours, for one CPU core.
"""

from __future__ import annotations

from collections.abc import Callable

from geminifusion_model.detection.config import MVXNET, DetectorConfig
from geminifusion_model.detection.data.augment import DetectionAugmentation
from geminifusion_model.detection.training_config import DetectionTrainingConfig
from geminifusion_model.training.starts import required

_EPOCH = 2 * 3712 // 8  # steps over the doubled list


def kitti_mvxnet() -> DetectionTrainingConfig:
    """MVX-Net with GeminiFusion behind both point layers on KITTI, as published."""
    return DetectionTrainingConfig(
        network=MVXNET,
        image_size=(384, 1280),
        augmentation=DetectionAugmentation(),
        start_from=required(
            "a checkpoint of this network, such as `geminifusion import` makes of its authors' weights, because the "
            "stem and the norms of its image encoder are not trained"
        ),
        steps=40 * _EPOCH,
        batch_size=8,
        cosine_period=_EPOCH,
        final_rate=1e-5 / 3e-3,
        evaluate_every=_EPOCH,
        log_every=50,
    )


def streets_pillars_b0() -> DetectionTrainingConfig:
    """A small detector on pillars, on rendered streets of 416x128 pixels."""
    return DetectionTrainingConfig(
        network=DetectorConfig(),
        image_size=(128, 416),
        # half a field of view to either side would be turned out of a range that is as narrow as it
        augmentation=DetectionAugmentation(rotation=0.2, image_scale=(0.9, 1.1)),
        steps=2000,
        batch_size=2,
        learning_rate=1e-3,
        warmup_steps=100,
        ema_decay=0.998,
        seed=21,
        holdout=40,
    )


RECIPES: dict[str, Callable[[], DetectionTrainingConfig]] = {
    "kitti-mvxnet": kitti_mvxnet,
    "streets-pillars-b0": streets_pillars_b0,
}

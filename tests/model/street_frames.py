"""Small streets and detectors that tests of detection share."""

import numpy as np

from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.data.augment import DetectionAugmentation
from geminifusion_model.detection.data.streets import Streets
from geminifusion_model.detection.training_config import DetectionTrainingConfig

SIZE = (64, 192)


def streets(count=4, seed=5):
    return Streets(count, seed, SIZE, beams=32, azimuth_step_deg=0.6)


def network(**changes):
    values = {
        "point_range": (0.0, -10.24, -3.0, 20.48, 10.24, 1.0),
        "voxel_size": (0.32, 0.32, 4.0),
        "point_channels": (8, 8),
        "fused_channels": 8,
        "pyramid_channels": 8,
        "bev_channels": (16, 16),
        "bev_depths": (1, 1),
        "bev_strides": (2, 2),
        "neck_channels": 16,
    }
    return DetectorConfig(**values | changes)


def training(steps, **changes):
    values = {
        "network": network(),
        "image_size": SIZE,
        "augmentation": DetectionAugmentation(rotation=0.2, image_scale=(0.9, 1.1)),
        "steps": steps,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "evaluate_every": 2,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return DetectionTrainingConfig(**values | changes)


def points_inside(points, boxes):
    """Which points `P 3…` lie in which boxes `n 7`, their faces included: `n P`."""
    offsets = points[None, :, :3].astype(np.float64) - boxes[:, None, :3]
    cosine, sine = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    along = offsets[..., 0] * cosine + offsets[..., 1] * sine
    across = offsets[..., 1] * cosine - offsets[..., 0] * sine
    half_length, half_width, height = boxes[:, 3:4] / 2, boxes[:, 4:5] / 2, boxes[:, 5:6]
    beside = (np.abs(along) <= half_length) & (np.abs(across) <= half_width)
    return beside & (offsets[..., 2] >= 0) & (offsets[..., 2] <= height)

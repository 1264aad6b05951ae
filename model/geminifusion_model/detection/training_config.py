"""The configuration of a detector's training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.data.augment import DetectionAugmentation
from geminifusion_model.training.run_config import Positive, PositiveFloat, RunConfig
from geminifusion_runtime.detection.images import MULTIPLE


class DetectionTrainingConfig(RunConfig):
    """All settings that decide the outcome of a detector's training, besides the data itself."""

    kind: Literal["object-detection-3d"] = "object-detection-3d"
    """The task."""
    network: DetectorConfig
    """The detector."""
    image_size: tuple[int, int]
    """Height and width that images are fitted into, multiples of 32."""
    augmentation: DetectionAugmentation
    """How training frames are varied."""
    start_from: str | None = None
    """Checkpoint directory of a detector whose weights are the start; random weights if null."""
    imagenet: str | None = None
    """Weight file, or directory of transformers, of an ImageNet classifier that a `mit` image encoder starts from;
    random weights if null."""

    steps: Positive
    """Optimizer steps of the run."""
    batch_size: Positive
    """Frames per step, over all processes."""

    learning_rate: PositiveFloat = 3e-3
    """Greatest learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.95, 0.99)
    """AdamW's decay rates of the mean gradient and of its square."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's weight decay."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 35.0
    """Largest L2 norm of the gradient; not clipped if null."""
    warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """Steps over which the learning rate rises linearly to its greatest."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The first step's learning rate as a share of the greatest."""
    cosine_period: Positive | None = None
    """Steps for which the learning rate stays the same while it falls along half a cosine; every step has its own if
    null."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The learning rate at the end as a share of the greatest."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential average of the weights, which is evaluated and kept; 0 for the raw ones."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of forward passes under autocast."""
    seed: int = 42
    """Seed of start weights, order of frames and augmentation."""
    holdout: Annotated[int, Field(ge=0)] = 0
    """Frames at the end of the training list that are not trained on but choose the best weights."""
    evaluate_every: Positive = 500
    """Steps between evaluations on the held-out frames."""
    checkpoint_every: Positive = 100
    """Steps between saves of the resumable state."""
    log_every: Positive = 10
    """Steps between lines in the log."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if any(side < MULTIPLE or side % MULTIPLE for side in self.image_size):
            raise ValueError(f"image_size is {self.image_size}; expected multiples of {MULTIPLE}, height and width")
        if self.imagenet is not None and not (
            self.network.uses_images and self.network.image_encoder.startswith("mit")
        ):
            raise ValueError(
                f"imagenet is {self.imagenet}, and there is no mit image encoder (fusion {self.network.fusion}, "
                f"image_encoder {self.network.image_encoder}); set imagenet to null"
            )
        return self

"""The configuration of a distillation; its defaults are the recipe for MiT-B0."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from geminifusion_model.encoder_sizes import ENCODER_SIZES
from geminifusion_model.training.run_config import Positive, PositiveFloat, RunConfig

_Weight = Annotated[float, Field(ge=0)]
_Side = Annotated[int, Field(ge=32)]


class DistillationConfig(RunConfig):
    """All settings that decide the outcome of a distillation, besides the teacher's weights and the photographs."""

    encoder: str = "mit_b0"
    """Encoder of the student, which has one stream."""
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the student's last block."""
    start_from: str | None = None
    """Checkpoint directory, or artifact, whose RGB stream the student starts from; random weights if null."""
    teacher: str = "efficientnet-lite2"
    """Name of the frozen classifier."""
    teacher_side: _Side = 256
    """Side in pixels of the square as which the teacher sees every photograph, whole."""
    stages: Annotated[tuple[int, ...], Field(min_length=1)] = (2, 3, 4)
    """Stages whose maps are matched; stage 1 is at 1/4 of the size, each further one at half of the one before."""

    feature_weight: _Weight = 1.0
    """Weight of the sum of the stages' smooth L1 losses."""
    logit_weight: _Weight = 0.5
    """Weight of the divergence from the teacher's classes."""
    temperature: PositiveFloat = 2.0
    """Temperature of that divergence."""
    folder_weight: _Weight = 0.0
    """Weight of the cross-entropy on the names of the photographs' folders; 0 where they mean nothing."""
    statistics_images: Positive = 500
    """Photographs from which the mean and deviation of the teacher's channels are taken."""

    steps: Positive = 5000
    """Optimizer steps of the run."""
    batch_size: Positive = 64
    """Crops per step."""
    crop: _Side = 128
    """Side of the square crops in pixels."""
    fine_crop: _Side = 192
    """The same in the last `fine_steps`."""
    fine_steps: Annotated[int, Field(ge=0)] = 750
    """Steps at the end that see larger crops."""
    crop_area: tuple[float, float] = (0.4, 1.0)
    """Share of the photograph that a crop shows, least and most."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right mirror image."""
    color: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Strength of brightness, contrast and saturation changes; 0.4 draws factors from 0.6…1.4."""

    learning_rate: PositiveFloat = 1e-3
    """Learning rate after the warm-up; it falls to 0 as half a cosine."""
    weight_decay: _Weight = 0.05
    """AdamW's weight decay, of all but norms and biases."""
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    """Steps over which the learning rate rises linearly."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 1e-3
    """The first step's learning rate as a share of the full one."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 5.0
    """Largest L2 norm of the gradient over all parameters; not clipped if null."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the exponential average of the weights, which is validated and kept; 0 for the raw weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the student's forward passes under autocast."""

    seed: int = 42
    """Seed of start weights, order, crops and dropped paths."""
    holdout: Annotated[int, Field(ge=0)] = 256
    """Photographs that are not trained on but validate, spread evenly over all."""
    evaluate_every: Positive = 500
    """Steps between validations."""
    checkpoint_every: Positive = 50
    """Steps between saves of the resumable state."""
    log_every: Positive = 10
    """Steps between lines in the log."""

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, encoder: str) -> str:
        if encoder not in ENCODER_SIZES:
            raise ValueError(f"encoder is {encoder!r}; expected one of {', '.join(ENCODER_SIZES)}")
        return encoder

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if not set(self.stages) <= {1, 2, 3, 4} or list(self.stages) != sorted(set(self.stages)):
            raise ValueError(f"stages are {list(self.stages)}; expected some of 1, 2, 3 and 4 in this order")
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_area is {self.crop_area}; expected 0 < low <= high <= 1")
        if self.feature_weight == self.logit_weight == 0:
            raise ValueError("feature_weight and logit_weight are both 0; nothing would be learned from the teacher")
        if self.fine_steps > self.steps:
            raise ValueError(f"fine_steps is {self.fine_steps}; expected at most steps, {self.steps}")
        return self

    def crop_of(self, step: int) -> int:
        """The side of the crops of one step, 0-based, in pixels."""
        return self.fine_crop if step >= self.steps - self.fine_steps else self.crop

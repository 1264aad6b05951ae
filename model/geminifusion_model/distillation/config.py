"""The configuration of a distillation; its defaults are the recipe of the bundled model's encoder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from geminifusion_model.encoders.sizes import ENCODER_SIZES
from geminifusion_model.training.settings import Positive, Rate, Settings

_Weight = Annotated[float, Field(ge=0)]
_Side = Annotated[int, Field(ge=32)]


class DistillationConfig(Settings):
    """Everything that decides the outcome of a distillation, besides the teacher's weights and the photographs."""

    encoder: str = "mit_b0"  # of the student, which has one stream
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    teacher: str = "efficientnet-lite2"
    teacher_side: _Side = 256  # every photograph is shown to the teacher whole, as a square of this side in pixels
    stages: Annotated[tuple[int, ...], Field(min_length=1)] = (2, 3, 4)  # whose maps are matched; 1 is at 1/4

    feature_weight: _Weight = 1.0  # of the sum of the stages' smooth L1 losses
    logit_weight: _Weight = 0.5  # of the divergence from the teacher's classes
    temperature: Rate = 2.0  # of that divergence
    folder_weight: _Weight = 0.0  # of the cross-entropy on the names of the photographs' folders; 0: names mean nothing
    statistics_images: Positive = 500  # that the mean and deviation of the teacher's channels are taken from

    steps: Positive = 5000
    batch_size: Positive = 64
    crop: _Side = 128  # side of the square crops
    fine_crop: _Side = 192  # the same in the last `fine_steps`
    fine_steps: Annotated[int, Field(ge=0)] = 750
    crop_area: tuple[float, float] = (0.4, 1.0)  # share of the photograph that a crop shows
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5  # probability
    color: Annotated[float, Field(ge=0, lt=1)] = 0.4  # strength; 0.4 draws factors from 0.6 to 1.4

    learning_rate: Rate = 1e-3
    weight_decay: _Weight = 0.05
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 1e-3  # of the first step's rate to the full one
    gradient_clip: Annotated[float, Field(gt=0)] | None = 5.0  # L2 norm over all parameters
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"  # of autocast

    seed: int = 42
    holdout: Annotated[int, Field(ge=0)] = 256  # photographs kept apart for the validation loss
    evaluate_every: Positive = 500
    checkpoint_every: Positive = 50
    log_every: Positive = 10

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
            raise ValueError("feature_weight and logit_weight are both 0; nothing would be learnt from the teacher")
        if self.fine_steps > self.steps:
            raise ValueError(f"fine_steps is {self.fine_steps}; expected at most steps, {self.steps}")
        return self

    def crop_of(self, step: int) -> int:
        """The side of the crops of one step, 0-based, in pixels."""
        return self.fine_crop if step >= self.steps - self.fine_steps else self.crop

"""The configuration of a training run: one validated value."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.encoders.sizes import SWIN_SIZES
from geminifusion_model.task import check_input_scale
from geminifusion_model.training.settings import ConfigError, Positive, Rate, Settings

__all__ = ["ConfigError", "Precision", "TrainingConfig"]

Precision = Literal["float32", "bfloat16", "float16"]


class TrainingConfig(Settings):
    """Everything that decides the outcome of a training run, besides the data itself."""

    network: GeminiFusionConfig
    augmentation: Augmentation | OriginalAugmentation
    start_from: str | None = None  # a checkpoint directory; random weights if none
    imagenet: str | None = None  # an ImageNet classifier's file to start the encoder from
    steps: Positive
    batch_size: Positive  # frames per optimiser step, over all processes and accumulated parts
    accumulate: Positive = 1  # parts a process works through one after the other before it steps

    learning_rate: Rate
    decoder_factor: Rate = 10.0  # the decoder's rate as a multiple of the encoder's
    parameter_groups: Literal["original", "deliver"] = "original"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["poly", "poly_after_warmup", "cosine"] = "poly"
    warmup_steps: Annotated[int, Field(ge=0)] = 1500
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 1e-6  # of the first step's rate to the base rate
    decay_power: Rate = 1.0  # of both poly schedules
    decay_steps: Positive | None = None  # the step at which they would reach 0; that after the last if None
    gradient_clip: Annotated[float, Field(gt=0)] | None = None  # L2 norm over all parameters
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # 0: evaluate and keep the raw weights

    loss: Literal["cross_entropy", "ohem"] = "cross_entropy"
    class_balance: Annotated[float, Field(ge=0, le=1)] = 0.0  # power of median-frequency class weights; 0: all equal
    fusion_penalty: Annotated[float, Field(ge=0)] = 1e-2  # weight of the exchange fusions' mean sparsity penalty
    freeze_decoder_norm: bool = False  # the original's choice: BatchNorm in eval mode while training

    precision: Precision = "float32"  # of autocast; float16 with a loss scaler
    activation_checkpointing: bool = False  # recompute each block in the backward pass: less memory, more time
    compile: bool = False  # torch.compile
    sync_batch_norm: bool = True  # the decoder's statistics over all processes' frames

    input_scale: Annotated[float, AfterValidator(check_input_scale)] = 1.0  # of frames after training, see `Task`
    seed: int = 42
    holdout: Annotated[int, Field(ge=0)] = 0  # training frames set aside to choose the best weights by
    evaluate_every: Positive = 500
    checkpoint_every: Positive = 100
    log_every: Positive = 10

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if isinstance(self.augmentation, Augmentation) and self.augmentation.noise is not None:
            self.augmentation.noise.check_modalities(self.network.modalities)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}, which {self.accumulate} accumulated parts cannot share equally; "
                "make it a multiple of accumulate"
            )
        if self.compile and self.network.encoder in SWIN_SIZES:
            # torch 2.13 on a CPU: the same loss, but other gradients in the decoder
            raise ValueError(
                f"compile is true with encoder {self.network.encoder}, and compiled Swin networks were seen to get "
                "wrong gradients; set compile to false"
            )
        if self.schedule == "cosine" and self.decay_steps is not None:
            raise ValueError(
                f"decay_steps is {self.decay_steps} with schedule cosine, which ends with the run; set it to null"
            )
        if self.schedule == "poly_after_warmup" and (self.decay_steps or self.steps) <= self.warmup_steps:
            raise ValueError(
                f"the rate is to fall from step {self.warmup_steps} (warmup_steps) to step "
                f"{self.decay_steps or self.steps} (decay_steps, or steps); expected a later one"
            )
        return self

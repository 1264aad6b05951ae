"""The configuration of a training run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.encoder_sizes import SWIN_SIZES
from geminifusion_model.task import check_input_scale
from geminifusion_model.training.run_config import Positive, PositiveFloat, RunConfig


class TrainingConfig(RunConfig):
    """All settings that decide the outcome of a training run, besides the data itself."""

    network: GeminiFusionConfig
    """The network."""
    augmentation: Augmentation | OriginalAugmentation
    """How training frames are varied: by our recipe, or with `style: original` by the original authors'."""
    start_from: str | None = None
    """Checkpoint directory whose weights the network starts from, an artifact (with `freeze_decoder_norm`), or weights
    of GeminiFusion's authors or of a SegFormer (Hugging Face transformers, NVlabs), which both streams start from;
    random weights if null."""
    imagenet: str | None = None
    """Weight file, or directory of transformers, of an ImageNet classifier that the encoder starts from; random weights
    if null."""

    steps: Positive
    """Optimizer steps of the run."""
    batch_size: Positive
    """Frames per optimizer step, over all processes and accumulated parts."""
    further_per_batch: Annotated[int, Field(ge=0)] = 0
    """How many of a batch's frames come from the further data (`--further-data`), such as pseudo-labeled
    photographs."""
    accumulate: Positive = 1
    """Parts of a batch that each process runs one after the other before the step, to need less memory."""

    learning_rate: PositiveFloat
    """Base learning rate of the encoder."""
    decoder_factor: PositiveFloat = 10.0
    """The decoder's learning rate as a multiple of the encoder's."""
    parameter_groups: Literal["original", "deliver"] = "original"
    """What goes without weight decay. `original`: the encoder's norms. `deliver`: the encoder's norms and biases, and
    the ensemble weights, which are trained only so."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's weight decay."""
    schedule: Literal["poly", "poly_after_warmup", "cosine"] = "poly"
    """Decay of the learning rate after the warm-up: polynomial counted from step 0 (`poly`) or from the end of the
    warm-up (`poly_after_warmup`), or half a cosine to 0 at the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 1500
    """Steps over which the learning rate rises linearly to its base."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 1e-6
    """The first step's learning rate as a share of the base."""
    decay_power: PositiveFloat = 1.0
    """Exponent of the polynomial schedules."""
    decay_steps: Positive | None = None
    """Step at which a polynomial schedule would reach 0; `steps` if null."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of the gradient over all parameters; not clipped if null."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential average of the weights, which is evaluated and kept; 0 for the raw weights."""

    loss: Literal["cross_entropy", "ohem"] = "cross_entropy"
    """Cross-entropy over all labeled pixels, or over hard ones only (`ohem`)."""
    class_balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Power of the median-frequency class weights: 0 weighs all classes the same, 1 in full."""
    fusion_penalty: Annotated[float, Field(ge=0)] = 1e-2
    """Weight of the mean sparsity penalty of the fusions `token_exchange` and `channel_exchange`."""
    freeze_decoder_norm: bool = False
    """Keep the decoder's BatchNorm in eval mode while training, as the original does."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of forward passes under autocast; float16 comes with a loss scaler."""
    activation_checkpointing: bool = False
    """Recompute each encoder block in the backward pass: less memory, more time."""
    compile: bool = False
    """Compile the network by torch.compile; its gradients are compared with plain ones before the first step."""
    sync_batch_norm: bool = True
    """Take the decoder's BatchNorm statistics over the frames of all processes."""

    input_scale: Annotated[float, AfterValidator(check_input_scale)] = 1.0
    """Factor by which frames are reduced for the trained network, a multiple of 1/16 from 0.25 to 1. Training crops
    are not reduced: `augmentation.scale` says at which sizes they show things."""
    seed: int = 42
    """Seed of start weights, frame order, augmentation and dropout."""
    holdout: Annotated[int, Field(ge=0)] = 0
    """Frames at the end of the training list that are not trained on but choose the best weights."""
    allow_unlearnable_classes: bool = False
    """Train although a class has no pixel in the training frames, or although there is only one class."""
    evaluate_every: Positive = 500
    """Steps between evaluations on the held-out frames."""
    checkpoint_every: Positive = 100
    """Steps between saves of the resumable state."""
    log_every: Positive = 10
    """Steps between lines in the log."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if isinstance(self.augmentation, Augmentation) and self.augmentation.noise is not None:
            self.augmentation.noise.check_modalities(self.network.modalities)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}, which {self.accumulate} accumulated parts cannot share equally; "
                "make it a multiple of accumulate"
            )
        if self.further_per_batch >= self.batch_size:
            raise ValueError(
                f"further_per_batch is {self.further_per_batch} of a batch_size of {self.batch_size}; leave at least "
                "one frame of a batch to the data set itself"
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

"""The configuration of a translator's training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from geminifusion_model.training.run_config import Positive, PositiveFloat, RunConfig
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.transforms import TranslationAugmentation, check_size

_Weight = Annotated[float, Field(ge=0)]


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    check_size(size)
    return size


class TranslationTrainingConfig(RunConfig):
    """All settings that decide the outcome of a translator's training, besides the data itself."""

    kind: Literal["image-translation"] = "image-translation"
    """The task."""
    network: TranslatorConfig
    """The generator, the domains of its inputs and its target, and the discriminator's size."""
    size: Annotated[tuple[int, int], AfterValidator(_checked_size)]
    """Height and width of training images, multiples of 32."""
    augmentation: TranslationAugmentation
    """How training images are varied."""
    start_from: str | None = None
    """Checkpoint directory whose generator is the start; random weights if null. The discriminator always starts from
    random weights."""

    steps: Positive
    """Optimizer steps of the run, of the generator and of the discriminator."""
    batch_size: Positive
    """Views per step, over all processes."""

    learning_rate: PositiveFloat = 2e-4
    """Learning rate of both networks."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    """Adam's decay rates of the mean gradient and of its square."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate after the warm-up: as it is, or half a cosine to 0 at the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly to its base."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of each network's gradient; not clipped if null."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential average of the generator's weights, which is evaluated and kept; 0 for the raw ones."""

    adversarial_weight: _Weight = 1.0
    """Weight of the discriminator's judgment in the generator's loss; with 0 there is no discriminator."""
    reconstruction_weight: _Weight = 100.0
    """Weight of the mean absolute difference from the target, of each stream and of the ensemble."""
    fusion_penalty: _Weight = 1e-3
    """Weight of the sparsity penalty of exchanging fusions: of the sum of all scores for `token_fusion`, of the mean
    for `token_exchange` and `channel_exchange`."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of forward passes under autocast."""
    seed: int = 42
    """Seed of start weights, order of views, augmentation and dropped paths."""
    holdout: Annotated[int, Field(ge=0)] = 0
    """Views at the end of the training list that are not trained on but choose the best weights."""
    evaluate_every: Positive = 500
    """Steps between evaluations on the held-out views."""
    checkpoint_every: Positive = 100
    """Steps between saves of the resumable state."""
    log_every: Positive = 10
    """Steps between lines in the log."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.adversarial_weight == self.reconstruction_weight == 0:
            raise ValueError("adversarial_weight and reconstruction_weight are both 0; nothing would be learned")
        return self

"""Training configurations: one validated value, YAML in and out, and the named recipes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.original_recipe import OriginalAugmentation
from geminifusion_model.data.sensor_noise import Corruption, Curriculum, SensorNoise
from geminifusion_model.task import check_input_scale

_Positive = Annotated[int, Field(gt=0)]
_Rate = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """A training configuration does not validate; the message names each offending field."""


class TrainingConfig(BaseModel):
    """Everything that decides the outcome of a training run, besides the data itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: GeminiFusionConfig
    augmentation: Augmentation | OriginalAugmentation
    start_from: str | None = None  # a checkpoint directory; random weights if none
    steps: _Positive
    batch_size: _Positive
    learning_rate: _Rate
    decoder_factor: _Rate = 10.0  # the decoder's rate as a multiple of the encoder's
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 1500
    decay_power: _Rate = 1.0
    gradient_clip: Annotated[float, Field(gt=0)] | None = None  # L2 norm over all parameters
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # 0: evaluate and keep the raw weights
    fusion_penalty: Annotated[float, Field(ge=0)] = 1e-2  # weight of the exchange fusions' mean sparsity penalty
    input_scale: Annotated[float, AfterValidator(check_input_scale)] = 1.0  # of frames after training, see `Task`
    freeze_decoder_norm: bool = False  # the original's choice: BatchNorm in eval mode while training
    bfloat16: bool = False  # autocast; pays where the CPU or GPU multiplies bfloat16 natively
    seed: int = 42
    holdout: Annotated[int, Field(ge=0)] = 0  # training frames set aside to choose the best weights by
    evaluate_every: _Positive = 500
    checkpoint_every: _Positive = 100

    def to_yaml(self) -> str:
        """The configuration as YAML that `from_yaml` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, path: Path, overrides: dict[str, object] | None = None) -> TrainingConfig:
        """Read a YAML file, with top-level or dotted (`network.encoder`) overrides.

        Raises:
            ConfigError: the file is no mapping, or a field does not validate.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{path} holds no mapping; write one with `geminifusion train --print-config`")
        return cls.checked(content, overrides)

    @classmethod
    def checked(cls, values: dict[str, object], overrides: dict[str, object] | None = None) -> TrainingConfig:
        """Validate a plain mapping.

        Raises:
            ConfigError: a field does not validate; the message names it.
        """
        for dotted, value in (overrides or {}).items():
            *parents, leaf = dotted.split(".")
            target: object = values
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise ConfigError(f"there is no setting {dotted!r}")
            target[leaf] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"the training configuration does not validate: {problems}") from None


_REDUCED_CROPS = Augmentation(crop=(192, 256), scale=(0.38, 0.9))


def nyuv2_b0_from_scratch() -> TrainingConfig:
    """GeminiFusion-B0 without ImageNet weights on two CPU cores: small crops of reduced frames, a high rate."""
    return TrainingConfig(
        network=GeminiFusionConfig(encoder="mit_b0", num_classes=13, drop_path_rate=0.05),
        augmentation=_REDUCED_CROPS,
        steps=3600,
        batch_size=6,
        learning_rate=5e-4,
        decoder_factor=2.0,
        weight_decay=0.03,
        warmup_steps=150,
        decay_power=1.0,
        gradient_clip=5.0,
        ema_decay=0.998,
        input_scale=0.5,
        seed=7,
        holdout=40,
        evaluate_every=600,
        checkpoint_every=100,
    )


def nyuv2_b0_robust() -> TrainingConfig:
    """Second stage of `nyuv2_b0_from_scratch`: the same frames seen by failing sensors. Needs `start_from`."""
    first = nyuv2_b0_from_scratch()
    noise = SensorNoise(
        missing=0.3,
        zeroed=Corruption(probability=0.3, most=0.3),
        salt_and_pepper=Corruption(probability=0.3, most=0.2),
        holes=Corruption(probability=0.5, most=0.5),
        misregistration=Corruption(probability=0.2, most=0.02),
        curriculum=Curriculum(begin=0, end=500),
    )
    return first.model_copy(
        update={
            "augmentation": dataclasses.replace(_REDUCED_CROPS, noise=noise),
            "steps": 1400,
            "learning_rate": 3e-4,
            "warmup_steps": 50,
            "seed": 8,
            "evaluate_every": 500,
        }
    )


def nyuv2_b3_original() -> TrainingConfig:
    """One of the three identical stages of the original's NYUDv2 run, the blanked RGB of every fifth frame included."""
    return TrainingConfig(
        network=GeminiFusionConfig(encoder="mit_b3", num_classes=39, drop_path_rate=0.4),
        augmentation=OriginalAugmentation(crop=(480, 640)),
        steps=13200,
        batch_size=6,
        learning_rate=6e-5,
        freeze_decoder_norm=True,
        seed=42,
    )


RECIPES = {
    "nyuv2-b0-from-scratch": nyuv2_b0_from_scratch,
    "nyuv2-b0-robust": nyuv2_b0_robust,
    "nyuv2-b3-original": nyuv2_b3_original,
}

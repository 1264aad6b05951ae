"""What an artifact for image translation says of itself."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from geminifusion_runtime.artifact.fields import STRICT, BackendReport, GoldenFile, OutputTensor, TrainingRecord
from geminifusion_runtime.artifact.metadata import ArtifactMetadata


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OutputSpec:
    """The image that is made of the inputs.

    Args:
        name: of its domain, such as `depth`, `rgb` or `normal`.
        kind: the graph's output: `image`, 8-bit RGB, or `depth`, metres.
        content: what the image shows; of `normal` the channels are x, y and z of a unit vector, -1…1 as 0…255, of
            `gray` all three are the same.
        range: the values between which the network tells apart: 0…255, or metres.
        scale: of the network's steps between them.
    """

    name: str
    kind: Literal["image", "depth"]
    content: Literal["color", "normal", "gray", "depth"]
    range: tuple[float, float]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _agree(self) -> OutputSpec:
        if (self.kind == "depth") != (self.content == "depth"):
            raise ValueError(f"output {self.name} is of kind {self.kind} and shows {self.content}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TranslationReport(BackendReport):
    """Deviation of one backend: absolute errors in the output's unit, grey levels or metres, and what agrees."""

    max_error: float
    mean_error: float
    agreement: Annotated[float, Field(ge=0, le=1)]  # share of values within two grey levels, or a hundredth of depth


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TranslationTraining(TrainingRecord):
    """Provenance of the weights, and the scores measured by the protocol, by name."""

    scores: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TranslationMetadata(ArtifactMetadata):
    """What the service needs to know about a translator.

    The graph takes sides that are multiples of `size.multiple_of`: images of other sizes get their last row and column
    repeated up to that, and what was added is cut off the output.

    Args:
        where: the blocks in which the streams meet.
        output: what is made of the inputs.
    """

    task: Literal["image-translation"] = "image-translation"
    where: Literal["encoder", "all"] = "encoder"
    output: OutputSpec
    training: TranslationTraining
    verification: tuple[TranslationReport, ...] = ()
    golden: GoldenFile | None = None

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        """`image` uint8 `B H W 3`, or `depth` float32 `B H W` in metres."""
        return (translation_output(self.output.kind),)


def translation_output(kind: Literal["image", "depth"]) -> OutputTensor:
    """The output of a translator's graph."""
    if kind == "depth":
        return OutputTensor(name="depth", dtype="float32")
    return OutputTensor(name="image", dtype="uint8", channels=3)

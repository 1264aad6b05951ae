"""What an artifact for semantic segmentation says of itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from geminifusion_runtime.artifact.fields import (
    STRICT,
    BackendReport,
    Byte,
    GoldenFile,
    OutputTensor,
    TrainingRecord,
)
from geminifusion_runtime.artifact.metadata import ArtifactMetadata

Upsampling = Literal["bilinear", "bicubic"]


def segmentation_outputs(num_modalities: int) -> tuple[OutputTensor, ...]:
    """The outputs of a segmentation graph with that many inputs."""
    outputs = (
        OutputTensor(name="labels", dtype="uint8"),
        OutputTensor(name="confidence", dtype="float32", reduction=4),
        OutputTensor(name="gate", dtype="float32", reduction=4),
    )
    if num_modalities <= 2:
        return outputs
    weights = OutputTensor(
        name="modality_weights",
        dtype="float32",
        channels=num_modalities - 1,
        channels_first=True,
        reduction=4,
        optional=True,
    )
    return (*outputs, weights)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassSpec:
    """One class: its index in the label map, its name and its RGB colour."""

    id: Byte
    name: str
    color: tuple[Byte, Byte, Byte]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SegmentationReport(BackendReport):
    """Deviation of one backend: absolute errors, and the share of pixels with the same class, 0…1."""

    confidence_max_error: float
    confidence_mean_error: float
    gate_max_error: float
    gate_mean_error: float
    label_agreement: Annotated[float, Field(ge=0, le=1)]
    miou: float | None = None  # percent on the golden set; only of a report over golden frames
    reference_miou: float | None = None  # percent, of the torch network on the same frames


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GoldenSet(GoldenFile):
    """Golden frames: modalities `frames H W [3]`; `labels`, `confidence`, `gate` of torch; `truth` if there is one."""

    miou: float | None = None  # percent, of torch against the truth


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training(TrainingRecord):
    """Provenance of the weights, and the scores measured by the protocol."""

    miou: float | None = None  # percent
    pixel_accuracy: float | None = None  # percent
    mean_accuracy: float | None = None  # percent


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SegmentationMetadata(ArtifactMetadata):
    """What the service needs to know about a segmentation network."""

    task: Literal["semantic-segmentation"] = "semantic-segmentation"
    input_scale: Annotated[float, Field(gt=0, le=1)] = 1.0  # the graph reduces its inputs by this factor
    label_upsampling: Upsampling = "bilinear"  # of the logits to the size of the images; bicubic is torch's, a = -0.75
    intrinsics: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy of requests that name none
    temperature: Annotated[float, Field(gt=0)] | None = None  # the graph divides logits by it before the confidence
    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=1, max_length=255)]
    ignore_index: Byte
    training: Training
    verification: tuple[SegmentationReport, ...] = ()
    golden: GoldenSet | None = None

    @model_validator(mode="after")
    def _classes_agree(self) -> SegmentationMetadata:
        if [c.id for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class ids must be 0, 1, 2 … in order")
        if self.ignore_index < len(self.classes):
            raise ValueError(f"ignore_index {self.ignore_index} is also a class")
        return self

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        """Labels at the size of the images; confidence, gate and the weights of modalities at a quarter of it."""
        return segmentation_outputs(len(self.modalities))

    def palette(self) -> list[tuple[int, int, int]]:
        """The class colours in class order."""
        return [c.color for c in self.classes]

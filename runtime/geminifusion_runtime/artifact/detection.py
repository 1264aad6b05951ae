"""What an artifact for 3-D object detection says of itself."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from geminifusion_runtime.artifact.fields import (
    STRICT,
    BackendReport,
    GoldenFile,
    OutputTensor,
    TrainingRecord,
)
from geminifusion_runtime.artifact.metadata import ArtifactMetadata
from geminifusion_runtime.detection.settings import MULTIPLE, AnchorSettings, GridSettings, SelectionSettings

# Of one frame: `1 rows columns A K`, `… A 7` and `… A 2`, rows and columns of the head's map, A anchors of a cell.
DETECTION_OUTPUTS = (
    OutputTensor(name="class_logits", dtype="float32"),
    OutputTensor(name="box_numbers", dtype="float32"),
    OutputTensor(name="direction_logits", dtype="float32"),
)
_MAX_SIDE = 4096
_Share = Annotated[float, Field(ge=0, le=1)]
_ImageSide = Annotated[int, Field(ge=MULTIPLE, le=_MAX_SIDE, multiple_of=MULTIPLE)]
_Cells = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DetectionReport(BackendReport):
    """Deviation of one backend from the torch network, over all frames of a kind. Errors are absolute.

    Attributes:
        num_points: of the frames, at most.
        class_logit_max_error: of the class logits.
        box_number_max_error: of the numbers that boxes are decoded from.
        direction_logit_max_error: of the direction logits.
        box_agreement: share of the boxes that both select, of all that either does, 0…1.
    """

    num_points: Annotated[int, Field(ge=1)]
    class_logit_max_error: float
    box_number_max_error: float
    direction_logit_max_error: float
    box_agreement: _Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DetectionTraining(TrainingRecord):
    """Provenance of the weights, and the scores measured by the protocol.

    Attributes:
        average_precision: percent, by class: KITTI's, 3-D, moderate, 40 recall positions.
    """

    average_precision: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DetectionMetadata(ArtifactMetadata):
    """What the service needs to know about a detector.

    Attributes:
        image_size: height and width that the network sees images at; they keep their proportions.
        grid: the range, and the pillars that points are sorted into before the graph.
        anchors: classes, and the boxes that the graph's numbers belong to.
        map_size: rows and columns of cells of the graph's outputs.
        selection: which boxes are kept.
        sees_images: whether the boxes depend on the image, or it is only where they are drawn.
    """

    task: Literal["object-detection-3d"] = "object-detection-3d"
    image_size: tuple[_ImageSide, _ImageSide]
    grid: GridSettings
    anchors: AnchorSettings
    map_size: tuple[_Cells, _Cells]
    selection: SelectionSettings
    sees_images: bool = True
    training: DetectionTraining
    verification: tuple[DetectionReport, ...] = ()
    golden: GoldenFile | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> DetectionMetadata:
        if [spec.name for spec in self.modalities] != ["rgb"]:
            raise ValueError(f"modalities are {[spec.name for spec in self.modalities]}; a detector has rgb")
        for cells, pillars in zip(self.map_size, self.grid.shape, strict=True):
            if pillars % cells:
                raise ValueError(f"the map of {self.map_size} cells does not divide the grid of {self.grid.shape}")
        return self

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        """The numbers of every anchor."""
        return DETECTION_OUTPUTS

"""What a detector looks at and how its boxes are read from the network's numbers; part of an artifact's metadata."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_Length = Annotated[float, Field(gt=0, le=1000)]  # metres
_Share = Annotated[float, Field(ge=0, le=1)]
MULTIPLE = 32  # of which the sides of a detector's image are
_MAX_CELLS = 2**22  # of the grid
_WHOLE = 1e-3  # of a cell, by which a range may miss a whole number of them


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GridSettings:
    """The pillars that points fall into: columns of one size over a range, in LiDAR axes.

    Attributes:
        low, high: x, y, z in metres; low belongs to the range, high does not.
        pillar_size: along x and y in metres.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    pillar_size: tuple[_Length, _Length]

    @model_validator(mode="after")
    def _holds_whole_pillars(self) -> GridSettings:
        if any(high <= low for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"the range {self.low} to {self.high} is empty")
        for low, high, size in zip(self.low[:2], self.high[:2], self.pillar_size, strict=True):
            if abs((high - low) / size - round((high - low) / size)) > _WHOLE:
                raise ValueError(f"the range {low} to {high} is no whole number of pillars of {size} m")
        if math.prod(self.shape) > _MAX_CELLS:
            raise ValueError(f"the grid has {math.prod(self.shape)} pillars; expected at most {_MAX_CELLS}")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Pillars along y and along x: rows and columns of the map seen from above."""
        columns, rows = (
            round((high - low) / size)
            for low, high, size in zip(self.low[:2], self.high[:2], self.pillar_size, strict=True)
        )
        return rows, columns


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AnchorClass:
    """The boxes that the network starts from for one class.

    Attributes:
        name: of the class.
        size: dx, dy, dz in metres.
        bottom: z of their bottoms in metres.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    size: tuple[_Length, _Length, _Length]
    bottom: float


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AnchorSettings:
    """The anchors of each cell of the head's map: every class at every yaw, in that order.

    Attributes:
        classes: in the order of the network's class numbers.
        yaws: radians.
    """

    classes: Annotated[tuple[AnchorClass, ...], Field(min_length=1, max_length=64)]
    yaws: Annotated[tuple[float, ...], Field(min_length=1, max_length=16)] = (0.0, 1.57)

    @property
    def per_cell(self) -> int:
        """Anchors of one cell."""
        return len(self.classes) * len(self.yaws)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in class order."""
        return tuple(one.name for one in self.classes)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SelectionSettings:
    """Which of the network's boxes are kept.

    Attributes:
        candidates: anchors with the greatest scores, over all classes together, that are looked at.
        min_score: a box's score has to be above it.
        max_iou: a box that overlaps a better one of its class by more, seen from above, is dropped.
        max_boxes: of a frame.
        direction_offset: radians that the two directions of a box are told apart at.
        center_low, center_high: a box whose bottom's centre lies outside is dropped; metres in LiDAR axes.
    """

    candidates: Annotated[int, Field(ge=1, le=4096)] = 100
    min_score: _Share = 0.1
    max_iou: _Share = 0.01
    max_boxes: Annotated[int, Field(ge=1, le=1000)] = 50
    direction_offset: float = math.pi / 2
    center_low: tuple[float, float, float] = (0.0, -40.0, -3.0)
    center_high: tuple[float, float, float] = (70.4, 40.0, 0.0)

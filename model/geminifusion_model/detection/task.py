"""What a detector was trained on, besides what its configuration says; stored in the checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from geminifusion_model.validation import validated
from geminifusion_runtime.detection.images import MULTIPLE


@dataclass(frozen=True, kw_only=True)
class DetectionTask:
    """Data and the size of the images.

    Args:
        data: the data set's name.
        image_size: height and width of the images as the network sees them, padding included, multiples of 32.
        data_license: of the frames.

    Raises:
        ValueError: the size does not fit.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    data: str
    image_size: tuple[int, int]
    data_license: str = "unknown"

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(self.image_size))
        if any(side < MULTIPLE or side % MULTIPLE for side in self.image_size):
            raise ValueError(f"image_size is {self.image_size}; expected multiples of {MULTIPLE}, height and width")

    def to_dict(self) -> dict[str, Any]:
        """The task as a plain dict for JSON."""
        return dataclasses.asdict(self) | {"image_size": list(self.image_size)}

    def identity(self) -> dict[str, Any]:
        """What must be the same for frames to mean the same; see `RecordedTask`. Sizes belong to the network."""
        return {"boxes": "KITTI"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectionTask:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, missing, of another type or out of range; the message names it.
        """
        return validated(cls, values, "task")

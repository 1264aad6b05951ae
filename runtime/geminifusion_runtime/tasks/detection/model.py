"""A loaded detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.detection.frames import PreparedFrame
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.detection.blank import blank_frame


class DetectionModel(Model):
    """A verified artifact of a detector; its items are `PreparedFrame`s, and its results the graph's outputs of each.

    A graph takes one frame, as frames differ in their points: those of a batch run one after the other, and none
    changes a number of another.
    """

    @property
    def detection(self) -> DetectionMetadata:
        """The metadata, as those of a detector."""
        return cast(DetectionMetadata, self.metadata)

    def blank_item(self, height: int, width: int) -> Any:  # noqa: ANN401 - items of a task are its own
        """A frame of the reference size, whatever is asked for: every image is brought to the same."""
        return blank_frame(self.detection)

    def run(self, items: Sequence[Any], instance: int = 0) -> list[Any]:
        """The graph's outputs of each frame; see `Model.run`."""
        return self.run_stacked(items, {}, instance)

    def stack(self, items: Sequence[Any]) -> dict[str, NDArray[np.generic]]:
        """Nothing: frames are not joined."""
        return {}

    def run_stacked(
        self, items: Sequence[Any], inputs: Mapping[str, NDArray[np.generic]], instance: int = 0
    ) -> list[Any]:
        """The graph's outputs of each frame; see `Model.run`."""
        frames: Sequence[PreparedFrame] = items
        with self._in_use():
            found: list[GraphOutputs] = [self.backends[instance].run(frame.inputs) for frame in frames]
        return found

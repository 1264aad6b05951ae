"""Which parts a detection request has to have, and the boxes that a graph's outputs make."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.detection.frames import PreparedFrame, boxes_of_frame
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.selection import HeadMaps
from geminifusion_runtime.errors import MissingPartError, UnknownPartError

PART_NAMES = ("rgb", "points", "calibration")


def check_parts(metadata: DetectionMetadata, names: Collection[str]) -> None:
    """Reject a request that lacks a part or brings an unknown one, before anything is decoded.

    Raises:
        MissingPartError, UnknownPartError: naming what came and what is expected.
    """
    expected = ", ".join(PART_NAMES)
    for name in PART_NAMES:
        if name not in names:
            came = ", ".join(sorted(names)) or "nothing"
            raise MissingPartError(f"{name} is missing: {came} came; send {expected}")
    for name in names:
        if name not in PART_NAMES:
            raise UnknownPartError(
                f"{metadata.reference} has no input {name!r}; send {expected} (options go into the query string)"
            )


def found_boxes(
    metadata: DetectionMetadata, outputs: GraphOutputs, frame: PreparedFrame, min_score: float | None = None
) -> FrameBoxes:
    """The boxes that the graph's outputs for a frame make.

    Args:
        outputs: of the frame alone.
        min_score: boxes have to be surer; None takes the artifact's limit.
    """
    selection = metadata.selection
    if min_score is not None:
        selection = dataclasses.replace(selection, min_score=min_score)
    classes, boxes, directions = (
        np.asarray(outputs[name][0], np.float32) for name in ("class_logits", "box_numbers", "direction_logits")
    )
    return boxes_of_frame(
        HeadMaps(classes, boxes, directions), frame, anchors=metadata.anchors, grid=metadata.grid, selection=selection
    )

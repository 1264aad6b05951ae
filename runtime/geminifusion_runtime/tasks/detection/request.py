"""A detection request: its parts decoded, checked and prepared, and its boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.decoding.clouds import decode_cloud
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.detection.calibration import Calibration, decode_calibration
from geminifusion_runtime.detection.frames import PreparedFrame, boxes_of_frame, prepare_frame
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.selection import HeadMaps
from geminifusion_runtime.errors import MissingPartError, UnknownPartError, UnprocessableError
from geminifusion_runtime.tasks.detection.options import DetectOptions
from geminifusion_runtime.types import SensorHealth, SensorPolicy

PART_NAMES = ("rgb", "points", "calibration")
MAX_POINTS = 2**20  # of a sweep; the densest LiDARs have half of it


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedDetection:
    """One request, ready for the engine.

    Attributes:
        frame: what the graph takes.
        image: as it came, `H W 3`, RGB.
        points: all that came, `P 4`.
        sensors: the health of the camera.
        warnings: for the client.
    """

    frame: PreparedFrame
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    sensors: Mapping[str, SensorHealth]
    warnings: tuple[str, ...]


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


def prepare(
    metadata: DetectionMetadata,
    image: DecodedImage,
    points: bytes | NDArray[np.generic],
    calibration: bytes | Calibration,
    options: DetectOptions,
    *,
    default_policy: SensorPolicy,
    max_points: int = MAX_POINTS,
) -> PreparedDetection:
    """Decode the cloud and the calibration of a request, and check all against the model.

    Args:
        image: `rgb`, decoded.
        points: see `decode_cloud`.
        calibration: as a file, or decoded.
        default_policy: what to do about a broken camera where the request does not say.
        max_points: reject a cloud of more.

    Raises:
        GeminiFusionError: a part cannot be read, or they do not fit the model, each other or the sensor policy.
    """
    specs = {spec.name: spec for spec in metadata.modalities}
    kept, _ = apply_policy({"rgb": image}, specs, options.sensor_policy or default_policy)
    pixels = kept["rgb"].array
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnprocessableError(f"rgb is {pixels.dtype} of shape {pixels.shape}; expected uint8, height x width x 3")
    picture = np.asarray(pixels, np.uint8)
    cloud = decode_cloud(points, max_points=max_points)
    frame = prepare_frame(
        picture,
        cloud.points,
        decode_calibration(calibration) if isinstance(calibration, bytes) else calibration,
        grid=metadata.grid,
        network_image=metadata.image_size,
    )
    return PreparedDetection(
        frame=frame,
        image=picture,
        points=cloud.points,
        sensors={"rgb": image.health},
        warnings=(*kept["rgb"].warnings, *cloud.warnings),
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

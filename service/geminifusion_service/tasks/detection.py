"""3-D object detection as the service sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact import ArtifactMetadata, DetectionMetadata, ModalitySpec
from geminifusion_runtime.decoding.clouds import declared_points
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.encoding.box_drawings import class_color
from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.tasks.detection.agreement import LEAST_AGREEMENT, agreement, as_rows
from geminifusion_runtime.tasks.detection.blank import made_up_frame
from geminifusion_runtime.tasks.detection.encoding import encode
from geminifusion_runtime.tasks.detection.golden import read_golden_frames
from geminifusion_runtime.tasks.detection.options import DetectOptions
from geminifusion_runtime.tasks.detection.request import (
    PreparedDetection,
    check_parts,
    found_boxes,
    prepare,
)
from geminifusion_runtime.types import SensorPolicy
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.request import DetectRequest, DetectResponse, TaskRequest, TaskResponse
from geminifusion_service.tasks.base import Frame, Golden, Prepared
from geminifusion_service.tasks.pixel_count import count_pixels

_NUMBERS_OF_A_POINT = 4


class DetectionTask:
    """See `ServedTask`."""

    request_type: type[Any] = DetectRequest
    where = "POST /v1/detect"
    described = ("image_size", "grid", "anchors", "map_size", "selection", "sees_images")

    def checked(self, request: TaskRequest, metadata: ArtifactMetadata) -> TaskRequest:
        """See `ServedTask`."""
        check_parts(_detector(metadata), list(request.images))
        return request

    def classes(self, metadata: ArtifactMetadata) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Those of the anchors, in the colors that boxes are drawn in."""
        return [(name, class_color(label)) for label, name in enumerate(_detector(metadata).anchors.class_names)]

    def pixels(self, request: TaskRequest, max_pixels: int) -> int:
        """See `ServedTask`."""
        images = {name: image for name, image in request.images.items() if name == "rgb"}
        return count_pixels(images, max_pixels=max_pixels)

    def elements(self, request: TaskRequest) -> int:
        """The numbers of the points."""
        return _NUMBERS_OF_A_POINT * declared_points(request.images.get("points", b""))

    def decoding(
        self, request: TaskRequest, spec: ModalitySpec, metadata: ArtifactMetadata
    ) -> tuple[ModalityOptions, Sequence[float] | None]:
        """See `ServedTask`."""
        return ModalityOptions(), None

    def prepare(
        self, model: Model, request: TaskRequest, images: Mapping[str, DecodedImage], policy: SensorPolicy
    ) -> Prepared:
        """See `ServedTask`."""
        asked = cast(DetectRequest, request)
        calibration = asked.images["calibration"]
        prepared = prepare(
            _detector(model.metadata),
            images["rgb"],
            asked.images["points"],
            calibration if isinstance(calibration, bytes) else calibration.tobytes(),
            asked.options,
            default_policy=policy,
        )
        return Prepared([prepared.frame], prepared.frame.shape, prepared)

    def respond(self, model: Model, request: TaskRequest, prepared: Prepared, results: Sequence[Any]) -> TaskResponse:
        """See `ServedTask`."""
        details: PreparedDetection = prepared.details
        options = cast(DetectRequest, request).options
        metadata = _detector(model.metadata)
        found = found_boxes(metadata, results[0], details.frame, options.min_score)
        height, width = details.frame.image_size
        return DetectResponse(
            model=model.reference,
            request_id=options.request_id or new_request_id(),
            height=height,
            width=width,
            format=options.format,
            found=found,
            num_points=details.frame.num_points,
            grid=metadata.grid,
            file=encode(options.format, metadata, details, found),
            warnings=details.warnings,
            sensors=details.sensors,
        )

    def golden(self, directory: Path, model: Model) -> Golden | None:
        """See `ServedTask`."""
        metadata = _detector(model.metadata)
        frames = read_golden_frames(directory, metadata)
        if not frames:
            return None
        return Golden(
            frames=tuple(_parts(frame.image, frame.points, frame.calibration.as_document()) for frame in frames),
            outcomes=tuple(as_rows(found_boxes(metadata, one.outputs, one.prepared(metadata))) for one in frames),
            budget=LEAST_AGREEMENT,
        )

    def own_frame(self, metadata: ArtifactMetadata) -> Frame:
        """Points all over the range."""
        frame = made_up_frame(_detector(metadata))
        return _parts(frame.image, frame.points, frame.calibration.as_document())

    def test_request(self, frame: Frame) -> TaskRequest:
        """See `ServedTask`."""
        return DetectRequest(images=frame, options=DetectOptions(format=None, sensor_policy="warn"))

    def outcome(self, response: TaskResponse) -> NDArray[np.generic]:
        """The boxes; see `as_rows`."""
        return as_rows(cast(DetectResponse, response).found)

    def outcome_alone(self, model: Model, frame: Frame) -> NDArray[np.generic]:
        """See `ServedTask`."""
        image = DecodedImage(array=np.asarray(frame["rgb"]))
        prepared = self.prepare(model, self.test_request(frame), {"rgb": image}, "warn")
        (outputs,) = model.run(prepared.items)
        return as_rows(_boxes(model, outputs, prepared.details))

    def agreement(self, found: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[float, float]:
        """Boxes that both have, and all that either has."""
        return agreement(found, expected)


def _detector(metadata: ArtifactMetadata) -> DetectionMetadata:
    return cast(DetectionMetadata, metadata)


def _boxes(model: Model, outputs: Any, details: PreparedDetection) -> FrameBoxes:  # noqa: ANN401 - of `Model.run`
    return found_boxes(_detector(model.metadata), outputs, details.frame)


def _parts(image: NDArray[np.uint8], points: NDArray[np.float32], calibration: Mapping[str, Any]) -> Frame:
    return {"rgb": image, "points": points, "calibration": strict_json.dumps(dict(calibration)).encode()}

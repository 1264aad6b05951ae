"""3-D object detection as a task; see `TaskRuntime`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import DetectionMetadata, Precision
from geminifusion_runtime.backends.protocol import BatchShape, GraphOutputs
from geminifusion_runtime.decoding.clouds import POINT_BYTES, check_number, declared_points
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.frames import PreparedFrame, prepare_frame
from geminifusion_runtime.detection.results import FrameBoxes
from geminifusion_runtime.detection.settings import GridSettings
from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.tasks.base import Frame, GoldenFrame, PreparedRequest, SizeProblem, TaskResult, TaskRuntime
from geminifusion_runtime.tasks.detection.agreement import LEAST_AGREEMENT, agreement, as_rows
from geminifusion_runtime.tasks.detection.blank import blank_frame, made_up_frame
from geminifusion_runtime.tasks.detection.encoding import encode
from geminifusion_runtime.tasks.detection.golden import read_golden_frames
from geminifusion_runtime.tasks.detection.options import DETECT_OPTIONS, DetectionFormat, DetectOptions
from geminifusion_runtime.tasks.detection.parts import MAX_POINTS, CalibrationSpec, PointsSpec
from geminifusion_runtime.tasks.detection.selection import check_parts, found_boxes
from geminifusion_runtime.tasks.parts import PartSpec
from geminifusion_runtime.types import SensorPolicy

T = TypeVar("T")
_SWEEP = 20_000  # points of a measured frame: what a LiDAR of 64 beams has in a camera's image


class Detected(NamedTuple):
    """What the graph gave for a frame, before boxes are selected.

    Attributes:
        outputs: of the frame alone.
        frame: that it belongs to.
    """

    outputs: GraphOutputs
    frame: PreparedFrame


@dataclass(frozen=True, kw_only=True)
class PreparedDetection(PreparedRequest):
    """A detection request, ready for the engine: with the image `H W 3` and all points `P 4` as they came."""

    image: NDArray[np.uint8]
    points: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FoundBoxes(TaskResult):
    """The boxes. `file` is the encoded file; empty for json, and where no file was requested."""

    format: DetectionFormat | None
    found: FrameBoxes
    num_points: int  # within the image and the model's range
    grid: GridSettings  # the range
    file: bytes = b""

    @property
    def num_bytes(self) -> int:
        """Of the file."""
        return len(self.file)


class DetectionTask(TaskRuntime[DetectOptions, PreparedFrame, Detected]):
    """Boxes of objects, from an image and the LiDAR's points."""

    options = DETECT_OPTIONS
    compared: ClassVar[str] = "boxes"
    largest_batch: ClassVar[int] = 1

    def __init__(self, metadata: DetectionMetadata) -> None:
        self.metadata: DetectionMetadata = metadata

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        """The image, the points and the calibration."""
        return (*self.metadata.modalities, PointsSpec(), CalibrationSpec())

    def accept(self, options: DetectOptions, parts: Mapping[str, T], *, made: Collection[str] = ()) -> Mapping[str, T]:
        """See `TaskRuntime`; too many points are refused here already."""
        check_parts(self.metadata, list(dict.fromkeys([*parts, *made])))
        points: Any = parts["points"]
        check_number(declared_points(points), max_points=MAX_POINTS)
        return parts

    def part_options(self, options: DetectOptions, spec: PartSpec) -> ModalityOptions:
        """None: the parts say all of themselves."""
        return ModalityOptions()

    def array_bytes(self, parts: Mapping[str, Any]) -> int:
        """Those of the points."""
        points = parts.get("points", b"")
        return POINT_BYTES * declared_points(points) if isinstance(points, bytes) else 0

    def item(self, arrays: Frame, *, size_problem: SizeProblem) -> PreparedFrame:
        """See `prepare_frame`."""
        image = arrays["rgb"]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UnprocessableError(f"rgb is {image.dtype} of shape {image.shape}; expected uint8, height x width x 3")
        return prepare_frame(
            np.asarray(image, np.uint8),
            np.asarray(arrays["points"], np.float32),
            Calibration.of_packed(arrays["calibration"]),
            grid=self.metadata.grid,
            network_image=self.metadata.image_size,
        )

    def prepare(
        self,
        options: DetectOptions,
        decoded: Mapping[str, DecodedImage],
        default_policy: SensorPolicy,
        *,
        size_problem: SizeProblem,
    ) -> PreparedDetection:
        """See `TaskRuntime`."""
        specs = {spec.name: spec for spec in self.metadata.modalities}
        kept, _ = apply_policy({"rgb": decoded["rgb"]}, specs, options.sensor_policy or default_policy)
        frame = self.item({name: part.array for name, part in decoded.items()}, size_problem=size_problem)
        return PreparedDetection(
            items=(frame,),
            sensors={"rgb": decoded["rgb"].health},
            warnings=(
                *kept["rgb"].warnings,
                *decoded["points"].warnings,
                *frame.calibration.size_warnings(frame.image_size),
            ),
            image=np.asarray(decoded["rgb"].array, np.uint8),
            points=np.asarray(decoded["points"].array, np.float32),
        )

    def blank_item(self, height: int, width: int, *, size_problem: SizeProblem) -> PreparedFrame:
        """A frame of the reference size, whatever is asked for: every image is brought to the same."""
        return blank_frame(self.metadata)

    def random_items(self, shape: BatchShape, seed: int = 0) -> list[PreparedFrame]:
        """See `TaskRuntime`; of 20,000 points each, of which those in the image and the range are left."""
        number, *size = shape
        made = (made_up_frame(self.metadata, seed + index, _SWEEP, size=(size[0], size[1])) for index in range(number))
        return [self.item(_parts(*each), size_problem=lambda _height, _width: None) for each in made]

    def stack(self, items: Sequence[PreparedFrame]) -> dict[str, NDArray[np.generic]]:
        """The inputs of a single frame."""
        if len(items) != 1:
            raise ValueError(f"a graph takes one frame, got {len(items)}")
        return dict(items[0].inputs)

    def predictions(self, outputs: GraphOutputs, items: Sequence[PreparedFrame]) -> list[Detected]:
        """The outputs as they are: boxes are selected in `encode`, while the engine runs the next frame."""
        (frame,) = items
        return [Detected(outputs, frame)]

    def encode(self, options: DetectOptions, prepared: PreparedRequest, predictions: Sequence[Detected]) -> FoundBoxes:
        """See `TaskRuntime`."""
        assert isinstance(prepared, PreparedDetection), "of this task's own making"
        (detected,) = predictions
        found = found_boxes(self.metadata, detected.outputs, detected.frame, options.min_score)
        height, width = detected.frame.image_size
        return FoundBoxes(
            height=height,
            width=width,
            format=options.format,
            found=found,
            num_points=detected.frame.num_points,
            grid=self.metadata.grid,
            file=encode(
                options.format,
                found,
                image=prepared.image,
                points=prepared.points,
                calibration=detected.frame.calibration,
                grid=self.metadata.grid,
            ),
        )

    def self_test_options(self) -> DetectOptions:
        """See `TaskRuntime`."""
        return DetectOptions(format=None, sensor_policy="warn")

    def golden_frames(self, directory: Path, *, size_problem: SizeProblem) -> list[GoldenFrame]:
        """See `TaskRuntime`."""
        return [
            GoldenFrame(
                _parts(frame.image, frame.points, frame.calibration),
                as_rows(found_boxes(self.metadata, frame.outputs, frame.prepared(self.metadata))),
            )
            for frame in read_golden_frames(directory, self.metadata)
        ]

    def own_frame(self) -> Frame:
        """See `TaskRuntime`."""
        return _parts(*made_up_frame(self.metadata))

    def observed(self, answer: Any) -> NDArray[np.generic]:  # noqa: ANN401 - see `TaskRuntime`
        """The boxes of a prediction by the artifact's own limits, or of a result; see `as_rows`."""
        if isinstance(answer, Detected):
            return as_rows(found_boxes(self.metadata, answer.outputs, answer.frame))
        return as_rows(answer.found)

    def agreeing(self, observed: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[int, int]:
        """Boxes that both have, and all that either has."""
        return agreement(observed, expected)

    def min_agreement(self, precision: Precision) -> float:
        """See `TaskRuntime`."""
        return LEAST_AGREEMENT


def _parts(image: NDArray[np.uint8], points: NDArray[np.float32], calibration: Calibration) -> Frame:
    return {"rgb": image, "points": points, "calibration": calibration.packed()}

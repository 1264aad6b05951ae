"""The torch network as the reference of a detector's backends, on made-up frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from geminifusion_export.detection.graph import DetectionGraph
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.verification.detection import ReferenceFrame
from geminifusion_export.verification.torch_reference import check_weights, no_data_for
from geminifusion_model.detection.checkpoint import read_detector
from geminifusion_model.detection.detector import Detector
from geminifusion_runtime.artifact import ArtifactMetadata, DetectionMetadata
from geminifusion_runtime.tasks.detection.blank import made_up_frame
from geminifusion_runtime.tasks.detection.golden import GoldenFrame

_POINTS = (1, 300, 20_000)  # of the frames that an export is verified on; it is shipped with them
_NEW_SEED = 1000  # of frames that no export is shipped with


def detection_graph(checkpoint: Path) -> DetectionGraph:
    """A detector's graph in torch, in eval mode.

    Raises:
        ExportError: see `DetectionGraph`.
    """
    return DetectionGraph(Detector.from_pretrained(checkpoint), read_detector(checkpoint).task.image_size).eval()


def reference_frames(graph: DetectionGraph, metadata: DetectionMetadata, seed: int = 0) -> Iterator[GoldenFrame]:
    """Frames of few and of many points, with torch's outputs."""
    reference = TorchBackend(graph)
    for index, num_points in enumerate(_POINTS):
        made = made_up_frame(metadata, seed + index, num_points)
        frame = GoldenFrame(image=made.image, points=made.points, calibration=made.calibration, outputs={})
        yield frame.with_outputs(reference.run(frame.prepared(metadata).inputs))


class DetectionNetwork:
    """See `TorchNetwork`.

    Args:
        checkpoint: the one the artifact was made from.

    Raises:
        ExportError: it is not.
    """

    remarks = ()

    def __init__(self, checkpoint: Path, metadata: ArtifactMetadata) -> None:
        assert isinstance(metadata, DetectionMetadata), "of this task's own making"
        check_weights(checkpoint, metadata)
        self._metadata = metadata
        self._graph = detection_graph(checkpoint)

    def references(self) -> tuple[Sequence[ReferenceFrame], None]:
        """Of other frames than those that the artifact is shipped with; none of the traced shape."""
        frames = reference_frames(self._graph, self._metadata, _NEW_SEED)
        return [ReferenceFrame(frame.prepared(self._metadata), frame.outputs) for frame in frames], None

    def on_data(self, data: Path, frames: int) -> Sequence[ReferenceFrame]:
        """Raises VerificationError: there are no such frames."""
        raise no_data_for(self._metadata)

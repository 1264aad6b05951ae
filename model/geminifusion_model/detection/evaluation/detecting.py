"""Run a detector on frames, and write or read what it found as KITTI's result text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.data.augment import prepare
from geminifusion_model.detection.data.batches import detector_inputs
from geminifusion_model.detection.data.frame import DetectionFrame, DetectionFrames
from geminifusion_model.detection.data.labels import KittiObjects, read_objects
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.kitti_ap import Labeled
from geminifusion_runtime.detection.kitti_text import kitti_text
from geminifusion_runtime.detection.results import FrameBoxes, in_frame
from geminifusion_runtime.detection.selection import within_centers

Change = Callable[[DetectionFrame, int], DetectionFrame]
"""What happens to a frame, given its index too, before a detector sees it."""


def detect(
    net: Detector, frame: DetectionFrame, image_size: tuple[int, int], seen: DetectionFrame | None = None
) -> FrameBoxes:
    """The boxes of a frame that are in its image.

    Args:
        net: in eval mode.
        image_size: that images are fitted into.
        seen: the frame as its sensors give it, where that differs; boxes are told in axes of `frame`.
    """
    config = net.config
    sample = prepare(frame if seen is None else seen, config, image_size)
    inputs = detector_inputs([sample], config, next(net.parameters()).device)
    with torch.no_grad():
        output = net(inputs.images, inputs.points, inputs.lidar2image)
    (found,) = net.detect(output)
    return in_frame(within_centers(found, config.selection), frame.calibration, frame.image_size, config.class_names)


def found_objects(found: FrameBoxes) -> KittiObjects:
    """Boxes as a result file has them, not rounded."""
    labels = found.detections.labels.tolist()
    unknown = np.full(len(found), -1.0)
    return KittiObjects(
        names=tuple(found.class_names[label] for label in labels),
        truncated=unknown,
        occluded=unknown,
        alphas=found.alphas,
        rectangles=found.rectangles,
        boxes=found.camera,
        scores=found.detections.scores.astype(float),
    )


def detect_all(
    net: Detector,
    frames: DetectionFrames,
    image_size: tuple[int, int],
    *,
    change: Change | None = None,
    results: Path | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> list[Labeled]:
    """Labels and detections of all frames.

    Args:
        change: what the sensors do to a frame.
        results: a folder that a result file of each frame is written to; made if need be.
        on_frame: called with the number of frames done.

    Raises:
        DatasetError: a file of the data is damaged, or a result cannot be written.
    """
    labeled = []
    for index in range(len(frames)):
        frame = frames[index]
        found = detect(net, frame, image_size, None if change is None else change(frame, index))
        if results is not None:
            _write(results / f"{frame.name}.txt", kitti_text(found))
        labeled.append(Labeled(frame.objects, found_objects(found)))
        if on_frame is not None:
            on_frame(index + 1)
    return labeled


def read_results(folder: Path, frames: DetectionFrames) -> list[Labeled]:
    """Labels of all frames, and what result files with their names say was detected.

    Raises:
        DatasetError: a frame has no result file, or one that cannot be read.
    """
    given = (frames[index] for index in range(len(frames)))
    return [Labeled(frame.objects, read_result(folder, frame.name)) for frame in given]


def read_result(folder: Path, name: str) -> KittiObjects:
    """What the result file of a frame says was detected.

    Raises:
        DatasetError: there is none, or it cannot be read.
    """
    path = folder / f"{name}.txt"
    if not path.is_file():
        raise DatasetError(f"{path} is missing; give one result file a frame, an empty one where nothing was found")
    return read_objects(path, scored=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror}") from None

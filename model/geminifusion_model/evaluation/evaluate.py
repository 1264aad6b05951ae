"""Run a network over a data set and score it by a named protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.sample import Dataset
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.evaluation.prediction import Corruption, ScoredFrame
from geminifusion_model.evaluation.predictor import NetworkPredictor, Predictor
from geminifusion_model.evaluation.protocols import protocol_named
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All in percent; `iou` and `class_accuracy` hold one entry per class, NaN where the class never occurs.

    `protocol` is the name, with the input scale if frames were reduced. `matrices` is `frames K K`, one confusion
    matrix per frame, from which intervals are drawn.
    """

    protocol: str
    frames: int
    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: tuple[float, ...]
    class_accuracy: tuple[float, ...] = ()
    matrices: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 0, 0), np.int64), repr=False, compare=False
    )


class Meter(Interface):
    """A measurement that is given every scored frame."""

    def add(self, frame: ScoredFrame) -> None:
        """Take one frame into account."""


def evaluate(
    net: GeminiFusion | Predictor,
    dataset: Dataset,
    *,
    protocol: str = "native-labels",
    task: Task | None = None,
    on_frame: Callable[[int], None] | None = None,
    meters: Sequence[Meter] = (),
    corruption: Callable[[int], Corruption] | None = None,
) -> Scores:
    """Score the labels, one frame at a time.

    Args:
        net: a network, whose ensemble is scored, or anything that predicts frames.
        protocol: a key of `PROTOCOLS`.
        task: encodings and input scale of a network, the data set's own if none; classes must be the same.
        on_frame: called with the number of frames done.
        meters: further measurements, given every frame.
        corruption: gives the corruption of a frame's inputs by its index; none if None.

    Raises:
        ValueError: the protocol is unknown, the data set is empty, its classes are not the network's, or what
            predicts cannot follow the protocol.
    """
    how = protocol_named(protocol)
    if not len(dataset):
        raise ValueError("the data set has no frames to evaluate on")
    num_classes = net.config.num_classes if isinstance(net, GeminiFusion) else len(net.task.class_names)
    if len(dataset.task.class_names) != num_classes:
        raise ValueError(
            f"the data set has {len(dataset.task.class_names)} classes, the network {num_classes}; expected the same"
        )
    known = task if isinstance(net, GeminiFusion) else net.task
    if known is not None and known.class_names != dataset.task.class_names:
        raise ValueError(
            "the data set has other classes than the network, or in another order; bring them together by "
            "data.matching.with_classes"
        )
    trained = net if isinstance(net, GeminiFusion) and net.training else None
    predictor = NetworkPredictor(net, task or dataset.task) if isinstance(net, GeminiFusion) else net
    task = predictor.task
    matrix = ConfusionMatrix(num_classes, how.absent_class)
    matrices = np.zeros((len(dataset), num_classes, num_classes), np.int64)
    for index in range(len(dataset)):
        corrupt = None if corruption is None else corruption(index)
        frame = predictor.score(dataset[index], how, index=index, corruption=corrupt)
        matrices[index] = matrix.add(frame.truth, frame.labels)
        for meter in meters:
            meter.add(frame)
        if on_frame is not None:
            on_frame(index + 1)
    if trained is not None:
        trained.train()
    return Scores(
        protocol=how.name if task.input_scale == 1.0 else f"{how.name}, input x{task.input_scale:g}",
        frames=len(dataset),
        miou=matrix.miou(),
        pixel_accuracy=matrix.pixel_accuracy(),
        mean_accuracy=matrix.mean_accuracy(),
        iou=tuple(matrix.iou().tolist()),
        class_accuracy=tuple(matrix.class_accuracy().tolist()),
        matrices=matrices,
    )

"""Semantic segmentation as a task; see `TaskRuntime`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import Precision, SegmentationMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.decoding.decode import DecodedImage, DecodedRequest
from geminifusion_runtime.encoding.class_shares import ClassShare
from geminifusion_runtime.encoding.run_lengths import RunLengths
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT
from geminifusion_runtime.modality_options import check_modalities, check_overlay
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.postprocessing import Prediction, disagreement, predictions
from geminifusion_runtime.preparation import prepare
from geminifusion_runtime.preprocessing import PreparedItem, check_names, images_by_modality
from geminifusion_runtime.preprocessing import prepare as prepare_item
from geminifusion_runtime.space_options import check_space
from geminifusion_runtime.tasks.base import Frame, PreparedRequest, SizeProblem, TaskResult
from geminifusion_runtime.tasks.images import ImageTask
from geminifusion_runtime.tasks.segmentation.encoding import encode
from geminifusion_runtime.types import CLOUD_FORMATS, MaskFormat, SensorPolicy

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PreparedSegmentation(PreparedRequest):
    """One request, ready for the engine: the frame, and where disagreement was asked for, its first modality alone."""

    decoded: DecodedRequest


@dataclass(frozen=True, kw_only=True)
class SegmentationResult(TaskResult):
    """`mask` is the encoded file; empty for json, which has `rle`, and where no file was requested."""

    format: MaskFormat | None
    labels: NDArray[np.uint8]  # H W, at the size of the posted rgb, or without it of the first modality
    mask: bytes
    classes: tuple[ClassShare, ...]
    rle: tuple[RunLengths, ...]
    confidence: NDArray[np.float16] | None
    gate: NDArray[np.float16] | None
    disagreement: NDArray[np.float16] | None = None  # h w, 0…1; see `postprocessing.disagreement`
    # h w, 0…1, by modality beside the first, in the model's order; with the gate, of models of more than two
    modality_weights: Mapping[str, NDArray[np.float16]] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Of the file and the labels."""
        return int(len(self.mask) + self.labels.nbytes)


class SegmentationTask(ImageTask[SegmentOptions, Prediction]):
    """A class for every pixel, with confidence and gate."""

    options = SEGMENT_OPTIONS
    compared: ClassVar[str] = "labels"
    compared_output = "labels"
    metadata: SegmentationMetadata

    def accept(self, options: SegmentOptions, parts: Mapping[str, T], *, made: Collection[str] = ()) -> Mapping[str, T]:
        """See `TaskRuntime`."""
        images = images_by_modality(self.metadata, parts)
        check_names(self.metadata, list(dict.fromkeys([*images, *made])))
        check_modalities(options, self.metadata)
        check_overlay(options, self.metadata)
        check_space(options, self.metadata, list(images))
        return images

    def camera(self, options: SegmentOptions) -> Sequence[float] | None:
        """See `TaskRuntime`."""
        return options.intrinsics or self.metadata.intrinsics

    def pixel_weight(self, options: SegmentOptions) -> int:
        """Points take 68 bytes each while their file is made, a mask 14."""
        return 6 if options.format in CLOUD_FORMATS else 1

    def item(self, arrays: Frame, *, size_problem: SizeProblem) -> PreparedItem:
        """See `preprocessing.prepare`."""
        return prepare_item(self.metadata, arrays, size_problem=size_problem)

    def prepare(
        self,
        options: SegmentOptions,
        decoded: Mapping[str, DecodedImage],
        default_policy: SensorPolicy,
        *,
        size_problem: SizeProblem,
    ) -> PreparedSegmentation:
        """See `TaskRuntime`."""
        ready = prepare(self.metadata, options, decoded, default_policy, size_problem=size_problem)
        return PreparedSegmentation(
            items=ready.items, sensors=ready.sensors, warnings=ready.warnings, decoded=ready.decoded
        )

    def predictions(self, outputs: GraphOutputs, items: Sequence[PreparedItem]) -> list[Prediction]:
        """See `TaskRuntime`."""
        return predictions(outputs, items)

    def encode(
        self, options: SegmentOptions, prepared: PreparedRequest, predictions: Sequence[Prediction]
    ) -> SegmentationResult:
        """See `TaskRuntime`."""
        assert isinstance(prepared, PreparedSegmentation), "of this task's own making"
        first, *others = predictions
        changes = disagreement(first, others[0]) if others else None
        encoded = encode(options, self.metadata, prepared.decoded, first, changes)
        height, width = first.labels.shape
        return SegmentationResult(
            height=height,
            width=width,
            format=options.format,
            labels=first.labels,
            mask=encoded.mask,
            classes=encoded.classes,
            rle=encoded.rle,
            confidence=first.confidence.astype(np.float16) if options.confidence else None,
            gate=first.gate.astype(np.float16) if options.gate else None,
            disagreement=changes,
            modality_weights=self._weights_by_name(first) if options.gate else {},
        )

    def self_test_options(self) -> SegmentOptions:
        """See `TaskRuntime`."""
        return SegmentOptions(format=None, sensor_policy="warn")

    def agreeing(self, observed: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[int, int]:
        """Pixels of the same class."""
        equal = int(np.count_nonzero(observed == expected)) if observed.shape == expected.shape else 0
        return equal, expected.size

    def min_agreement(self, precision: Precision) -> float:
        """See `TaskRuntime`."""
        return MIN_LABEL_AGREEMENT[precision]

    def _weights_by_name(self, prediction: Prediction) -> dict[str, NDArray[np.float16]]:
        """The weights of the modalities beside the first, `h w` each; none where the model has no such map."""
        if prediction.modality_weights is None:
            return {}
        names = [spec.name for spec in self.metadata.modalities[1:]]
        return dict(zip(names, prediction.modality_weights.astype(np.float16), strict=True))

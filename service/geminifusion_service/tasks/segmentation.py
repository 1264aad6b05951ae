"""Semantic segmentation as the service sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec, SegmentationMetadata
from geminifusion_runtime.backends.selection import precision_of
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.dummy_inputs import random_inputs
from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, read_golden_set
from geminifusion_runtime.modality_options import check_modalities
from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import ModalityOptions, modality_options
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.postprocessing import Prediction, disagreement
from geminifusion_runtime.preparation import PreparedRequest, prepare
from geminifusion_runtime.preprocessing import check_names, images_by_modality
from geminifusion_runtime.space_options import check_space
from geminifusion_runtime.types import CLOUD_FORMATS, SensorPolicy
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.request import SegmentRequest, SegmentResponse, TaskRequest, TaskResponse
from geminifusion_service.tasks.base import Frame, Golden, Prepared
from geminifusion_service.tasks.pixel_count import count_pixels
from geminifusion_service.tasks.segmentation_encoding import encode

MAX_FRAMES = 8  # of a golden set, evenly spread: more would only cost engine time and memory
_CLOUD_WEIGHT = 6  # by which a pixel counts: points take 68 bytes each while their file is made, a mask 14


class SegmentationTask:
    """See `ServedTask`."""

    request_type: type[Any] = SegmentRequest
    where = "POST /v1/segment"
    described = ("temperature", "input_scale", "label_upsampling", "intrinsics", "classes", "ignore_index")

    def checked(self, request: TaskRequest, metadata: ArtifactMetadata) -> TaskRequest:
        """See `ServedTask`."""
        asked = cast(SegmentRequest, request)
        images = images_by_modality(metadata, asked.images)
        check_names(metadata, list(images))
        check_modalities(asked.options, metadata)
        check_space(asked.options, metadata, list(images))
        return asked if images is asked.images else SegmentRequest(images=images, options=asked.options)

    def classes(self, metadata: ArtifactMetadata) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """See `ServedTask`."""
        return [(spec.name, spec.color) for spec in cast(SegmentationMetadata, metadata).classes]

    def pixels(self, request: TaskRequest, max_pixels: int) -> int:
        """See `ServedTask`."""
        asked = cast(SegmentRequest, request)
        weight = _CLOUD_WEIGHT if asked.options.format in CLOUD_FORMATS else 1
        return weight * count_pixels(asked.images, max_pixels=max_pixels)

    def elements(self, request: TaskRequest) -> int:
        """None: transports count those that come as text."""
        return 0

    def decoding(
        self, request: TaskRequest, spec: ModalitySpec, metadata: ArtifactMetadata
    ) -> tuple[ModalityOptions, Sequence[float] | None]:
        """See `ServedTask`."""
        options = cast(SegmentRequest, request).options
        return modality_options(options, spec), options.intrinsics or metadata.intrinsics  # type: ignore[attr-defined]

    def prepare(
        self, model: Model, request: TaskRequest, images: Mapping[str, DecodedImage], policy: SensorPolicy
    ) -> Prepared:
        """See `ServedTask`."""
        prepared = prepare(model, cast(SegmentRequest, request).options, images, policy)
        return Prepared(prepared.items, prepared.items[0].shape, prepared)

    def respond(self, model: Model, request: TaskRequest, prepared: Prepared, results: Sequence[Any]) -> TaskResponse:
        """See `ServedTask`."""
        details: PreparedRequest = prepared.details
        options = cast(SegmentRequest, request).options
        prediction: Prediction = results[0]
        changes = disagreement(prediction, results[1]) if len(results) > 1 else None
        encoded = encode(options, model.metadata, details.decoded, prediction, changes)
        height, width = prediction.labels.shape
        return SegmentResponse(
            model=model.reference,
            request_id=options.request_id or new_request_id(),
            height=height,
            width=width,
            format=options.format,
            labels=prediction.labels,
            mask=encoded.mask,
            classes=encoded.classes,
            rle=encoded.rle,
            confidence=prediction.confidence.astype(np.float16) if options.confidence else None,
            gate=prediction.gate.astype(np.float16) if options.gate else None,
            disagreement=changes,
            modality_weights=_weights_by_name(model.metadata, prediction) if options.gate else {},
            warnings=details.warnings,
            sensors=details.sensors,
        )

    def golden(self, directory: Path, model: Model) -> Golden | None:
        """See `ServedTask`."""
        metadata = model.metadata
        batches = read_golden_set(directory, metadata)
        if not batches:
            return None
        try:
            shape = model.prepare({name: array[0] for name, array in batches[0].inputs.items()}).shape
        except UnprocessableError:
            return None
        if shape != batches[0].shape[1:]:  # reduced, so that the labels are others
            return None
        indices = np.unique(np.linspace(0, len(batches) - 1, min(MAX_FRAMES, len(batches))).round().astype(int))
        chosen = [batches[index] for index in indices]
        return Golden(
            # copies: a view would keep the whole set in memory
            frames=tuple({name: array[0].copy() for name, array in batch.inputs.items()} for batch in chosen),
            outcomes=tuple(np.array(batch.outputs["labels"][0], np.uint8) for batch in chosen),
            budget=MIN_LABEL_AGREEMENT[precision_of(metadata, model.backend.name)],
        )

    def own_frame(self, metadata: ArtifactMetadata) -> Frame:
        """Noise of the reference size."""
        inputs = random_inputs(metadata.modalities, (1, *metadata.size.reference))
        return {name: array[0] for name, array in inputs.items()}

    def test_request(self, frame: Frame) -> TaskRequest:
        """See `ServedTask`."""
        # Golden depth may have more holes than a sensor policy allows: it is the model that is tested.
        return SegmentRequest(images=frame, options=SegmentOptions(format=None, sensor_policy="warn"))

    def outcome(self, response: TaskResponse) -> NDArray[np.generic]:
        """The labels, `H W`."""
        return cast(SegmentResponse, response).labels

    def outcome_alone(self, model: Model, frame: Frame) -> NDArray[np.generic]:
        """See `ServedTask`."""
        (prediction,) = model.run([model.prepare({name: np.asarray(image) for name, image in frame.items()})])
        return prediction.labels

    def agreement(self, found: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[float, float]:
        """Pixels of the same class, and all pixels."""
        equal = int(np.count_nonzero(found == expected)) if found.shape == expected.shape else 0
        return equal, expected.size


def _weights_by_name(metadata: ArtifactMetadata, prediction: Prediction) -> dict[str, NDArray[np.float16]]:
    """The weights of the modalities beside the first, `h w` each; none where the model has no such map."""
    if prediction.modality_weights is None:
        return {}
    names = [spec.name for spec in metadata.modalities[1:]]
    return dict(zip(names, prediction.modality_weights.astype(np.float16), strict=True))

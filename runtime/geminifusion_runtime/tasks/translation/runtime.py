"""Image translation as a task; see `TaskRuntime`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import Precision, TranslationMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.decoding.alignment import resize_to_reference
from geminifusion_runtime.decoding.decode import DecodedImage, sensor_healths
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.errors import SizeNotServedError
from geminifusion_runtime.modality_options import check_modalities
from geminifusion_runtime.preprocessing import PreparedItem, absence_warnings, check_names
from geminifusion_runtime.preprocessing import prepare as prepare_item
from geminifusion_runtime.tasks.base import Frame, PreparedRequest, SizeProblem, TaskResult
from geminifusion_runtime.tasks.images import ImageTask, arrays_of
from geminifusion_runtime.tasks.translation.encoding import encode_output
from geminifusion_runtime.tasks.translation.options import TRANSLATE_OPTIONS, TranslateOptions, TranslationFormat
from geminifusion_runtime.types import SensorPolicy

T = TypeVar("T")

# What agrees with torch: values within so many grey levels, or within this share of the distance.
GREY_LEVELS, DEPTH_SHARE = 2, 0.01
# Least share of values that have to agree, by the precision a backend computes in.
MIN_AGREEMENT: dict[Precision, float] = {"float32": 0.999, "float16": 0.98, "bfloat16": 0.9, "int8": 0.7}


@dataclass(frozen=True, kw_only=True)
class TranslationItem(PreparedItem):
    """Checked inputs of one request, padded to a size that the graph takes."""

    content: tuple[int, int]  # height, width of what is not padding


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Prediction for one item: `H W 3` uint8 RGB, or `H W` float32 metres, at the size of the images as they came."""

    output: NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class TranslationResult(TaskResult):
    """`file` is the encoded output; empty where no file was requested."""

    format: TranslationFormat | None
    domain: str  # of the output
    output: NDArray[np.generic]  # H W 3 uint8 RGB, or H W float32 metres
    file: bytes

    @property
    def num_bytes(self) -> int:
        """Of the file and the pixels."""
        return len(self.file) + self.output.nbytes


class TranslationTask(ImageTask[TranslateOptions, Translation]):
    """An image of another domain."""

    options = TRANSLATE_OPTIONS
    compared: ClassVar[str] = "values"
    metadata: TranslationMetadata

    @property
    def compared_output(self) -> str:  # type: ignore[override]  # it depends on the model
        """The graph's only output."""
        return self.metadata.output.kind

    def accept(
        self, options: TranslateOptions, parts: Mapping[str, T], *, made: Collection[str] = ()
    ) -> Mapping[str, T]:
        """See `TaskRuntime`."""
        check_names(self.metadata, list(dict.fromkeys([*parts, *made])))
        check_modalities(options, self.metadata)
        return parts

    def item(self, arrays: Frame, *, size_problem: SizeProblem) -> TranslationItem:
        """See `preprocessing.prepare`; then sides up to multiples of what the graph takes, by repeating the last."""
        ready = prepare_item(self.metadata, arrays, size_problem=lambda _height, _width: None)
        multiple = self.metadata.size.multiple_of
        rows, columns = ((-(-side // multiple)) * multiple for side in ready.shape)
        if problem := size_problem(rows, columns):
            height, width = ready.image_size
            raise SizeNotServedError(f"the images are {width}x{height}: {problem}")
        return TranslationItem(
            inputs={name: _padded(array, (rows, columns)) for name, array in ready.inputs.items()},
            shape=(rows, columns),
            image_size=ready.image_size,
            content=ready.shape,
        )

    def prepare(
        self,
        options: TranslateOptions,
        decoded: Mapping[str, DecodedImage],
        default_policy: SensorPolicy,
        *,
        size_problem: SizeProblem,
    ) -> PreparedRequest:
        """See `TaskRuntime`."""
        specs = {spec.name: spec for spec in self.metadata.modalities}
        kept, notes = apply_policy(decoded, specs, options.sensor_policy or default_policy)
        if options.align == "resize":
            kept = resize_to_reference(kept, specs)
        item = self.item(arrays_of(kept), size_problem=size_problem)
        if item.content != item.image_size:
            (height, width), (rows, columns) = item.image_size, item.content
            notes = (
                *notes,
                f"the images were reduced from {width}x{height} to {columns}x{rows} and the result enlarged",
            )
        return PreparedRequest(
            items=(item,),
            sensors=sensor_healths(decoded),
            warnings=(
                *notes,
                *absence_warnings(self.metadata, kept),
                *(text for image in kept.values() for text in image.warnings),
            ),
        )

    def predictions(self, outputs: GraphOutputs, items: Sequence[PreparedItem]) -> list[Translation]:
        """See `TaskRuntime`; padding is cut off, and what was reduced enlarged, depth by nearest neighbour."""
        found = outputs[self.metadata.output.kind]
        expected = (len(items), *items[0].shape)
        if found.shape[:3] != expected:
            raise RuntimeError(f"the graph answered an output of shape {found.shape}, not {expected}")
        return [Translation(output=_restored(array, item)) for array, item in zip(found, items, strict=True)]

    def encode(
        self, options: TranslateOptions, prepared: PreparedRequest, predictions: Sequence[Translation]
    ) -> TranslationResult:
        """See `TaskRuntime`."""
        output = predictions[0].output
        return TranslationResult(
            height=output.shape[0],
            width=output.shape[1],
            format=options.format,
            domain=self.metadata.output.name,
            output=output,
            file=b"" if options.format is None else encode_output(output, options.format),
        )

    def self_test_options(self) -> TranslateOptions:
        """See `TaskRuntime`."""
        return TranslateOptions(format=None, sensor_policy="warn")

    def observed(self, answer: Any) -> NDArray[np.generic]:  # noqa: ANN401 - see `TaskRuntime`
        """The output, which predictions and results both have."""
        found: NDArray[np.generic] = answer.output
        return found

    def agreeing(self, observed: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[int, int]:
        """Values within two grey levels, or within a hundredth of the distance."""
        if observed.shape != expected.shape:
            return 0, expected.size
        return int(np.count_nonzero(agreeing_values(observed, expected))), expected.size

    def min_agreement(self, precision: Precision) -> float:
        """See `TaskRuntime`."""
        return MIN_AGREEMENT[precision]


def agreeing_values(found: NDArray[np.generic], expected: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which values of two outputs agree; of the same shape."""
    wanted = expected.astype(np.float32)
    allowed = np.float32(GREY_LEVELS) if expected.dtype == np.uint8 else np.float32(DEPTH_SHARE) * np.abs(wanted)
    return np.asarray(np.abs(found.astype(np.float32) - wanted) <= allowed)


def _padded(array: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    height, width = array.shape[:2]
    if (height, width) == shape:
        return array
    added = [(0, shape[0] - height), (0, shape[1] - width), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, added, mode="edge")


def _restored(array: NDArray[np.generic], item: PreparedItem) -> NDArray[np.generic]:
    assert isinstance(item, TranslationItem), "of this task's own making"
    rows, columns = item.content
    cut = array[:rows, :columns]
    if item.content == item.image_size:
        return np.ascontiguousarray(cut)
    method = cv2.INTER_LINEAR if array.dtype == np.uint8 else cv2.INTER_NEAREST_EXACT
    height, width = item.image_size
    return np.asarray(cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=method))

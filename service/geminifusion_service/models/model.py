"""A loaded model: from decoded images to predictions, synchronously; `geminifusion.load` shares it.

Axes: B batch, H W image, h w a quarter of what the graph saw, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_export.artifact import ArtifactMetadata, ModalitySpec, open_artifact
from geminifusion_service.backends.protocol import Backend
from geminifusion_service.backends.selection import open_backend
from geminifusion_service.engine.cpu_budget import usable_cores
from geminifusion_service.errors import (
    ImageTooSmallError,
    MissingPartError,
    SizeMismatchError,
    SizeNotServedError,
    UnknownPartError,
    UnprocessableError,
)

_METADATA = TypeAdapter(ArtifactMetadata)


@dataclass(frozen=True, kw_only=True)
class PreparedItem:
    """Checked inputs of one request, at the size the graph will see.

    Of equal `shape`, they may share a batch.
    """

    inputs: Mapping[str, NDArray[np.generic]]  # by graph input name, without batch axis
    shape: tuple[int, int]  # height, width of the inputs
    posted: tuple[int, int]  # height, width of the posted images


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one item."""

    labels: NDArray[np.uint8]  # H W at the posted size
    confidence: NDArray[np.float32]  # h w, probability of the winning class, 0…1
    gate: NDArray[np.float32]  # h w, how much rgb attends to the other modality, 0…1


class Model:
    """An artifact that was verified and loaded; `reason` says why on this runtime."""

    def __init__(self, metadata: ArtifactMetadata, backend: Backend, reason: str = "") -> None:
        self.metadata = metadata
        self.backend = backend
        self.reason = reason

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        threads: int | None = None,
        backend: str = "auto",
        custom_ops: Path | None = None,
    ) -> Model:
        """Verify an artifact and load it.

        Args:
            directory: what `geminifusion export` wrote.
            threads: of the engine; None takes the cores this process may use.
            backend, custom_ops: see `open_backend`.

        Raises:
            ArtifactError: missing, damaged or of another schema.
            RuntimeError: the runtime cannot load its file, or is not there.
        """
        metadata = open_artifact(directory)
        chosen = open_backend(
            Path(directory), metadata, wanted=backend, threads=threads or usable_cores(), custom_ops=custom_ops
        )
        return cls(metadata, chosen.backend, chosen.reason)

    @property
    def reference(self) -> str:
        """`name@version`."""
        return self.metadata.reference

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse a request that lacks a modality or brings an unknown one, before anything is decoded.

        Raises:
            MissingPartError, UnknownPartError: naming what came and what is expected.
        """
        expected = [modality.name for modality in self.metadata.modalities]
        came = ", ".join(sorted(names)) or "nothing"
        for modality in self.metadata.modalities:
            name = modality.name
            if name not in names and not modality.optional:
                raise MissingPartError(f"{name} is missing: {came} came; send {' and '.join(expected)}")
        for name in names:
            if name not in expected:
                raise UnknownPartError(
                    f"{self.reference} has no input {name!r}; send {' and '.join(expected)} "
                    "(options go into the query string)"
                )

    def absence_warnings(self, came: Collection[str]) -> tuple[str, ...]:
        """What to tell a client who left out a modality that the model can do without."""
        return tuple(
            f"no {modality.name} was sent; the model was trained to do without, but answers are less sure"
            for modality in self.metadata.modalities
            if modality.name not in came
        )

    def prepare(self, rgb: NDArray[np.uint8], others: Mapping[str, NDArray[np.generic]]) -> PreparedItem:
        """Check one request against the model and bring it to a size the graph takes.

        Args:
            rgb: `H W 3` uint8.
            others: the other modalities by name; depth is `H W` float32 metres, 0 or NaN = no measurement. One that the
                model was trained to do without may be left out.

        Raises:
            MissingPartError, UnknownPartError: the modalities are not the model's.
            UnprocessableError: an array of another type or number of channels.
            SizeMismatchError: the modalities differ in size.
            ImageTooSmallError: a side is below the model's minimum, as posted or once reduced to its maximum.
            SizeNotServedError: the runtime was built for other sizes.
        """
        arrays: dict[str, NDArray[np.generic]] = {"rgb": rgb, **others}
        self.check_names(list(arrays))
        specs = self.metadata.modalities
        for spec in specs:
            if spec.name not in arrays:
                arrays[spec.name] = _absent(spec, rgb.shape[:2])
            _check_array(arrays[spec.name], spec)
        height, width = rgb.shape[:2]
        for name, array in others.items():
            if array.shape[:2] != (height, width):
                raise SizeMismatchError(
                    f"{name} is {array.shape[1]}x{array.shape[0]} but rgb is {width}x{height}; "
                    "send both at the same size, aligned to the colour camera"
                )
        shape = self._graph_size(height, width)
        if shape != (height, width):
            arrays = {spec.name: _reduce(arrays[spec.name], shape, spec) for spec in specs}
        return PreparedItem(
            inputs={spec.name: np.ascontiguousarray(arrays[spec.name]) for spec in specs},
            shape=shape,
            posted=(height, width),
        )

    def _graph_size(self, height: int, width: int) -> tuple[int, int]:
        policy = self.metadata.size
        shape = (height, width)
        if height * width > policy.max_pixels:
            factor = math.sqrt(policy.max_pixels / (height * width))
            shape = (int(height * factor), int(width * factor))
        if min(shape) < policy.min_side:
            reduced = "" if shape == (height, width) else f" ({shape[1]}x{shape[0]} once reduced to what fits)"
            raise ImageTooSmallError(
                f"the images are {width}x{height}{reduced}; {self.reference} takes no side below "
                f"{policy.min_side}: "
                "send larger or less elongated images"
            )
        if problem := self.backend.size_problem(*shape):
            raise SizeNotServedError(f"the images are {width}x{height}: {problem}")
        return shape

    def run(self, items: Sequence[PreparedItem]) -> list[Prediction]:
        """Run items of one shape as a batch; as many predictions, in the same order.

        Raises:
            ValueError: no items, or items of different shape.
            RuntimeError: the runtime failed.
        """
        if len({item.shape for item in items}) != 1:
            raise ValueError(f"a batch needs items of one shape, got {[item.shape for item in items]}")
        names = [spec.name for spec in self.metadata.modalities]
        if len(items) == 1:  # a view, where stacking would copy
            inputs = {name: items[0].inputs[name][None] for name in names}
        else:
            inputs = {name: np.stack([item.inputs[name] for item in items]) for name in names}
        outputs = self.backend.run(inputs)
        expected = (len(items), *items[0].shape)
        if outputs.labels.shape != expected:
            raise RuntimeError(f"the graph answered labels of shape {outputs.labels.shape}, not {expected}")
        return [
            Prediction(
                labels=_enlarge(outputs.labels[index], item.posted),
                confidence=outputs.confidence[index],
                gate=outputs.gate[index],
            )
            for index, item in enumerate(items)
        ]

    def warm_up(self) -> None:
        """Run the reference size once, so that the first request pays for nothing but itself."""
        height, width = self.metadata.size.reference
        inputs = {}
        for spec in self.metadata.modalities:
            shape = (height, width, 3) if spec.channels == 3 else (height, width)
            inputs[spec.name] = np.ones(shape, spec.dtype)
        self.run([PreparedItem(inputs=inputs, shape=(height, width), posted=(height, width))])

    def description(self) -> dict[str, Any]:
        """What clients may know: classes, palette, modalities, limits, scores, licences; JSON-ready."""
        facts: dict[str, Any] = _METADATA.dump_python(self.metadata, mode="json")
        return {
            "name": facts["name"],
            "version": facts["version"],
            "reference": self.reference,
            "backend": self.backend.name,
            **{
                key: facts[key]
                for key in (
                    "task",
                    "encoder",
                    "fusion",
                    "precision",
                    "temperature",
                    "modalities",
                    "size",
                    "classes",
                    "ignore_index",
                    "training",
                    "weights_license",
                    "data_license",
                    "verification",
                )
            },
        }


def _absent(spec: ModalitySpec, size: tuple[int, ...]) -> NDArray[np.generic]:
    """What encodes to zero, as in training: nothing measured, or the mean intensity."""
    if spec.unit == "metre":
        return np.zeros(size, spec.dtype)
    mean = np.round(255 * np.array(spec.mean)).astype(spec.dtype)
    return np.broadcast_to(mean, (*size, 3)) if spec.channels == 3 else np.full(size, mean[0], spec.dtype)


def _check_array(array: NDArray[np.generic], spec: ModalitySpec) -> None:
    expected = "height x width x 3" if spec.channels == 3 else "height x width"
    fits = array.ndim == 3 and array.shape[2] == 3 if spec.channels == 3 else array.ndim == 2
    if not fits or array.dtype != np.dtype(spec.dtype):
        raise UnprocessableError(
            f"{spec.name} is {array.dtype} of shape {array.shape}; expected {spec.dtype}, {expected}"
        )


def _reduce(array: NDArray[np.generic], shape: tuple[int, int], spec: ModalitySpec) -> NDArray[np.generic]:
    # An average over a depth edge would be a distance at which nothing is.
    method = cv2.INTER_AREA if spec.unit == "intensity" else cv2.INTER_NEAREST_EXACT
    return cv2.resize(array.astype(spec.dtype, copy=False), shape[::-1], interpolation=method)


def _enlarge(labels: NDArray[np.uint8], posted: tuple[int, int]) -> NDArray[np.uint8]:
    if labels.shape == posted:
        return labels
    return cv2.resize(labels, posted[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)

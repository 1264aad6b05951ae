"""A loaded model: from decoded images to predictions, synchronously; `geminifusion.load` shares it.

Axes: B batch, H W image, h w a quarter of what the graph saw, rounded up.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec, open_artifact
from geminifusion_runtime.backends.protocol import Backend, ClosableBackend, GraphOutputs, SupervisedBackend
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.batch_size_tuning import BatchPlan, Calibration, calibrate
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.dummy_inputs import blank_inputs
from geminifusion_runtime.errors import (
    ImageTooSmallError,
    MissingPartError,
    SizeMismatchError,
    SizeNotServedError,
    UnknownPartError,
    UnprocessableError,
)

_METADATA = TypeAdapter(ArtifactMetadata)
_SERIALS = itertools.count()


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
    """An artifact that was verified and loaded; `reason` says why on this runtime.

    `serial` is of this object alone: while a version is being replaced, two models have the same reference.

    Args:
        others: the same artifact on further devices; `run` takes the number of the instance, `backend` being 0.
    """

    def __init__(
        self, metadata: ArtifactMetadata, backend: Backend, reason: str = "", *, others: Sequence[Backend] = ()
    ) -> None:
        self.metadata = metadata
        self.backend = backend
        self.reason = reason
        self.batch_plan: BatchPlan | None = None  # None: not calibrated, the server's limits hold
        self._others = tuple(others)
        self.serial = next(_SERIALS)
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        threads: int | None = None,
        backend: str = "auto",
        custom_ops: Path | None = None,
        version: str | None = None,
    ) -> Model:
        """Verify an artifact and load it in this process, on the device its backend prefers.

        Args:
            directory: what `geminifusion export` wrote.
            threads: of the engine; None takes the cores this process may use.
            backend, custom_ops: see `open_backend`.
            version: what clients shall know it by; None takes the artifact's own.

        Raises:
            ArtifactError: missing, damaged or of another schema.
            RuntimeError: the runtime cannot load its file, or is not there.
        """
        metadata = open_artifact(directory)
        chosen = open_backend(
            Path(directory), metadata, wanted=backend, threads=threads or usable_cores(), custom_ops=custom_ops
        )
        if version is not None:
            metadata = dataclasses.replace(metadata, version=version)
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
                    "send both at the same size, aligned to the colour camera, or say align=resize"
                )
        shape = self._graph_size(height, width)
        if shape != (height, width):
            arrays = {spec.name: _reduce(arrays[spec.name], shape, spec) for spec in specs}
        return PreparedItem(
            inputs={spec.name: np.ascontiguousarray(arrays[spec.name]) for spec in specs},
            shape=shape,
            posted=(height, width),
        )

    def rgb_alone(self, item: PreparedItem) -> PreparedItem:
        """The same frame as if nothing but rgb had come, whether the model was trained for that or not."""
        inputs = {
            spec.name: item.inputs["rgb"] if spec.name == "rgb" else np.ascontiguousarray(_absent(spec, item.shape))
            for spec in self.metadata.modalities
        }
        return PreparedItem(inputs=inputs, shape=item.shape, posted=item.posted)

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

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The runtimes, one for each device; `backend` is the first."""
        return (self.backend, *self._others)

    @property
    def num_instances(self) -> int:
        """On how many devices it is loaded."""
        return len(self.backends)

    @property
    def problem(self) -> str | None:
        """Why the engine cannot be relied on now, for the operator; None while it can."""
        for backend in self.backends:
            if isinstance(backend, SupervisedBackend) and (text := backend.problem) is not None:
                return text
        return None

    def run(self, items: Sequence[PreparedItem], instance: int = 0) -> list[Prediction]:
        """Run items of one shape as a batch; as many predictions, in the same order.

        Args:
            instance: on which device, below `num_instances`.

        Raises:
            ValueError: no items, or items of different shape.
            EngineLostError: the engine's process died.
            RuntimeError: the runtime failed, or the model was closed.
        """
        return self.run_stacked(items, self.stack(items), instance)

    def stack(self, items: Sequence[PreparedItem]) -> dict[str, NDArray[np.generic]]:
        """The inputs of a batch by graph input name, with a leading batch axis.

        Raises:
            ValueError: no items, or items of different shape.
        """
        if len({item.shape for item in items}) != 1:
            raise ValueError(f"a batch needs items of one shape, got {[item.shape for item in items]}")
        names = [spec.name for spec in self.metadata.modalities]
        if len(items) == 1:  # a view, where stacking would copy
            return {name: items[0].inputs[name][None] for name in names}
        return {name: np.stack([item.inputs[name] for item in items]) for name in names}

    def run_stacked(
        self, items: Sequence[PreparedItem], inputs: Mapping[str, NDArray[np.generic]], instance: int = 0
    ) -> list[Prediction]:
        """Run `inputs`, which `stack` made of `items`; see `run`."""
        with self._in_use():
            return self._run(items, inputs, instance)

    def _run(
        self, items: Sequence[PreparedItem], inputs: Mapping[str, NDArray[np.generic]], instance: int
    ) -> list[Prediction]:
        outputs = self.backends[instance].run(inputs)
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

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self.reference} was unloaded")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait for the run of this moment, then give the runtime's memory back. `run` fails from now on.

        Returns whether that was done; False when the run did not end within `timeout_s`, and all is left as it is.
        """
        with self._changed:
            self._closed = True
            if not self._changed.wait_for(lambda: self._running == 0, timeout_s):
                return False
            backend, self.backend = self.backend, _Closed(self.backend.name)
            others, self._others = self._others, ()
        for instance in (backend, *others):
            if isinstance(instance, ClosableBackend):
                instance.close()
        return True

    def warm_up(self, sizes: Sequence[tuple[int, int]] = ()) -> None:
        """Run the reference size and others once, so that the first request of a size pays for nothing but itself.

        Args:
            sizes: height and width of images as they will be posted.

        Raises:
            UnprocessableError: a size the model does not take.
            RuntimeError: the runtime failed.
        """
        for height, width in dict.fromkeys([self.metadata.size.reference, *sizes]):
            item = self._blank(height, width)
            for instance in range(self.num_instances):
                self.run([item], instance)

    def calibrate(self, *, most: int, most_pixels: int, budget_s: float) -> None:
        """Measure how many images of the reference size, and of a quarter of its area, best run together.

        Two sizes, because a small image leaves a device idle that a large one fills. See `BatchPlan`; on the first
        device, and the result holds for the others.

        Args:
            most, most_pixels: together, whatever is measured.
            budget_s: seconds for all of it.

        Raises:
            RuntimeError: the runtime failed.
        """
        height, width = self.metadata.size.reference
        found: dict[tuple[int, int], Calibration] = {}
        for size in ((height, width), (height // 2, width // 2)):
            try:
                item = self._blank(*size)
            except UnprocessableError:
                continue  # a quarter of the reference may be less than the model takes
            if item.shape not in found:
                found[item.shape] = calibrate(
                    lambda count, item=item: self.run([item] * count),  # type: ignore[misc]
                    height=item.shape[0],
                    width=item.shape[1],
                    most=max(1, min(most, most_pixels // (item.shape[0] * item.shape[1]))),
                    budget_s=budget_s / 2,
                )
        self.batch_plan = BatchPlan(most=most, most_pixels=most_pixels, calibrations=tuple(found.values()))

    def _blank(self, height: int, width: int) -> PreparedItem:
        """A frame of this size on which nothing is to be seen, as posted and then prepared."""
        others = {name: array[0] for name, array in blank_inputs(self.metadata.modalities, (1, height, width)).items()}
        return self.prepare(np.asarray(others.pop("rgb"), np.uint8), others)

    def description(self) -> dict[str, Any]:
        """What clients may know: classes, palette, modalities, limits, scores, licences; JSON-ready."""
        facts: dict[str, Any] = _METADATA.dump_python(self.metadata, mode="json")
        return {
            "name": facts["name"],
            "version": facts["version"],
            "reference": self.reference,
            "backend": self.backend.name,
            "instances": self.num_instances,
            "batching": None if self.batch_plan is None else self.batch_plan.description(),
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


class _Closed:
    """In place of a runtime that gave its memory back."""

    def __init__(self, name: str) -> None:
        self.name = name

    def size_problem(self, height: int, width: int) -> str | None:
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        raise RuntimeError("the model was unloaded")


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

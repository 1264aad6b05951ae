"""Graphs that are served, as predictors: an artifact in this process, or a server.

Both resize, encode and upsample inside the graph, so only the protocols that do the same can be followed.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.prediction import Corruption, ScoredFrame
from geminifusion_model.evaluation.predictor import check_without
from geminifusion_model.evaluation.protocols import PROTOCOLS, Protocol
from geminifusion_model.task import InputPolicy, ModalityEncoding, Task
from geminifusion_runtime.artifact import (
    ArtifactMetadata,
    ClassSpec,
    ModalitySpec,
    SizePolicy,
    Upsampling,
    require_segmentation,
)

if TYPE_CHECKING:
    from geminifusion_runtime.model import Model

Images = Mapping[str, NDArray[Any]]


class ServedError(ValueError):
    """What is served cannot be scored like this; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """The facts of a served model that scoring needs.

    Args:
        reference: `name@version`.
        network: in words.
        backend: the runtime that it runs with.
        data, data_license: what it was trained on.
    """

    reference: str
    network: str
    backend: str
    modalities: tuple[ModalitySpec, ...]
    size: SizePolicy
    input_scale: float
    label_upsampling: Upsampling
    classes: tuple[ClassSpec, ...]
    ignore_index: int
    data: str
    data_license: str

    @classmethod
    def of(cls, artifact: ArtifactMetadata, backend: str) -> ServedModel:
        """From the metadata of an artifact.

        Raises:
            ArtifactError: it is of another task.
        """
        metadata = require_segmentation(artifact)
        return cls(
            reference=metadata.reference,
            network=f"{metadata.encoder}, fusion {metadata.fusion}",
            backend=backend,
            modalities=metadata.modalities,
            size=metadata.size,
            input_scale=metadata.input_scale,
            label_upsampling=metadata.label_upsampling,
            classes=metadata.classes,
            ignore_index=metadata.ignore_index,
            data=metadata.training.data,
            data_license=metadata.data_license,
        )

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> ServedModel:
        """From the description that a server gives of a model.

        Raises:
            ServedError: a fact is missing or of another form, as from a server of another release.
        """
        try:
            specs = [{k: v for k, v in spec.items() if k != "send"} for spec in description["modalities"]]
            return cls(
                reference=description["reference"],
                network=f"{description['encoder']}, fusion {description['fusion']}",
                backend=description["backend"],
                modalities=TypeAdapter(tuple[ModalitySpec, ...]).validate_python(specs),
                size=TypeAdapter(SizePolicy).validate_python(description["size"]),
                input_scale=description["input_scale"],
                label_upsampling=description["label_upsampling"],
                classes=TypeAdapter(tuple[ClassSpec, ...]).validate_python(description["classes"]),
                ignore_index=description["ignore_index"],
                data=description["training"]["data"],
                data_license=description["data_license"],
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise ServedError(
                f"the server's description of its model lacks what scoring needs ({error!r}); "
                "install server and client of one release"
            ) from None

    def task(self) -> Task:
        """The task as a checkpoint would state it."""
        return Task(
            data=self.data,
            modalities=tuple(_encoding(spec) for spec in self.modalities),
            class_names=tuple(entry.name for entry in self.classes),
            palette=tuple(entry.color for entry in self.classes),
            ignore_index=self.ignore_index,
            data_license=self.data_license,
            input_scale=self.input_scale,
            input_policy=InputPolicy(shorter_side=self.size.shorter_side, multiple_of=self.size.multiple_of),
            label_upsampling=self.label_upsampling,
        )

    def problem(self, protocol: Protocol, height: int, width: int) -> str | None:
        """Why the graph cannot follow a protocol on frames of this size; None if it can."""
        if protocol.scales != (1.0,) or protocol.flip:
            return "it averages several views of a frame, and the graph sees one"
        if protocol.label_size(height, width) != (height, width):
            return f"it scores {width}x{height} frames at another size, and served labels have the frame's own"
        if protocol.logit_interpolation != self.label_upsampling:
            return f"it enlarges logits with {protocol.logit_interpolation}, the graph with {self.label_upsampling}"
        if self.size.shorter_side is None and height * width > self.size.max_pixels:
            return f"the graph takes up to {self.size.max_pixels} pixels, and frames of {width}x{height} have more"
        asked, seen = protocol.resize_steps(height, width)[-1], self.size.network_size(height, width)
        if asked != seen:
            return (
                f"its network sees {width}x{height} frames as {asked[1]}x{asked[0]}, the graph as {seen[1]}x{seen[0]}"
            )
        nearest = protocol.measurement_interpolation != "bilinear" and any(s.name != "rgb" for s in self.modalities)
        if nearest and seen != (height, width):
            return f"it resizes measurements with {protocol.measurement_interpolation}, the graph with bilinear"
        return None

    def check(self, protocol: Protocol, height: int, width: int) -> None:
        """Check that the graph can follow a protocol on frames of this size.

        Raises:
            ServedError: it cannot.
        """
        if problem := self.problem(protocol, height, width):
            fitting = [name for name, other in PROTOCOLS.items() if not self.problem(other, height, width)]
            advice = f"score with {' or '.join(fitting)}" if fitting else "score its checkpoint"
            raise ServedError(f"{self.reference} cannot follow {protocol.name}: {problem}; {advice}")


class ServedPredictor(ABC):
    """A served graph, which is sent frames as a camera gives them.

    Args:
        without: modalities that are not sent.

    Raises:
        ValueError: the model has no such modality, none would be left, or it was not trained to miss one of them.
    """

    def __init__(self, served: ServedModel, *, without: tuple[str, ...] = ()) -> None:
        check_without(without, tuple(spec.name for spec in served.modalities))
        for spec in served.modalities:
            if spec.name in without and not spec.optional:
                raise ServedError(
                    f"{served.reference} was not trained to do without {spec.name}; score its checkpoint to see what "
                    "it does then"
                )
        self.served, self.without = served, without
        self._task = served.task()

    @property
    def task(self) -> Task:
        """What the graph takes and gives."""
        return self._task

    def title(self) -> str:
        """`name@version` and the backend."""
        return f"{self.served.reference} ({self.served.backend})"

    def facts(self) -> Mapping[str, str]:
        """The model, its network, backend and sizes."""
        names = " and ".join(spec.name for spec in self.served.modalities)
        return {
            "model": self.served.reference,
            "backend": self.served.backend,
            "network": f"{self.served.network}, {names}",
            "input": f"{self.task.input_policy.describe()}, scale {self.task.input_scale:g}",
            "confidence": "the graph's, at a quarter of the size it runs at",
        }

    def score(
        self, sample: Sample, protocol: Protocol, *, index: int = 0, corruption: Corruption | None = None
    ) -> ScoredFrame:
        """See `Predictor`; the labels are the served ones, `scores` is None."""
        if corruption is not None:
            raise ServedError(f"{self.served.reference} encodes its inputs itself; corrupt those of its checkpoint")
        height, width = sample.labels.shape
        self.served.check(protocol, height, width)
        labels, confidence, gate = self._segment(self._images(sample))
        return ScoredFrame(
            index,
            sample,
            sample.labels,
            labels,
            None,
            num_classes=len(self.served.classes),
            graph_confidence=_enlarged(confidence, (height, width)),
            gate=_enlarged(gate, (height, width)),
        )

    @abstractmethod
    def _segment(
        self, images: Images
    ) -> tuple[NDArray[np.uint8], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Labels `H W`, confidence and gate `h w`."""

    def _images(self, sample: Sample) -> Images:
        """What is sent for a frame, by modality."""
        return {spec.name: _image(sample, spec) for spec in self.served.modalities if spec.name not in self.without}


class ArtifactPredictor(ServedPredictor):
    """An artifact in this process.

    Args:
        directory: what `geminifusion export` wrote.
        backend: as `Model.open` takes it.
        threads: of the engine.

    Raises:
        ArtifactError: missing, damaged or of another schema.
        RuntimeError: the runtime cannot load its file, or is not installed.
        ValueError: see `ServedPredictor`.
    """

    def __init__(
        self, directory: Path, *, backend: str = "auto", threads: int | None = None, without: tuple[str, ...] = ()
    ) -> None:
        from geminifusion_runtime.model import Model  # it imports the runtimes, which a checkpoint does not need

        self._model: Model = Model.open(directory, backend=backend, threads=threads)
        super().__init__(ServedModel.of(self._model.metadata, self._model.backend.name), without=without)

    def _segment(
        self, images: Images
    ) -> tuple[NDArray[np.uint8], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        (prediction,) = self._model.run([self._model.prepare(images)])
        return prediction.labels, prediction.confidence, prediction.gate


class SegmentResult(Interface):
    """The part of a client's result that is scored."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """`H W` classes."""

    @property
    def confidence(self) -> NDArray[np.float32] | None:
        """`h w`, 0…1."""

    @property
    def gate(self) -> NDArray[np.float32] | None:
        """`h w`, 0…1."""


class SegmentClient(Interface):
    """The part of a client of the service that scoring needs."""

    def models(self) -> list[dict[str, Any]]:
        """Descriptions of the models served."""

    def segment(self, **images: Any) -> SegmentResult:  # noqa: ANN401 - images by modality, and options
        """Segment one scene."""


Connect = Callable[[str], SegmentClient]


class ServerPredictor(ServedPredictor):
    """A model on a server.

    Args:
        client: of the server.
        model: name or `name@version`; the only model if None.

    Raises:
        ServedError: there is no such model, or there are several to choose from; and see `ServedPredictor`.
    """

    def __init__(self, client: SegmentClient, *, model: str | None = None, without: tuple[str, ...] = ()) -> None:
        self._client = client
        models = {description["reference"]: description for description in client.models()}
        fitting = [name for name in models if model in (None, name, name.partition("@")[0])]
        if len(fitting) != 1:
            raise ServedError(
                f"the server has the models {', '.join(models) or 'none'}, and {model or 'none'} was asked for; "
                "name one with --model"
            )
        super().__init__(ServedModel.described(models[fitting[0]]), without=without)

    def _segment(
        self, images: Images
    ) -> tuple[NDArray[np.uint8], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        result = self._client.segment(**images, model=self.served.reference, confidence=True, gate=True)
        assert result.confidence is not None, "it was asked for"
        assert result.gate is not None, "it was asked for"
        return result.labels, result.confidence, result.gate


def _encoding(spec: ModalitySpec) -> ModalityEncoding:
    fields = {field.name for field in dataclasses.fields(ModalityEncoding)}
    return ModalityEncoding(**{name: value for name, value in vars(spec).items() if name in fields})


def _image(sample: Sample, spec: ModalitySpec) -> NDArray[Any]:
    """A modality of a frame in the dtype and shape that the graph takes.

    Raises:
        ServedError: the frame lacks it, or has other channels or more bits.
    """
    values: NDArray[Any] | None = sample.rgb if spec.name == "rgb" else sample.others.get(spec.name)
    if values is None:
        raise ServedError(f"frame {sample.name} has no {spec.name}; score data that has, or leave it out by --without")
    channels = 1 if values.ndim == 2 else values.shape[2]
    if channels == 1 and spec.channels == 3:
        values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)
    elif channels != spec.channels:
        raise ServedError(
            f"{spec.name} of frame {sample.name} has {channels} channels, the model takes {spec.channels}"
        )
    if spec.dtype == "float32":
        return np.ascontiguousarray(values, np.float32)
    if values.dtype != np.uint8 and not (values.min() >= 0 and values.max() <= 255):
        raise ServedError(
            f"{spec.name} of frame {sample.name} is {values.min():g} to {values.max():g}, and the model takes 8-bit "
            "pictures, 0 to 255; score data stored like that of its training"
        )
    return np.rint(values).astype(np.uint8)


def _enlarged(values: NDArray[np.floating[Any]], size: tuple[int, int]) -> NDArray[np.float32]:
    """`h w` to `H W`, bilinearly."""
    enlarged: NDArray[np.float32] = cv2.resize(
        np.asarray(values, np.float32), size[::-1], interpolation=cv2.INTER_LINEAR
    ).astype(np.float32, copy=False)
    return enlarged

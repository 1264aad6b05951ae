"""What a task gives the model, the service and the client: everything between a request and its result.

request parts -> accept -> (decoded elsewhere) -> prepare -> items -> stack -> graph -> predictions -> encode -> result
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, Precision
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs, GraphOutputs
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.tasks.parts import PartSpec
from geminifusion_runtime.types import SensorHealth, SensorPolicy

T = TypeVar("T")
Frame = Mapping[str, NDArray[np.generic]]  # decoded parts of a request by name
SizeProblem = Callable[[int, int], str | None]  # see `Backend.size_problem`


class BatchItem(Protocol):
    """What of a request runs as one item of a batch."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images that the graph sees, by which batches are limited."""

    @property
    def batch_key(self) -> Hashable:
        """Items of one model and equal key may share a batch."""


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """One request, ready for the engine."""

    items: tuple[Any, ...]  # `BatchItem`s of one key; the first is the request itself
    sensors: Mapping[str, SensorHealth]  # of all images that came, by modality name
    warnings: tuple[str, ...]  # for the client


@dataclass(frozen=True, kw_only=True)
class TaskResult(ABC):
    """What a client is answered; each task has its own. `height` and `width` are those of the image it belongs to."""

    height: int
    width: int

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes of its large parts, which are held until the response has left."""


class GoldenFrame(NamedTuple):
    """A frame and what `TaskRuntime.observed` gives for it where nothing has changed."""

    parts: Frame
    expected: NDArray[np.generic]


OptionsT = TypeVar("OptionsT")
ItemT = TypeVar("ItemT", bound=BatchItem)
PredictionT = TypeVar("PredictionT")


class TaskRuntime(ABC, Generic[OptionsT, ItemT, PredictionT]):
    """One task, for one model; it holds nothing of any request.

    Attributes:
        options: of its requests.
        largest_batch: items that a graph of the task takes together.
        compared: what a self-test compares, in the plural, for sentences.
    """

    options: ClassVar[OptionSet[Any]]
    largest_batch: ClassVar[int] = 2**31
    compared: ClassVar[str]
    metadata: ArtifactMetadata

    @property
    @abstractmethod
    def parts(self) -> tuple[PartSpec, ...]:
        """What a request may carry, in the order in which problems are told."""

    @abstractmethod
    def accept(self, options: OptionsT, parts: Mapping[str, T], *, made: Collection[str] = ()) -> Mapping[str, T]:
        """Check names and options before anything is decoded.

        Args:
            made: modalities that need not come, because they are made from the others; they say nothing about places.

        Returns:
            What came, by the names of `parts`.

        Raises:
            MissingPartError, UnknownPartError: what came is not what the model takes.
            InvalidOptionError: an option is not for this model.
        """

    @abstractmethod
    def part_options(self, options: OptionsT, spec: PartSpec) -> ModalityOptions:
        """How one part is decoded."""

    def camera(self, options: OptionsT) -> Sequence[float] | None:
        """fx, fy, cx, cy of the depth camera, where decoding needs it."""
        return None

    def array_bytes(self, parts: Mapping[str, Any]) -> int:
        """Bytes that encoded parts other than images become, before anything is decoded.

        Arrays do not count: who received them has counted them.
        """
        return 0

    def pixel_weight(self, options: OptionsT) -> int:
        """By how much a pixel of a request counts in the budget; 1 is 14 bytes at the most."""
        return 1

    @abstractmethod
    def item(self, arrays: Frame, *, size_problem: SizeProblem) -> ItemT:
        """Decoded arrays as an item of a batch.

        Raises:
            GeminiFusionError: they do not fit the model or each other.
        """

    @abstractmethod
    def prepare(
        self,
        options: OptionsT,
        decoded: Mapping[str, DecodedImage],
        default_policy: SensorPolicy,
        *,
        size_problem: SizeProblem,
    ) -> PreparedRequest:
        """Prepare the decoded parts of one request.

        Raises:
            GeminiFusionError: they do not fit the model, each other, the options or the sensor policy.
        """

    @abstractmethod
    def blank_item(self, height: int, width: int, *, size_problem: SizeProblem) -> ItemT:
        """A frame of this size that shows nothing, for warm-up and measurements."""

    @abstractmethod
    def random_items(self, shape: BatchShape, seed: int = 0) -> list[ItemT]:
        """Frames of noise for one batch; the same for the same shape and seed.

        Args:
            shape: how many frames, at most `largest_batch`; height and width of the images as a client sends them.
        """

    @abstractmethod
    def stack(self, items: Sequence[ItemT]) -> dict[str, NDArray[np.generic]]:
        """The inputs of a batch by graph input name; a single item is not copied.

        Raises:
            ValueError: no items, or items of different key.
        """

    @abstractmethod
    def predictions(self, outputs: GraphOutputs, items: Sequence[ItemT]) -> list[PredictionT]:
        """Split the outputs of a batch among its items, in order.

        Raises:
            RuntimeError: the outputs are not those of such a batch.
        """

    @abstractmethod
    def encode(self, options: OptionsT, prepared: PreparedRequest, predictions: Sequence[PredictionT]) -> TaskResult:
        """The result in the format that the client asked for, of the predictions of `prepared.items`."""

    @abstractmethod
    def self_test_options(self) -> OptionsT:
        """Options of the requests of a self-test: no file, and no sensor is rejected."""

    @abstractmethod
    def golden_frames(self, directory: Path, *, size_problem: SizeProblem) -> list[GoldenFrame]:
        """The frames of the artifact's golden set; none where it has none, or none that fit.

        Raises:
            ArtifactError: the golden set cannot be read.
        """

    @abstractmethod
    def own_frame(self) -> Frame:
        """The same noise for the same metadata, at the reference size."""

    @abstractmethod
    def observed(self, answer: Any) -> NDArray[np.generic]:  # noqa: ANN401 - a prediction, a result or a response
        """What a self-test compares of a prediction, or of a result that was made of it."""

    @abstractmethod
    def agreeing(self, observed: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[int, int]:
        """How many of how many values agree."""

    @abstractmethod
    def min_agreement(self, precision: Precision) -> float:
        """Least share, 0…1, that has to agree with torch in what computes in this precision."""

    def blank_batch(self) -> GraphInputs:
        """One batch of the reference size, to see whether a graph runs."""
        return self.stack([self.blank_item(*self.metadata.size.reference, size_problem=lambda _height, _width: None)])

"""The parts of a task that the pipeline, the self-test and descriptions of models are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.types import SensorPolicy
from geminifusion_service.request import TaskRequest, TaskResponse

Frame = Mapping[str, bytes | NDArray[np.generic]]  # the parts of a request


class Prepared(NamedTuple):
    """A decoded and checked request.

    Attributes:
        items: what the model runs, all of one shape; see `Model.run`.
        shape: height and width of the items as the graph sees them.
        details: whatever `respond` needs beside the results.
    """

    items: Sequence[Any]
    shape: tuple[int, int]
    details: Any


class Golden(NamedTuple):
    """Frames of an artifact, what torch made of each (see `ServedTask.outcome`), and the least agreement, 0…1."""

    frames: tuple[Frame, ...]
    outcomes: tuple[NDArray[np.generic], ...]
    budget: float


class ServedTask(Protocol):
    """A task as the service sees it.

    Attributes:
        request_type: the class of its requests.
        where: where such requests go, for messages.
        described: names of the metadata's fields that clients get, beside those of every model.
    """

    @property
    def request_type(self) -> type[Any]:
        """See above."""

    @property
    def where(self) -> str:
        """See above."""

    @property
    def described(self) -> tuple[str, ...]:
        """See above."""

    def checked(self, request: TaskRequest, metadata: ArtifactMetadata) -> TaskRequest:
        """The request with its images under the names of the model's modalities.

        Raises:
            GeminiFusionError: a part is missing or unknown, or an option does not fit the model.
        """

    def classes(self, metadata: ArtifactMetadata) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Name and RGB color of each class, in order."""

    def pixels(self, request: TaskRequest, max_pixels: int) -> int:
        """Pixels that count for the budget, before anything is decoded."""

    def elements(self, request: TaskRequest) -> int:
        """Numbers of arrays that count for the budget, before anything is decoded."""

    def decoding(
        self, request: TaskRequest, spec: ModalitySpec, metadata: ArtifactMetadata
    ) -> tuple[ModalityOptions, Sequence[float] | None]:
        """The options that an image is decoded with, and the camera of the request."""

    def prepare(
        self, model: Model, request: TaskRequest, images: Mapping[str, DecodedImage], policy: SensorPolicy
    ) -> Prepared:
        """Check the decoded images of a request, and make its items.

        Raises:
            GeminiFusionError: they do not fit the model, each other or the options.
        """

    def respond(self, model: Model, request: TaskRequest, prepared: Prepared, results: Sequence[Any]) -> TaskResponse:
        """Encode the results of the items; timeline and batch size are filled in later."""

    def golden(self, directory: Path, model: Model) -> Golden | None:
        """What a self-test can compare with torch; None if the artifact has nothing that fits.

        Raises:
            ArtifactError: the golden set cannot be read.
        """

    def own_frame(self, metadata: ArtifactMetadata) -> Frame:
        """The same frame for the same metadata, to see whether a model stays as it is."""

    def test_request(self, frame: Frame) -> TaskRequest:
        """The request that a self-test sends."""

    def outcome(self, response: TaskResponse) -> NDArray[np.generic]:
        """What self-tests compare of a response: labels `H W`, or boxes."""

    def outcome_alone(self, model: Model, frame: Frame) -> NDArray[np.generic]:
        """The outcome of a frame without the queue and the pools; blocks.

        Raises:
            RuntimeError: the runtime failed.
        """

    def agreement(self, found: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[float, float]:
        """How much of an outcome is as expected, and how much there is in all."""

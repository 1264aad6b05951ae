"""Frames to results, in this process or over one stream to a server."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from geminifusion_runtime.artifact import ClassSpec, require_segmentation
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.task_names import SEGMENTATION

from .errors import ClientError, InvalidInputError, InvalidResponseError
from .images import ImageInput, file_bytes
from .predict_task import WRONG_TASK
from .results import Result
from .sources.base import SourceFrame
from .streaming import StreamMode

_MOST_SENT = 64  # frames without a response; gRPC bounds only their bytes, and they are kept here

Outcome = Result | GeminiFusionError | ClientError
"""A result, or why a frame has none."""


class Segmenter(Protocol):
    """Segments frames."""

    def classes(self) -> Sequence[ClassSpec]:
        """The classes of the model.

        Raises:
            ClientError: the server cannot be asked, or has no such model.
        """

    def result(self, frame: SourceFrame) -> Result:
        """The result of a single frame.

        Raises:
            GeminiFusionError: the model cannot take it.
            ClientError: the frame cannot be sent, or the server responded with an error.
        """

    def outcomes(self, frames: Iterator[SourceFrame]) -> Iterator[tuple[SourceFrame, Outcome]]:
        """What became of each frame, in their order.

        Raises:
            ClientError: the stream cannot be opened or breaks, or the model is for another task.
        """

    def close(self) -> None:
        """Close the connection."""


class LocalSegmenter:
    """The model of an artifact in this process; None takes the bundled one.

    Args:
        synthesizer: see `load`.
    """

    def __init__(self, artifact: Path | None, options: Mapping[str, Any], *, synthesizer: Path | None = None) -> None:
        from .local import load

        self._segment, self._options = load(artifact, synthesizer=synthesizer), options

    def classes(self) -> Sequence[ClassSpec]:
        """The classes of the model."""
        return require_segmentation(self._segment.metadata).classes

    def result(self, frame: SourceFrame) -> Result:
        """The result of a single frame."""
        if frame.error is not None:
            raise frame.error
        return self._segment(**frame.images, **self._options)

    def outcomes(self, frames: Iterator[SourceFrame]) -> Iterator[tuple[SourceFrame, Outcome]]:
        """What became of each frame."""
        for frame in frames:
            try:
                yield frame, self.result(frame)
            except (GeminiFusionError, ClientError) as error:
                yield frame, error

    def close(self) -> None:
        """Nothing is open."""


class ServedSegmenter:
    """A model of the server at an address, over one stream for several frames, in `Client.stream`'s `mode`."""

    def __init__(self, url: str, options: Mapping[str, Any], *, mode: StreamMode = "ordered") -> None:
        from .client import Client

        self._client, self._options, self._mode = Client(url), options, mode

    def classes(self) -> Sequence[ClassSpec]:
        """The classes of the model that the options name, or of the server's default."""
        return _classes(self._client.models(), self._options.get("model"))

    def result(self, frame: SourceFrame) -> Result:
        """The result of a single frame; a busy server is asked again."""
        if frame.error is not None:
            raise frame.error
        return self._client.segment(**frame.images, **self._options)

    def outcomes(self, frames: Iterator[SourceFrame]) -> Iterator[tuple[SourceFrame, Outcome]]:
        """What became of each frame; frames are taken while results are.

        In their order, but for those of mode `newest` that a newer frame superseded, which come as soon as they are.
        """
        # Frames that were taken and are not accounted for: by number those that were sent, among them, in their place,
        # those that cannot be.
        sent: dict[int, SourceFrame] = {}
        unsent: deque[tuple[int, SourceFrame]] = deque()
        room, is_over = threading.Semaphore(_MOST_SENT), threading.Event()

        def images() -> Iterator[Mapping[str, ImageInput]]:
            number = 0
            for frame in frames:
                read = _with_content(frame)
                if read.error is not None:
                    unsent.append((number, read))
                    continue
                room.acquire()
                if is_over.is_set():
                    return
                sent[number] = read
                number += 1
                yield read.images

        options = {"confidence": True, "gate": True, **self._options}
        try:
            for response in self._client.stream(images(), mode=self._mode, **options):
                yield from _failed(unsent, response.number)
                outcome = response.error if response.result is None else response.result
                assert outcome is not None, "a response is a result or an error"
                if isinstance(outcome, ClientError) and outcome.code == WRONG_TASK:
                    raise outcome  # every frame would have the same
                yield sent.pop(response.number), outcome
                room.release()
        finally:
            is_over.set()
            room.release()  # for a frame that waits
        yield from _failed(unsent, None)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _with_content(frame: SourceFrame) -> SourceFrame:
    """The frame with the content of its files, or with the error of reading them."""
    try:
        images = {
            name: file_bytes(image, name) if isinstance(image, str | Path) else image
            for name, image in frame.images.items()
        }
    except InvalidInputError as error:
        return dataclasses.replace(frame, error=error)
    return dataclasses.replace(frame, images=images)


def _failed(unsent: deque[tuple[int, SourceFrame]], before: int | None) -> Iterator[tuple[SourceFrame, Outcome]]:
    """The frames that could not be sent and came before the one of this number; None gives all."""
    while unsent and (before is None or unsent[0][0] <= before):
        _, frame = unsent.popleft()
        assert frame.error is not None, "only frames with an error are kept back"
        yield frame, frame.error


def _classes(models: Sequence[Mapping[str, Any]], wanted: str | None) -> tuple[ClassSpec, ...]:
    """The classes of one model of a server, as the server describes it.

    Raises:
        InvalidInputError: there is no such model, or it is for another task, as its code says.
        InvalidResponseError: the description is not one of ours.
    """
    try:
        references = [f"{model['name']}@{model['version']}" for model in models]
        meant = [
            (model, reference)
            for model, reference in zip(models, references, strict=True)
            if wanted in (None, reference, model["name"])
        ]
        for model, _ in meant:  # the default comes first, and where it is for another task, another is meant
            if model.get("task", SEGMENTATION) == SEGMENTATION:
                return tuple(
                    ClassSpec(id=int(one["id"]), name=str(one["name"]), color=tuple(one["color"]))
                    for one in model["classes"]
                )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidResponseError(
            f"the description of a model lacks what this release expects ({error!r}); "
            "install client and server of one release"
        ) from error
    for model, reference in meant:
        raise InvalidInputError(f"{reference} is for {model['task']}; name a model with classes", code=WRONG_TASK)
    raise InvalidInputError(
        f"the server has no model {wanted or 'by default'}; it has {', '.join(references) or 'none'}"
    )

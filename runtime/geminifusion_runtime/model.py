"""A loaded model, synchronous: the server and `geminifusion.load` run the same.

accept -> (decoded elsewhere) -> completed -> prepare -> stack -> run on a device -> predictions
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, open_artifact
from geminifusion_runtime.backends.protocol import Backend, ClosableBackend, DetachedBackend, SupervisedBackend
from geminifusion_runtime.backends.selection import open_backend
from geminifusion_runtime.batch_plan import BatchPlan
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.synthesis import Synthesis, SynthesizerError
from geminifusion_runtime.tasks.registry import open_task
from geminifusion_runtime.types import DEFAULT_SENSOR_POLICY, SensorPolicy

T = TypeVar("T")

_SERIALS = itertools.count()
_NO_SYNTHESIZER = "it was given none (serve --synthesizer, load(synthesizer=…))"


class Model:
    """A verified artifact, loaded on one device or several.

    Args:
        metadata: of the artifact.
        backend: on the first device.
        reason: why this backend was chosen, for the log.
        others: the same artifact on further devices; `run` takes the number of the instance, `backend` being 0.

    Attributes:
        task: what its requests and outputs mean.
        sensor_policy: of requests that do not name one.
        translator: makes what a request lacks; None without one, see `synthesize_with`.
        batch_plan: how many items of each size to run together; None until it is measured, when the server's limits
            hold.
        serial: unique among the models of this process. While a version is being replaced, two models have the same
            reference.
    """

    def __init__(
        self, metadata: ArtifactMetadata, backend: Backend, reason: str = "", *, others: Sequence[Backend] = ()
    ) -> None:
        self.metadata = metadata
        self.task = open_task(metadata)
        self.backend = backend
        self.reason = reason
        self.sensor_policy: SensorPolicy = DEFAULT_SENSOR_POLICY
        self.translator: Model | None = None
        self._synthesis: Synthesis | None = None
        self._no_synthesis = _NO_SYNTHESIZER
        self.batch_plan: BatchPlan | None = None
        self.serial = next(_SERIALS)
        self._others = tuple(others)
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
        trusted_keys: Path | None = None,
    ) -> Model:
        """Verify an artifact and load it in this process, on the device its backend prefers.

        Args:
            directory: what `geminifusion export` wrote.
            threads: of the engine; None takes the cores this process may use.
            backend, custom_ops: see `open_backend`.
            version: the version clients know it by; None takes the artifact's own.
            trusted_keys: see `open_artifact`.

        Raises:
            ArtifactError: missing, damaged, of another schema, or not signed by a trusted key.
            RuntimeError: the runtime cannot load its file, or is not installed.
        """
        metadata = open_artifact(directory, trusted_keys=trusted_keys)
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

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends, one for each device; `backend` is the first."""
        return (self.backend, *self._others)

    @property
    def num_instances(self) -> int:
        """Number of devices it is loaded on."""
        return len(self.backends)

    @property
    def problem(self) -> str | None:
        """Why the engine cannot be relied on at the moment, for the operator; None while it can."""
        for backend in self.backends:
            if isinstance(backend, SupervisedBackend) and (text := backend.problem) is not None:
                return text
        return None

    def synthesize_with(self, translator: Model) -> None:
        """Have a translator make the modality that a request lacks, where its sensor policy is to synthesize.

        Args:
            translator: loaded on as many devices; whoever gives it closes it, after this model.

        Raises:
            SynthesizerError: it does not fit the model, which then refuses that policy for this reason.
        """
        try:
            self._synthesis = Synthesis(translator.metadata, self.metadata)
        except SynthesizerError as error:
            self._no_synthesis = str(error)
            raise
        self.translator = translator

    @property
    def synthesizes(self) -> str | None:
        """The modality that a request may lack because a translator makes it; None without one."""
        return None if self._synthesis is None else self._synthesis.makes

    @property
    def synthesis_problem(self) -> str | None:
        """Why nothing makes what a request of this model lacks, in words; None where a translator does."""
        return self._no_synthesis if self._synthesis is None else None

    def synthesis_for(self, options: RequestOptions) -> Synthesis | None:
        """What makes the modality that a request lacks; None where its sensor policy is another.

        Raises:
            InvalidOptionError: the policy is to synthesize, and nothing does.
        """
        if (options.sensor_policy or self.sensor_policy) != "synthesize":
            return None
        if self._synthesis is None:
            raise InvalidOptionError(
                f"sensor_policy=synthesize needs a synthesizer, which {self.reference} has not: {self._no_synthesis}; "
                "or send another policy"
            )
        return self._synthesis

    def accept(self, options: RequestOptions, parts: Mapping[str, T]) -> Mapping[str, T]:
        """See `TaskRuntime.accept`; where the sensor policy is to synthesize, see `Synthesis.accept`."""
        synthesis = self.synthesis_for(options)
        if synthesis is None:
            return self.task.accept(options, parts)
        return synthesis.accept(self.task, options, parts)

    def completed(self, options: RequestOptions, images: Mapping[str, DecodedImage]) -> Mapping[str, DecodedImage]:
        """The decoded images of a request, with what it lacks made here where its sensor policy is to synthesize.

        Raises:
            InvalidOptionError, SensorBrokenError: see `synthesis_for` and `Synthesis.gap`.
            UnprocessableError: a size that the translator does not take.
        """
        synthesis = self.synthesis_for(options)
        gap = None if synthesis is None else synthesis.gap(images)
        if synthesis is None or gap is None:
            return images
        assert self.translator is not None, "it comes with the synthesis"
        (made,) = self.translator.run([self.translator.prepare(gap.inputs)])
        return synthesis.filled(images, gap, made.output)

    def prepare(self, arrays: Mapping[str, NDArray[np.generic]]) -> Any:  # noqa: ANN401 - the task's own item
        """Make the decoded parts of one request, by name, an item that `run` takes; see `TaskRuntime.item`."""
        return self.task.item(arrays, size_problem=self.backend.size_problem)

    def blank_item(self, height: int, width: int) -> Any:  # noqa: ANN401
        """A frame of this size that shows nothing, for warm-up and measurements.

        Raises:
            UnprocessableError: a size that the model does not take.
        """
        return self.task.blank_item(height, width, size_problem=self.backend.size_problem)

    def run(self, items: Sequence[Any], instance: int = 0) -> list[Any]:
        """Run items of one batch key as a batch; as many predictions, in the same order.

        Args:
            items: of `prepare`.
            instance: index of the device, below `num_instances`.

        Raises:
            ValueError: no items, or items of different key.
            RuntimeError: the runtime failed, or the model was closed; what else the backend raises.
        """
        return self.run_stacked(items, self.stack(items), instance)

    def stack(self, items: Sequence[Any]) -> dict[str, NDArray[np.generic]]:
        """The inputs of a batch by graph input name; see `TaskRuntime.stack`."""
        return self.task.stack(items)

    def run_stacked(
        self, items: Sequence[Any], inputs: Mapping[str, NDArray[np.generic]], instance: int = 0
    ) -> list[Any]:
        """Run `inputs`, which `stack` made of `items`; see `run`."""
        with self._in_use():
            return self.task.predictions(self.backends[instance].run(inputs), items)

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

    def warm_up(self, sizes: Sequence[tuple[int, int]] = ()) -> None:
        """Run the reference size and others once, so that the first request of a size pays for nothing but itself.

        Args:
            sizes: height and width of images as clients send them.

        Raises:
            UnprocessableError: a size that the model does not take.
            RuntimeError: the runtime failed.
        """
        for height, width in dict.fromkeys([self.metadata.size.reference, *sizes]):
            item = self.blank_item(height, width)
            for instance in range(self.num_instances):
                self.run([item], instance)

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait for the run in progress, then release the runtime's memory. `run` fails from now on.

        Returns:
            Whether that was done; False if the run did not end within `timeout_s`, and everything is left as it is.
        """
        with self._changed:
            self._closed = True
            if not self._changed.wait_for(lambda: self._running == 0, timeout_s):
                return False
            backend, self.backend = self.backend, DetachedBackend(self.backend.name, "the model was unloaded")
            others, self._others = self._others, ()
        for instance in (backend, *others):
            if isinstance(instance, ClosableBackend):
                instance.close()
        return True

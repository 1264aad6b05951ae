"""A runtime in a process of its own: when it crashes, the server and every other request live on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.devices import AUTO, Device
from geminifusion_service.errors import EngineLostError
from geminifusion_service.isolation.worker_client import ChildLostError, ChildProcess, ending

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 120.0
_MOST_LOSSES = 3  # within _LOSSES_WINDOW_S; beyond it the processes die of something that a new one does not cure
_LOSSES_WINDOW_S = 60.0
_PAUSES_S = (10.0, 20.0, 40.0, 60.0)  # before each further start, until one lasts


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is to load; as `open_backend` takes it."""

    directory: Path
    wanted: str = "auto"
    threads: int
    custom_ops: Path | None = None
    device: Device = AUTO

    def message(self) -> dict[str, Any]:
        """For the process; JSON-ready."""
        return {
            "directory": str(self.directory.absolute()),
            "wanted": self.wanted,
            "threads": self.threads,
            "custom_ops": str(self.custom_ops.absolute()) if self.custom_ops else None,
            "device": asdict(self.device),
        }


class IsolatedBackend:
    """A process that runs batches, and the thread that replaces it whenever it dies.

    The batch it dies with fails with `EngineLostError`, which clients may try again; the next batch waits until a new
    process is warm. After three deaths in a minute new ones are started only after a pause that grows from ten seconds
    to a minute; meanwhile `problem` says so and batches fail at once. The artifact has to stay where it is: every new
    process reads it, and checks it against its checksums again.

    Raises:
        RuntimeError: the first process could not load the artifact.
    """

    def __init__(self, order: Order, metadata: ArtifactMetadata) -> None:
        self._order = order
        self._metadata = metadata
        self._changed = threading.Condition()
        self._worker: _Worker | None = None
        self._problem: str | None = None
        self._resume_at = 0.0
        self._closed = False
        self._losses: deque[float] = deque()
        self._num_pauses = 0
        first = _Worker(order)
        self.name: str = first.name
        self.reason: str = f"{first.reason}; in a process of its own"
        self._worker = first
        self._keeper = threading.Thread(target=self._keep, args=(first,), name="engine-keeper", daemon=True)
        self._keeper.start()

    @property
    def problem(self) -> str | None:
        """Why no process is running nor being started; None while one is."""
        return self._problem

    @property
    def process_id(self) -> int | None:
        """Of the process that runs batches; None while a new one is being made ready."""
        worker = self._worker
        return None if worker is None else worker.process.pid

    def size_problem(self, height: int, width: int) -> str | None:
        """Why frames of this size cannot be run; None if they can."""
        if self.name != "tensorrt":
            return None
        from geminifusion_runtime.backends.tensorrt.requirements import engine_of, size_problem

        return size_problem(engine_of(self._metadata)[1].profiles, height, width)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch in the process; see `Backend`. Waits for a new process to be ready.

        Raises:
            EngineLostError: the process died with this batch, or processes keep dying.
            RuntimeError: the runtime failed on this batch.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._worker is not None or self._problem is not None or self._closed)
            worker = self._worker
            if worker is None:
                pause_s = max(1, math.ceil(self._resume_at - time.monotonic()))
                raise EngineLostError(
                    f"the engine's process keeps dying; a new one is tried in {pause_s} s", retry_after_s=pause_s
                )
        try:
            outputs = worker.run(inputs)
        except ChildLostError:
            with self._changed:
                if self._worker is worker:
                    self._worker = None
            raise EngineLostError(
                "the engine's process died while it ran this request; a new one is being started, send it again"
            ) from None
        self._num_pauses = 0
        return outputs

    def close(self) -> None:
        """End the process."""
        with self._changed:
            self._closed = True
            worker, self._worker = self._worker, None
            self._changed.notify_all()
        if worker is not None:
            worker.stop()
        self._keeper.join()

    def _keep(self, worker: _Worker | None) -> None:
        """Until closed: wait for the process to die, start the next."""
        while True:
            if worker is not None:
                status = worker.process.wait()
                worker.stop()
                if self._note_loss(f"ended with {ending(status)}"):
                    return
            try:
                worker = _Worker(self._order)
            except RuntimeError as error:
                worker = None
                if self._note_loss(f"did not start: {error}"):
                    return
                continue
            with self._changed:
                self._problem = None
                if not self._closed:
                    self._worker = worker
                    _log.info("the engine's process is ready again, number %d", worker.process.pid)
                self._changed.notify_all()
                if not self._closed:
                    continue
            worker.stop()
            return

    def _note_loss(self, what: str) -> bool:
        """Pause if processes keep dying; whether the backend is closed and no other is wanted."""
        now = time.monotonic()
        with self._changed:
            self._worker = None
            if self._closed:
                return True
            _log.error("the engine's process %s; starting another", what)
            self._losses.append(now)
            while self._losses[0] < now - _LOSSES_WINDOW_S:
                self._losses.popleft()
            if len(self._losses) < _MOST_LOSSES:
                return False
            pause_s = _PAUSES_S[min(self._num_pauses, len(_PAUSES_S) - 1)]
            self._num_pauses += 1
            self._resume_at = now + pause_s
            self._problem = f"the engine's process died {len(self._losses)} times in a minute; it last {what}"
            _log.error("%s; the next one is started in %.0f s", self._problem, pause_s)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._closed, pause_s)


class _Worker:
    """One process, loaded and warm. Raises RuntimeError with its own words if it cannot be."""

    def __init__(self, order: Order) -> None:
        self._child = ChildProcess("geminifusion_service.isolation.engine_process", answer_s=_START_TIMEOUT_S)
        self.process = self._child.process
        try:
            answer, _ = self._ask({"order": order.message()})
        except ChildLostError:
            status = self.process.poll()
            self.stop()
            if status is None:
                raise RuntimeError(f"the engine's process was not ready within {_START_TIMEOUT_S:.0f} s") from None
            raise RuntimeError(f"the engine's process ended with {ending(status)} while it was loading") from None
        except RuntimeError:
            self.stop()
            raise
        self._child.wait_for_answers(None)  # how long a batch may take is the model's affair
        self.name: str = answer["ready"]
        self.reason: str = answer["reason"]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Raises ChildLostError when the process has died, RuntimeError when the runtime failed."""
        _, outputs = self._ask({}, inputs)
        return GraphOutputs(
            labels=cast("NDArray[np.uint8]", outputs["labels"]),
            confidence=cast("NDArray[np.float32]", outputs["confidence"]),
            gate=cast("NDArray[np.float32]", outputs["gate"]),
        )

    def stop(self) -> None:
        """End the process, if it has not ended, and give everything back; a run of this moment fails first."""
        self._child.stop()

    def _ask(
        self, message: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        answer, outputs = self._child.ask(message, arrays)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer, outputs

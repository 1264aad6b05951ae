"""A backend in a process of its own: when it crashes, the server and every other request live on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.backends.selection import Chosen, open_backend
from geminifusion_runtime.devices import AUTO, Device
from geminifusion_service.errors import EngineLostError
from geminifusion_service.isolation.worker_client import WorkerLostError, WorkerProcess, exit_description

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 120.0
_MOST_LOSSES = 3  # within _LOSSES_WINDOW_S; with more, the cause is one that a new process does not cure
_LOSSES_WINDOW_S = 60.0
_PAUSES_S = (10.0, 20.0, 40.0, 60.0)  # before each further start, until one lasts


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Configuration of one engine instance; the fields are those of `open_backend` and `open_artifact`."""

    directory: Path
    wanted: str = "auto"
    threads: int
    custom_ops: Path | None = None
    device: Device = AUTO
    trusted_keys: Path | None = None

    def open_backend(self, metadata: ArtifactMetadata) -> Chosen:
        """Load it in this process; see `selection.open_backend`."""
        return open_backend(
            self.directory,
            metadata,
            wanted=self.wanted,
            threads=self.threads,
            custom_ops=self.custom_ops,
            device=self.device,
        )

    def message(self) -> dict[str, Any]:
        """JSON-ready form, for `from_message` in another process."""
        return _CONFIG.dump_python(
            replace(
                self,
                directory=self.directory.absolute(),
                custom_ops=self.custom_ops.absolute() if self.custom_ops else None,
                trusted_keys=self.trusted_keys.absolute() if self.trusted_keys else None,
            ),
            mode="json",
        )

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> WorkerConfig:
        """The configuration that `message` describes."""
        return _CONFIG.validate_python(message)


_CONFIG = TypeAdapter(WorkerConfig)


class ProcessBackend:
    """A process that runs batches, and a supervisor thread that replaces it whenever it dies.

    The batch it dies with fails with `EngineLostError`, which clients may retry; the next batch waits until a new
    process is warm. After three deaths in a minute, new processes are started only after a pause that grows from ten
    seconds to a minute; meanwhile `problem` says so and batches fail at once. The artifact has to stay where it is:
    every new process reads it, and verifies its checksums again.

    Raises:
        RuntimeError: the first process could not load the artifact.
    """

    def __init__(self, config: WorkerConfig, metadata: ArtifactMetadata) -> None:
        self._config = config
        self._metadata = metadata
        self._changed = threading.Condition()
        self._worker: _Worker | None = None
        self._problem: str | None = None
        self._resume_at = 0.0
        self._closed = False
        self._losses: deque[float] = deque()
        self._num_pauses = 0
        first = _Worker(config)
        self.name: str = first.name
        self.reason: str = f"{first.reason}; in a process of its own"
        self._worker = first
        self._supervisor = threading.Thread(
            target=self._supervise, args=(first,), name="engine-supervisor", daemon=True
        )
        self._supervisor.start()

    @property
    def problem(self) -> str | None:
        """Why no process is running or being started; None while one is."""
        return self._problem

    @property
    def process_id(self) -> int | None:
        """Id of the process that runs batches; None while a new one is starting."""
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
        except WorkerLostError:
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
        self._supervisor.join()

    def _supervise(self, worker: _Worker | None) -> None:
        """Wait for the process to die and start the next, until closed."""
        while True:
            if worker is not None:
                status = worker.process.wait()
                worker.stop()
                if self._record_loss(f"ended with {exit_description(status)}"):
                    return
            try:
                worker = _Worker(self._config)
            except RuntimeError as error:
                worker = None
                if self._record_loss(f"did not start: {error}"):
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

    def _record_loss(self, what: str) -> bool:
        """Count a death and pause if processes keep dying. Returns whether the backend is closed."""
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
    """One process, loaded and warm. Raises RuntimeError with the message of the process if it cannot load."""

    def __init__(self, config: WorkerConfig) -> None:
        self._client = WorkerProcess("geminifusion_service.isolation.engine_process", timeout_s=_START_TIMEOUT_S)
        self.process = self._client.process
        try:
            response, _ = self._request({"config": config.message()})
        except WorkerLostError:
            status = self.process.poll()
            self.stop()
            if status is None:
                raise RuntimeError(f"the engine's process was not ready within {_START_TIMEOUT_S:.0f} s") from None
            raise RuntimeError(
                f"the engine's process ended with {exit_description(status)} while it was loading"
            ) from None
        except RuntimeError:
            self.stop()
            raise
        self._client.set_timeout(None)  # how long a batch takes depends on the model
        self.name: str = response["ready"]
        self.reason: str = response["reason"]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Raises WorkerLostError when the process has died, RuntimeError when the runtime failed."""
        _, outputs = self._request({}, inputs)
        return outputs

    def stop(self) -> None:
        """End the process, if it has not ended, and release its memory; a run in progress fails first."""
        self._client.stop()

    def _request(
        self, message: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
        response, outputs = self._client.request(message, arrays)
        if "failed" in response:
            raise RuntimeError(response["failed"])
        return response, outputs

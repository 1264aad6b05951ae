"""The log of a training run.

metrics.jsonl   one line a call of `scalars`: `{"step": 120, "time": "2026-01-31T12:00:00+00:00", "loss": 1.9}`
tensorboard/    the same and images, as event files
wandb_id        only with Weights & Biases: the id of its run

A resumed run has the lines of one that never stopped. So log a step before its state is saved: lines after the state
are then those of a killed process, whose steps are repeated, and are dropped when the log is opened again.
"""

from __future__ import annotations

import importlib
import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.training.errors import RunLoggerError
from geminifusion_model.training.records.tensorboard_writer import TensorBoardWriter, write_all
from geminifusion_runtime import strict_json

METRICS_NAME = "metrics.jsonl"
EVENTS_NAME = "tensorboard"
_WANDB_ID_NAME = "wandb_id"


class _WandbRun(Protocol):
    def log(self, data: dict[str, object], step: int) -> None: ...

    def finish(self) -> None: ...


class RunLogger:
    """metrics.jsonl and TensorBoard event files always, Weights & Biases when asked.

    What a method has written is in the hands of the operating system when it returns: it survives the process.

    Args:
        directory: of the run; made if need be.
        wandb_project: the project at Weights & Biases to log to as well; its own environment variables
            (`WANDB_MODE=offline`, `WANDB_API_KEY`, …) apply. It keeps its entries of steps that a resumed run repeats.
        config: the run's settings, for Weights & Biases.
        resume_step: steps done before; lines of later steps are dropped. 0 is a new run.

    Raises:
        RunLoggerError: `wandb_project` is given and the library is missing or does not start, or a line of
            metrics.jsonl before the last is damaged.
        OSError: here and in every method: a file cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        wandb_project: str | None = None,
        config: Mapping[str, object] | None = None,
        resume_step: int = 0,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # first what may raise, so that a failed start leaves the files as they were
        self._wandb = None if wandb_project is None else _open_wandb(directory, wandb_project, config or {})
        metrics = directory / METRICS_NAME
        _drop_later_lines(metrics, resume_step)
        self._metrics = metrics.open("ab", buffering=0)
        self._events = TensorBoardWriter(directory / EVENTS_NAME, first_step=resume_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers by name; a `/` groups them (`train/loss`). One that is not finite is null in metrics.jsonl."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"), **finite}
        write_all(self._metrics, strict_json.dumps(line).encode() + b"\n")
        for name, value in values.items():
            self._events.scalar(step, name, value)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Log an image, `H W 3` uint8 RGB."""
        self._events.image(step, name, image)
        if self._wandb is not None:
            self._wandb.log({name: importlib.import_module("wandb").Image(image)}, step=step)

    def close(self) -> None:
        """Close the files; a run at Weights & Biases is finished, which may wait for its upload."""
        self._metrics.close()
        self._events.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop_later_lines(path: Path, last_step: int) -> None:
    """Keep the lines of steps up to `last_step`; the file is replaced atomically."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # cut short by a killed process or a full disk; its step is repeated
    kept = [line for number, line in enumerate(lines, 1) if _step(line, path, number) <= last_step]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(b"".join(kept))
    partial.replace(path)


def _step(line: bytes, path: Path, number: int) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        raise RunLoggerError(
            f'line {number} of {path} is {line[:60]!r}; expected JSON with a "step". Mend or remove the line'
        ) from None


def _open_wandb(directory: Path, project: str, config: Mapping[str, object]) -> _WandbRun:
    """The run at Weights & Biases that belongs to `directory`, begun or continued."""
    try:
        wandb: Any = importlib.import_module("wandb")
        importlib.import_module("PIL")  # needed for images; wandb would fail without it in the middle of the run
    except ModuleNotFoundError as error:
        raise RunLoggerError(
            f"logging to Weights & Biases needs {error.name}, which is not installed; "
            'run: pip install "geminifusion[tracking]"'
        ) from None
    path = directory / _WANDB_ID_NAME
    if not path.is_file():
        path.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
    identity = path.read_text(encoding="utf-8").strip()
    try:
        return wandb.init(project=project, id=identity, resume="allow", config=dict(config), dir=str(directory))
    except wandb.errors.Error as error:
        raise RunLoggerError(
            f"Weights & Biases does not start: {error}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None

"""What the training runs of all tasks have in common: a directory, steps from where the state is, a log.

config.yaml      the configuration             state.pt      the resumable state, replaced atomically
run.json         data, code and machine        best/ final/  checkpoints (config.json + model.safetensors)
metrics.jsonl    one line per logged step      tensorboard/  the same, and images of held-out frames
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from geminifusion_model.training.errors import DivergedError, TrainingError
from geminifusion_model.training.loop.checkpointer import Checkpointer
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.progress import step_progress
from geminifusion_model.training.loop.signals import Interruption, deferred_interruption
from geminifusion_model.training.loop.state import RunState
from geminifusion_model.training.records.fingerprint import RecordedDataset
from geminifusion_model.training.records.provenance import record_session
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_runtime.memory_shortage import describe_memory_shortage, is_memory_shortage


class StepConfig(Protocol):
    """What a run's configuration says about its steps."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        ...

    @property
    def seed(self) -> int:
        """Of all random numbers."""
        ...

    @property
    def log_every(self) -> int:
        """Steps between lines in the log."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between saves of the state."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        ...

    def to_yaml(self) -> str:
        """As YAML."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """As plain data."""
        ...


class Report(Protocol):
    """What a step found, the same in all processes."""

    @property
    def loss(self) -> float:
        """To be shown."""
        ...

    @property
    def stop(self) -> bool:
        """Whether any process asks for the run to end."""
        ...

    def scalars(self) -> dict[str, float]:
        """All numbers by name, for the log."""
        ...


_Batch = TypeVar("_Batch")
_Report = TypeVar("_Report", bound=Report)
_Scores = TypeVar("_Scores")


class StepRun(ABC, Generic[_Batch, _Report, _Scores]):
    """A run in `directory` that takes one step for each batch.

    Args:
        state: the network, its optimizers, and the number of steps done.
        processes: this one among those that train together, and its device.
        wandb_project: the project at Weights & Biases to log to as well.
    """

    def __init__(
        self,
        config: StepConfig,
        state: RunState,
        directory: Path,
        processes: Processes,
        *,
        wandb_project: str | None,
    ) -> None:
        self.config, self.state, self.directory, self.processes = config, state, directory, processes
        self._wandb_project = wandb_project
        self._checkpointer = Checkpointer(directory, state, writes=processes.is_first)

    @abstractmethod
    def _batches(self) -> Iterator[_Batch]:
        """This process's share of the batches from the state's step to the last."""

    @abstractmethod
    def _take(self, batch: _Batch, wants_stop: Callable[[], bool]) -> _Report:
        """One step; incrementing `state.step` is left to the caller."""

    @abstractmethod
    def _evaluate(self, logger: RunLogger, interruption: Interruption) -> _Scores:
        """Score the averaged weights on what is held out, in the first process."""

    @abstractmethod
    def _write_checkpoint(self, name: str) -> None:
        """Write the averaged weights to a directory of the run."""

    @property
    @abstractmethod
    def num_held_out(self) -> int:
        """How many samples there are to evaluate on."""

    @abstractmethod
    def _explanation(self, error: RuntimeError | MemoryError) -> str | None:
        """Cause and remedy of an error that torch raises within a step; None for an unexpected one."""

    @property
    def saved_step(self) -> int | None:
        """Of the state on disk; None if there is none."""
        return self._checkpointer.saved_step

    def _begin(self, dataset: RecordedDataset, *, resume: bool, data_directory: Path | None) -> None:
        """Restore the state, or begin a new one, and record the session.

        Args:
            dataset: all frames of the run, held-out ones included.
        """
        if resume:
            self._checkpointer.restore()
        with self._explained_failures():
            self.processes.wait()  # until all have read the directory, which the first is about to change
        if self.processes.is_first:
            record_session(
                self.directory,
                dataset,
                seed=self.config.seed,
                resume_step=self.saved_step,
                device=self.processes.device,
                processes=self.processes.count,
                data_directory=data_directory,
            )
            (self.directory / "config.yaml").write_text(self.config.to_yaml(), encoding="utf-8")

    def train(self) -> _Scores | None:
        """Run to the last step; returns the last scores on what is held out, if this process made any.

        SIGINT and SIGTERM end the run after the step it is in; a second Ctrl-C ends it at once.

        Raises:
            TrainingError: a loss or gradient is not finite, a file cannot be written, memory does not suffice, the
                network cannot be compiled, or another process has ended.
            KeyboardInterrupt: `saved_step` says what is on disk.
        """
        with (
            deferred_interruption() as interruption,
            self._opened_logger() as logger,
            step_progress(shown=self.processes.is_first) as progress,
        ):
            bar = progress.add_task("training", total=self.config.steps, completed=self.state.step)
            scores = self._evaluate_if_due(logger, interruption)  # due from before an interruption
            if scores is not None or self.saved_step is None:
                self._checkpointer.save()  # before the first step too, so that a full disk shows now
            begin = time.monotonic()
            batches = self._batches()
            while self.state.step < self.config.steps:
                with self._explained_failures(interruption):
                    batch = next(batches)  # stacked on the device, where memory may run out
                    report = self._take(batch, lambda: interruption.requested)
                self.state.step += 1
                step = self.state.step
                progress.update(bar, completed=step, description=f"loss {report.loss:.3f}")
                if step % self.config.log_every == 0 and logger is not None:
                    with self._checkpointer.writing():
                        logger.scalars(step, {**report.scalars(), "seconds": time.monotonic() - begin})
                if report.stop:
                    self._checkpointer.save()
                    raise KeyboardInterrupt
                scores = self._evaluate_if_due(logger, interruption) or scores
                if step == self.config.steps or step % self.config.checkpoint_every == 0:
                    self._checkpointer.save()
                begin = time.monotonic()
            if self.processes.is_first:
                self._write_checkpoint("final")
        return scores

    def _evaluate_if_due(self, logger: RunLogger | None, interruption: Interruption) -> _Scores | None:
        """Evaluate at the last step and regularly; the first process does, for all."""
        state = self.state
        last, regular = state.step == self.config.steps, state.step % self.config.evaluate_every == 0
        if not self.num_held_out or state.evaluated_step == state.step or not (last or regular):
            return None
        if logger is None:
            state.evaluated_step = state.step
            return None
        return self._evaluate(logger, interruption)

    def _training_record(
        self, *, data: str, trained: int, start: str, summary: str, scores: Mapping[str, float]
    ) -> dict[str, Any]:
        """How the weights were trained, for a checkpoint.

        Args:
            data: its name.
            trained: number of samples, without the held-out ones.
            start: the start weights in words.
            summary: one sentence.
            scores: of the last evaluation; left out unless that was of these weights.
        """
        record: dict[str, Any] = {
            "data": data,
            "frames": trained,
            "steps": self.state.step,
            "start": start,
            "summary": summary,
            "config": self.config.model_dump(mode="json"),
        }
        if self.state.evaluated_step == self.state.step:
            record["holdout"] = {"frames": self.num_held_out, **scores}
        return record

    def _stop_if_asked(self, interruption: Interruption) -> None:
        """End an evaluation that the user does not want to wait for; it is due again when the run resumes."""
        if interruption.requested:
            self._checkpointer.save()
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _opened_logger(self) -> Iterator[RunLogger | None]:
        """The run's log in the first process, None in the others."""
        if not self.processes.is_first:
            yield None
            return
        with self._checkpointer.writing():
            logger = RunLogger(
                self.directory,
                wandb_project=self._wandb_project,
                config=self.config.model_dump(mode="json"),
                resume_step=self.state.step,
            )
        with logger:
            yield logger

    @contextlib.contextmanager
    def _explained_failures(self, interruption: Interruption | None = None) -> Iterator[None]:
        """Turn an expected failure of a computation into a `TrainingError` that says which state is left."""
        try:
            yield
        except DivergedError as error:
            raise TrainingError(
                f"{error}. {self._checkpointer.last_state()}, which would only repeat this with the same settings"
            ) from error
        except TrainingError as error:
            raise TrainingError(f"{error}. {self._checkpointer.last_state()}") from error
        except (RuntimeError, MemoryError) as error:
            if self.processes.count > 1 and interruption is not None and interruption.requested:
                raise KeyboardInterrupt from error  # the others are gone for the same reason
            reason = self._explanation(error)
            if reason is None:
                raise
            raise TrainingError(f"{reason}. {self._checkpointer.last_state()}") from error


def explanation(error: RuntimeError | MemoryError, processes: Processes, *, work: str, advice: str) -> str | None:
    """Cause and remedy of what torch raises in any run: too little memory, or another process that has ended.

    Args:
        work: that memory did not suffice for.
        advice: what to change then.
    """
    if is_memory_shortage(error):
        return describe_memory_shortage(error, where=str(processes.device), work=work, advice=advice)
    if processes.count > 1:
        cause = str(error).strip().partition("\n")[0]
        return (
            f"process {processes.rank} of {processes.count} cannot go on ({cause}); most likely another one has ended, "
            "and its own message says why"
        )
    return None

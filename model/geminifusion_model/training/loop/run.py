"""One training run in one directory.

config.yaml      the configuration             state.pt      the resumable state, replaced atomically
run.json         data, code and machine        best/ final/  checkpoints (config.json + model.safetensors)
metrics.jsonl    one line per logged step      tensorboard/  the same, and images of held-out frames
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from geminifusion_model.checkpoint import write_checkpoint
from geminifusion_model.data.label_counts import label_counts
from geminifusion_model.data.loader import Batch, FurtherFrames, Share, training_batches
from geminifusion_model.data.sample import Dataset, Joined, Subset
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.fusion_kernels.choice import use_fastest_fusion
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import DivergedError, TrainingError
from geminifusion_model.training.loop.checkpointer import Checkpointer
from geminifusion_model.training.loop.class_balance import class_weights
from geminifusion_model.training.loop.data_checks import check_frames
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.initialization import describe_start, describe_training
from geminifusion_model.training.loop.preparation import build_network, build_state, check_directory, check_fit
from geminifusion_model.training.loop.progress import step_progress
from geminifusion_model.training.loop.signals import Interruption, deferred_interruption
from geminifusion_model.training.loop.step import HALF_PRECISIONS, OptimizerStep, StepReport
from geminifusion_model.training.records.previews import Previews
from geminifusion_model.training.records.provenance import record_session
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_runtime.memory_shortage import describe_memory_shortage, is_memory_shortage


class TrainingRun:
    """Train a network on a data set.

    Args:
        directory: where everything is written; made if need be. All processes need to see the same one.
        further: frames of another data set with the same task, of which `further_per_batch` are in every batch.
        resume: continue from `directory`'s state, bit for bit as if it had never stopped, with as many processes.
        processes: this one among those that train together, and its device; one on the CPU if None.
        data_directory: where the frames come from, for the record.
        wandb_project: the project at Weights & Biases to log to as well.
        workers: threads that read frames ahead.

    Raises:
        TrainingError: the directory holds a run and `resume` is not given, or the reverse, or the configuration of the
            run in it differs, or classes, frames or processes do not fit; see `check_frames` too.
        DatasetError: a label file holds values without a class.
        ConfigError: the weights to start from are missing or do not fit, or class weights are set with a loss that does
            not use them.
        DataChangedError, RunRecordError: see `record_session`.
        OSError: the directory cannot be written.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: Dataset,
        directory: Path,
        *,
        further: Dataset | None = None,
        resume: bool = False,
        processes: Processes | None = None,
        data_directory: Path | None = None,
        wandb_project: str | None = None,
        workers: int = 2,
    ) -> None:
        self.config, self.directory = config, directory
        self.processes = processes or Processes()
        self.task: Task = dataclasses.replace(dataset.task, input_scale=config.input_scale)
        check_fit(config, dataset, self.processes, further)
        check_directory(config, directory, resume=resume)
        kept = len(dataset) - config.holdout
        self.frames = Subset(dataset, range(kept))
        self.holdout = Subset(dataset, range(kept, len(dataset)))
        self.further = further
        self._wandb_project, self._workers = wandb_project, workers
        if self.processes.is_first and not resume:
            check_frames(config, self.frames, self.holdout)
            if further is not None:
                label_counts(further)
        self.net = build_network(config, self.processes, resume=resume, class_names=self.task.class_names)
        if not config.compile:  # which sees the formula and decides itself
            dtype = HALF_PRECISIONS.get(config.precision, torch.float32)
            use_fastest_fusion(self.net, self.processes.device, dtype, training=True)
        self.state = build_state(config, self.net, self.processes.device)
        self._checkpointer = Checkpointer(directory, self.state, writes=self.processes.is_first)
        if resume:
            self._checkpointer.restore()
        with self._explained_failures():
            self.processes.wait()  # until all have read the directory, which the first is about to change
        if self.processes.is_first:
            record_session(
                directory,
                dataset if further is None else Joined(dataset, further),
                seed=config.seed,
                resume_step=self.saved_step,
                device=self.processes.device,
                processes=self.processes.count,
                data_directory=data_directory,
            )
            (directory / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        weights = class_weights(self.frames, config.class_balance)
        with self._explained_failures():
            self._step = OptimizerStep(
                config,
                self.net,
                self.state,
                self.processes,
                ignore_index=self.task.ignore_index,
                class_weights=None if weights is None else weights.to(self.processes.device),
            )

    @property
    def saved_step(self) -> int | None:
        """Of the state on disk; None if there is none."""
        return self._checkpointer.saved_step

    def train(self) -> Scores | None:
        """Run to the last step; returns the last scores on the held-out frames, if this process made any.

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
                    report = self._step.take(batch, lambda: interruption.requested)
                self.state.step += 1
                step = self.state.step
                progress.update(bar, completed=step, description=f"loss {report.loss:.3f}")
                if step % self.config.log_every == 0:
                    self._log_step(logger, report, time.monotonic() - begin)
                if report.stop:
                    self._checkpointer.save()
                    raise KeyboardInterrupt
                scores = self._evaluate_if_due(logger, interruption) or scores
                if step == self.config.steps or step % self.config.checkpoint_every == 0:
                    self._checkpointer.save()
                begin = time.monotonic()
            self._write_checkpoint("final")
        return scores

    def _batches(self) -> Iterator[Batch]:
        config, processes = self.config, self.processes
        further = None
        if self.further is not None:
            further = FurtherFrames(dataset=self.further, per_batch=config.further_per_batch)
        return training_batches(
            self.frames,
            config.augmentation,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=self.state.step,
            last_step=config.steps,
            further=further,
            share=Share(rank=processes.rank, processes=processes.count, parts=config.accumulate),
            device=processes.device,
            workers=self._workers,
        )

    def _log_step(self, logger: RunLogger | None, report: StepReport, seconds: float) -> None:
        if logger is not None:
            with self._checkpointer.writing():
                logger.scalars(self.state.step, {**report.scalars(), "seconds": seconds})

    def _evaluate_if_due(self, logger: RunLogger | None, interruption: Interruption) -> Scores | None:
        """Score the averaged weights on the held-out frames; the first process does, for all."""
        state = self.state
        last, regular = state.step == self.config.steps, state.step % self.config.evaluate_every == 0
        if not len(self.holdout) or state.evaluated_step == state.step or not (last or regular):
            return None
        if logger is None:
            state.evaluated_step = state.step
            return None

        def on_frame(_: int) -> None:
            if interruption.requested:
                self._checkpointer.save()
                raise KeyboardInterrupt

        net = GeminiFusion(self.config.network).to(self.processes.device)
        net.load_state_dict(state.averaged())
        previews = Previews(self.task)
        scores = evaluate(net, self.holdout, task=self.task, meters=[previews], on_frame=on_frame)
        state.evaluated_step, state.miou = state.step, scores.miou
        with self._checkpointer.writing():
            found = {
                "miou": scores.miou,
                "pixel_accuracy": scores.pixel_accuracy,
                "mean_accuracy": scores.mean_accuracy,
            }
            logger.scalars(state.step, found)
            logger.image(state.step, "held-out frames", previews.image())
        if scores.miou > state.best_miou:
            state.best_miou = scores.miou
            self._write_checkpoint("best")
        return scores

    def _write_checkpoint(self, name: str) -> None:
        if not self.processes.is_first:
            return
        net = GeminiFusion(self.config.network)
        net.load_state_dict(self.state.averaged())
        training: dict[str, object] = {
            "data": self.task.data,
            "frames": len(self.frames),
            "steps": self.state.step,
            "start": describe_start(self.config),
            "summary": describe_training(self.config, len(self.frames), self.task.data, self.further),
            "config": self.config.model_dump(mode="json"),
        }
        if self.state.evaluated_step == self.state.step:
            training["holdout"] = {"frames": len(self.holdout), "miou": self.state.miou}
        with self._checkpointer.writing():
            write_checkpoint(net, self.directory / name, task=self.task, training=training)

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
            reason = explanation(error, self.config, self.processes)
            if reason is None:
                raise
            raise TrainingError(f"{reason}. {self._checkpointer.last_state()}") from error


def explanation(error: RuntimeError | MemoryError, config: TrainingConfig, processes: Processes) -> str | None:
    """Cause and remedy of an error that torch raises within a step; None for an unexpected one."""
    if is_memory_shortage(error):
        return describe_memory_shortage(
            error,
            where=str(processes.device),
            work=f"a step of {config.batch_size} frames",
            advice="raise accumulate, set activation_checkpointing, or lower batch_size or augmentation.crop",
        )
    cause = str(error).strip().partition("\n")[0]
    if config.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
        return f"the network cannot be compiled here ({cause}); set compile to false"
    if processes.count > 1:
        return (
            f"process {processes.rank} of {processes.count} cannot go on ({cause}); most likely another one has ended, "
            "and its own message says why"
        )
    return None

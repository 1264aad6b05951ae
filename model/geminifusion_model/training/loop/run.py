"""One training run of a segmentation network in one directory, whose files `step_run` lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
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
from geminifusion_model.training.loop.class_balance import class_weights
from geminifusion_model.training.loop.data_checks import check_frames
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.initialization import describe_training
from geminifusion_model.training.loop.preparation import build_network, build_state, check_directory, check_fit
from geminifusion_model.training.loop.signals import Interruption
from geminifusion_model.training.loop.state import TrainingState
from geminifusion_model.training.loop.step import OptimizerStep, StepReport
from geminifusion_model.training.loop.step_parts import computed_dtype
from geminifusion_model.training.loop.step_run import StepRun
from geminifusion_model.training.loop.step_run import explanation as common_explanation
from geminifusion_model.training.records.previews import Previews
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_model.training.starts import describe_start


class TrainingRun(StepRun[Batch, StepReport, Scores]):
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

    config: TrainingConfig
    state: TrainingState

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
        processes = processes or Processes()
        self.task: Task = dataclasses.replace(dataset.task, input_scale=config.input_scale)
        check_fit(config, dataset, processes, further)
        check_directory(config, directory, resume=resume)
        kept = len(dataset) - config.holdout
        self.frames = Subset(dataset, range(kept))
        self.holdout = Subset(dataset, range(kept, len(dataset)))
        self.further = further
        self._workers = workers
        if processes.is_first and not resume:
            check_frames(config, self.frames, self.holdout)
            if further is not None:
                label_counts(further)
        self.net = build_network(config, processes, resume=resume, class_names=self.task.class_names)
        if not config.compile:  # which sees the formula and decides itself
            use_fastest_fusion(self.net, processes.device, computed_dtype(config.precision), training=True)
        super().__init__(
            config,
            build_state(config, self.net, processes.device),
            directory,
            processes,
            wandb_project=wandb_project,
        )
        everything = dataset if further is None else Joined(dataset, further)
        self._begin(everything, resume=resume, data_directory=data_directory)
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

    def _take(self, batch: Batch, wants_stop: Callable[[], bool]) -> StepReport:
        return self._step.take(batch, wants_stop)

    @property
    def num_held_out(self) -> int:
        """How many samples there are to evaluate on."""
        return len(self.holdout)

    def _evaluate(self, logger: RunLogger, interruption: Interruption) -> Scores:
        state = self.state
        net = GeminiFusion(self.config.network).to(self.processes.device)
        net.load_state_dict(state.averaged())
        previews = Previews(self.task)
        scores = evaluate(
            net, self.holdout, task=self.task, meters=[previews], on_frame=lambda _: self._stop_if_asked(interruption)
        )
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
        net = GeminiFusion(self.config.network)
        net.load_state_dict(self.state.averaged())
        training = self._training_record(
            data=self.task.data,
            trained=len(self.frames),
            start=describe_start(self.config.start_from, self.config.imagenet),
            summary=describe_training(self.config, len(self.frames), self.task.data, self.further),
            scores={"miou": self.state.miou},
        )
        with self._checkpointer.writing():
            write_checkpoint(net, self.directory / name, task=self.task, training=training)

    def _explanation(self, error: RuntimeError | MemoryError) -> str | None:
        return explanation(error, self.config, self.processes)


def explanation(error: RuntimeError | MemoryError, config: TrainingConfig, processes: Processes) -> str | None:
    """Cause and remedy of an error that torch raises within a step; None for an unexpected one."""
    if config.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
        cause = str(error).strip().partition("\n")[0]
        return f"the network cannot be compiled here ({cause}); set compile to false"
    return common_explanation(
        error,
        processes,
        work=f"a step of {config.batch_size} frames",
        advice="raise accumulate, set activation_checkpointing, or lower batch_size or augmentation.crop",
    )

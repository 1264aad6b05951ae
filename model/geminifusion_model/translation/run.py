"""One training run of a translator in one directory, whose files `training.loop.step_run` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.loader import Share
from geminifusion_model.fusion_kernels.choice import use_fastest_fusion
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.preparation import check_directory, check_holdout, check_shares
from geminifusion_model.training.loop.signals import Interruption
from geminifusion_model.training.loop.step_parts import computed_dtype
from geminifusion_model.training.loop.step_run import StepRun, explanation
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_model.training.starts import describe_start
from geminifusion_model.translation.checkpoint import TranslatorInfo, write_translator
from geminifusion_model.translation.dataset import TranslationBatch, TranslationDataset, translation_batches
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.held_out import HeldOutErrors, RecordedViews, Selected, compare, preview
from geminifusion_model.translation.state import TranslationState, build_state
from geminifusion_model.translation.step import TranslationReport, TranslationStep
from geminifusion_model.translation.task import TranslationTask
from geminifusion_model.translation.training_config import TranslationTrainingConfig

_PREVIEWED = 3  # held-out views in the log


class TranslationRun(StepRun[TranslationBatch, TranslationReport, HeldOutErrors]):
    """Train a translator on a data set.

    Args:
        dataset: with the inputs and the target of the configured network, at the configured size.
        directory: where everything is written; made if need be. All processes need to see the same one.
        resume: continue from `directory`'s state, bit for bit as if it had never stopped, with as many processes.
        processes: this one among those that train together, and its device; one on the CPU if None.
        data_directory: where the views come from, for the record.
        wandb_project: the project at Weights & Biases to log to as well.
        workers: threads that read views ahead.

    Raises:
        TrainingError: the directory holds a run and `resume` is not given, or the reverse, or the configuration of the
            run in it differs, or views or processes do not fit.
        ConfigError, CheckpointError: the weights to start from are missing or do not fit.
        DataChangedError, RunRecordError: see `record_session`.
        OSError: the directory cannot be written.
    """

    config: TranslationTrainingConfig
    state: TranslationState

    def __init__(
        self,
        config: TranslationTrainingConfig,
        dataset: TranslationDataset,
        directory: Path,
        *,
        resume: bool = False,
        processes: Processes | None = None,
        data_directory: Path | None = None,
        wandb_project: str | None = None,
        workers: int = 2,
    ) -> None:
        processes = processes or Processes()
        check_views(config, dataset, processes)
        check_directory(config, directory, resume=resume)
        self.task = TranslationTask(
            data=dataset.views.data,
            inputs=dataset.inputs,
            target=dataset.target,
            size=config.size,
            data_license=dataset.views.data_license,
        )
        kept = len(dataset) - config.holdout
        self.views = Selected(dataset, range(kept))
        self.holdout = Selected(dataset, range(kept, len(dataset)))
        self._workers = workers
        state = build_state(config, processes.device, resume=resume)
        use_fastest_fusion(state.net, processes.device, computed_dtype(config.precision), training=True)
        super().__init__(config, state, directory, processes, wandb_project=wandb_project)
        self._begin(RecordedViews(dataset, self.task), resume=resume, data_directory=data_directory)
        with self._explained_failures():
            self._step = TranslationStep(config, state, processes)

    def _batches(self) -> Iterator[TranslationBatch]:
        config, processes = self.config, self.processes
        return translation_batches(
            self.views,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=self.state.step,
            last_step=config.steps,
            share=Share(rank=processes.rank, processes=processes.count),
            device=processes.device,
            workers=self._workers,
        )

    def _take(self, batch: TranslationBatch, wants_stop: Callable[[], bool]) -> TranslationReport:
        return self._step.take(batch, wants_stop)

    @property
    def num_held_out(self) -> int:
        """How many samples there are to evaluate on."""
        return len(self.holdout)

    def _evaluate(self, logger: RunLogger, interruption: Interruption) -> HeldOutErrors:
        state = self.state
        net = Generator(self.config.network).to(self.processes.device).eval()
        net.load_state_dict(state.averaged())
        rows: list[NDArray[np.uint8]] = []
        found = HeldOutErrors()
        for view in range(len(self.holdout)):
            sample = self.holdout[view]
            image = compare(net, sample, found)
            if view < _PREVIEWED:
                rows.append(preview(sample, image))
            self._stop_if_asked(interruption)
        state.evaluated_step, state.error = state.step, found.error
        with self._checkpointer.writing():
            logger.scalars(state.step, found.scalars())
            logger.image(state.step, "held-out views", np.vstack(rows))
        if found.error < state.least_error:
            state.least_error = found.error
            self._write_checkpoint("best")
        return found

    def _write_checkpoint(self, name: str) -> None:
        config = self.config
        training = self._training_record(
            data=self.task.data,
            trained=len(self.views),
            start=describe_start(config.start_from),
            summary=describe_training(config, self.task, len(self.views)),
            scores={"mae": self.state.error},
        )
        with self._checkpointer.writing():
            write_translator(
                self.directory / name,
                self.state.averaged(),
                TranslatorInfo(network=config.network, task=self.task, training=training),
            )

    def _explanation(self, error: RuntimeError | MemoryError) -> str | None:
        return explanation(
            error,
            self.processes,
            work=f"a step of {self.config.batch_size} views of {self.config.size[1]}x{self.config.size[0]}",
            advice="start a new run with a smaller batch_size or size",
        )


def check_views(config: TranslationTrainingConfig, dataset: TranslationDataset, processes: Processes) -> None:
    """Check that batches divide among the processes, and that the data is what the network is for.

    Raises:
        TrainingError: otherwise.
    """
    check_shares(config.batch_size, processes)
    check_holdout(len(dataset), config.holdout, "views")
    wanted = (*config.network.inputs, config.network.target)
    given = tuple(domain.name for domain in (*dataset.inputs, dataset.target))
    if given != wanted or dataset.size != config.size:
        raise TrainingError(
            f"the data gives {', '.join(given)} at {dataset.size[1]}x{dataset.size[0]}, the configuration is for "
            f"{', '.join(wanted)} at {config.size[1]}x{config.size[0]}; give both the same"
        )


def describe_training(config: TranslationTrainingConfig, task: TranslationTask, views: int) -> str:
    """One sentence on how the weights were trained, as checkpoint and artifact carry it.

    Args:
        views: trained on, without the held-out ones.
    """
    network = config.network
    loss = "difference from the target alone" if not config.adversarial_weight else "with a discriminator"
    parts = [
        f"{' and '.join(network.inputs)} to {network.target}",
        f"{network.size} with {network.fusion} fusion from {describe_start(config.start_from)}",
        f"{config.steps} steps of {config.batch_size} crops of {config.size[0]}x{config.size[1]}, {loss}",
        f"{views} training views of {task.data}" + (f", {config.holdout} held out" if config.holdout else ""),
    ]
    if config.ema_decay:
        parts.append("exponential average of the weights")
    return "; ".join(parts)

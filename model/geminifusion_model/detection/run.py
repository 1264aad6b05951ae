"""One training run of a detector in one directory, whose files `training.loop.step_run` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geminifusion_model.data.loader import Share
from geminifusion_model.detection.checkpoint import DetectorInfo, write_detector
from geminifusion_model.detection.data.batches import DetectionBatch, training_batches
from geminifusion_model.detection.data.frame import DetectionFrame, DetectionFrames, SelectedFrames
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.detecting import detect_all
from geminifusion_model.detection.evaluation.kitti_ap import CellName, KittiScores, kitti_scores
from geminifusion_model.detection.state import DetectionState, build_state
from geminifusion_model.detection.step import DetectionReport, DetectionStep
from geminifusion_model.detection.task import DetectionTask
from geminifusion_model.detection.training_config import DetectionTrainingConfig
from geminifusion_model.fusion_kernels.choice import use_fastest_fusion
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.preparation import check_directory, check_holdout, check_shares
from geminifusion_model.training.loop.signals import Interruption
from geminifusion_model.training.loop.step_parts import computed_dtype
from geminifusion_model.training.loop.step_run import StepRun, explanation
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_model.training.starts import describe_start


@dataclass(frozen=True)
class HeldOutPrecision:
    """All-point average precision of held-out frames in 3-D, moderate, by class; the class may not occur (NaN)."""

    frames: int
    by_class: dict[str, float]

    @classmethod
    def of(cls, scores: KittiScores, class_names: tuple[str, ...]) -> HeldOutPrecision:
        """From all figures."""
        return cls(
            scores.num_frames,
            {name: scores.cells[CellName(name, "moderate", "3d")].all_point() for name in class_names},
        )

    @property
    def mean(self) -> float:
        """Over the classes that occur; 0 if none does."""
        known = [value for value in self.by_class.values() if not np.isnan(value)]
        return float(np.mean(known)) if known else 0.0

    def scalars(self) -> dict[str, float]:
        """By name, for the run's log."""
        return {"ap_3d": self.mean, **{f"ap_3d_{name}": value for name, value in self.by_class.items()}}


class DetectionRun(StepRun[DetectionBatch, DetectionReport, HeldOutPrecision]):
    """Train a detector on frames of a camera and a LiDAR.

    Args:
        directory: where everything is written; made if need be. All processes need to see the same one.
        resume: continue from `directory`'s state, bit for bit as if it had never stopped, with as many processes.
        processes: this one among those that train together, and its device; one on the CPU if None.
        data_directory: where the frames come from, for the record.
        wandb_project: the project at Weights & Biases to log to as well.
        workers: threads that read frames ahead.

    Raises:
        TrainingError: the directory holds a run and `resume` is not given, or the reverse, or the configuration of the
            run in it differs, or frames or processes do not fit.
        ConfigError, CheckpointError: the weights to start from are missing or do not fit.
        DataChangedError, RunRecordError: see `record_session`.
        OSError: the directory cannot be written.
    """

    config: DetectionTrainingConfig
    state: DetectionState

    def __init__(
        self,
        config: DetectionTrainingConfig,
        frames: DetectionFrames,
        directory: Path,
        *,
        resume: bool = False,
        processes: Processes | None = None,
        data_directory: Path | None = None,
        wandb_project: str | None = None,
        workers: int = 2,
    ) -> None:
        processes = processes or Processes()
        check_shares(config.batch_size, processes)
        check_holdout(len(frames), config.holdout, "frames")
        check_directory(config, directory, resume=resume)
        self.task = DetectionTask(data=frames.data, image_size=config.image_size, data_license=frames.data_license)
        kept = len(frames) - config.holdout
        self.frames = SelectedFrames(frames, range(kept))
        self.holdout = SelectedFrames(frames, range(kept, len(frames)))
        self._workers = workers
        state = build_state(config, processes.device, resume=resume)
        use_fastest_fusion(state.net, processes.device, computed_dtype(config.precision), training=True)
        super().__init__(config, state, directory, processes, wandb_project=wandb_project)
        self._begin(_RecordedFrames(frames, self.task), resume=resume, data_directory=data_directory)
        with self._explained_failures():
            self._step = DetectionStep(config, state, processes)

    def _batches(self) -> Iterator[DetectionBatch]:
        config, processes = self.config, self.processes
        return training_batches(
            self.frames,
            config.network,
            config.augmentation,
            image_size=config.image_size,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=self.state.step,
            last_step=config.steps,
            share=Share(rank=processes.rank, processes=processes.count),
            device=processes.device,
            workers=self._workers,
        )

    def _take(self, batch: DetectionBatch, wants_stop: Callable[[], bool]) -> DetectionReport:
        return self._step.take(batch, wants_stop)

    @property
    def num_held_out(self) -> int:
        """How many samples there are to evaluate on."""
        return len(self.holdout)

    def _evaluate(self, logger: RunLogger, interruption: Interruption) -> HeldOutPrecision:
        config, state = self.config, self.state
        net = Detector(config.network).to(self.processes.device).eval()
        net.load_state_dict(state.averaged())
        labeled = detect_all(net, self.holdout, config.image_size, on_frame=lambda _: self._stop_if_asked(interruption))
        class_names = config.network.class_names
        found = HeldOutPrecision.of(kitti_scores(labeled, class_names, loose=False), class_names)
        state.evaluated_step, state.precision = state.step, found.mean
        with self._checkpointer.writing():
            logger.scalars(state.step, found.scalars())
        if found.mean > state.best_precision:
            state.best_precision = found.mean
            self._write_checkpoint("best")
        return found

    def _write_checkpoint(self, name: str) -> None:
        config, state = self.config, self.state
        training = self._training_record(
            data=self.task.data,
            trained=len(self.frames),
            start=describe_start(config.start_from, config.imagenet),
            summary=describe_training(config, self.task, len(self.frames)),
            scores={"ap_3d_all_point": state.precision},
        )
        with self._checkpointer.writing():
            write_detector(
                self.directory / name,
                state.averaged(),
                DetectorInfo(network=config.network, task=self.task, training=training),
            )

    def _explanation(self, error: RuntimeError | MemoryError) -> str | None:
        return explanation(
            error,
            self.processes,
            work=f"a step of {self.config.batch_size} frames",
            advice="start a new run with a smaller batch_size or image_size",
        )


@dataclass(frozen=True)
class _RecordedFrames:
    """The data of a run, in order, as its record fingerprints it."""

    frames: DetectionFrames
    task: DetectionTask

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> DetectionFrame:
        return self.frames[index]


def describe_training(config: DetectionTrainingConfig, task: DetectionTask, frames: int) -> str:
    """One sentence on how the weights were trained, as checkpoint and artifact carry it.

    Args:
        frames: trained on, without the held-out ones.
    """
    network = config.network
    fusion = "LiDAR only" if network.fusion == "none" else f"{network.fusion} fusion, {network.fusion_layers}"
    parts = [
        f"{network.middle} detector, {fusion}, from {describe_start(config.start_from, config.imagenet)}",
        f"{config.steps} steps of {config.batch_size} frames",
        f"{frames} training frames of {task.data}" + (f", {config.holdout} held out" if config.holdout else ""),
    ]
    if config.ema_decay:
        parts.append("exponential average of the weights")
    return "; ".join(parts)

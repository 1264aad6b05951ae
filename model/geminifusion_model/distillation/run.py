"""One distillation in one directory.

config.yaml      the configuration             state.pt      the resumable state, replaced atomically
run.json         data, code and machine        final/        the encoder's file and where it comes from
metrics.jsonl    one line per logged step      latest/       the same, as it was at the last validation
tensorboard/     the same                      teacher/      the teacher's maps, unless they are kept elsewhere
"""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path

import torch
from rich.progress import Progress

from geminifusion_model.distillation.batches import CropBatch, CropLoader, held_out
from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.images import Photographs
from geminifusion_model.distillation.statistics import channel_statistics
from geminifusion_model.distillation.step import DistillationReport, DistillationStep, build_optimizer, validate
from geminifusion_model.distillation.student import Student, start_from_trained
from geminifusion_model.distillation.teacher import Teacher
from geminifusion_model.distillation.teacher_maps import TeacherMaps
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.checkpointer import Checkpointer
from geminifusion_model.training.loop.preparation import check_directory
from geminifusion_model.training.loop.progress import step_progress
from geminifusion_model.training.loop.signals import Interruption, deferred_interruption
from geminifusion_model.training.loop.state import ExponentialAverage, RunState
from geminifusion_model.training.records.provenance import record_session
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_model.training.starts import describe_start
from geminifusion_model.weights.encoder_file import classifier_layout, write_encoder_file
from geminifusion_runtime.memory_shortage import describe_memory_shortage, is_memory_shortage

_VALIDATION_BATCH = 32


class DistillationRun:
    """Teach an encoder what a frozen classifier sees in photographs.

    Args:
        teacher: see `Teacher`; `open_teacher` gives those with names.
        directory: where everything is written; made if need be.
        maps_directory: where the teacher's maps are kept; runs with the same teacher and photographs can share them.
            `teacher` in `directory` if none.
        resume: continue from `directory`'s state, bit for bit as if it had never stopped, given as many threads.
        device: that computes; the CPU if none.
        workers: threads that read photographs ahead.

    Raises:
        ConfigError, CheckpointError, ArtifactError: the weights to start from are missing or do not fit.
        TrainingError: the directory holds a run and `resume` is not given, or the reverse, or the configuration of the
            run in it differs, or the photographs are too few or in no folders.
        DataChangedError, RunRecordError: see `record_session`.
        OSError: the directory cannot be written.
    """

    def __init__(
        self,
        config: DistillationConfig,
        photographs: Photographs,
        teacher: Teacher,
        directory: Path,
        *,
        maps_directory: Path | None = None,
        resume: bool = False,
        device: torch.device | None = None,
        wandb_project: str | None = None,
        workers: int = 2,
    ) -> None:
        self.config, self.photographs, self.directory = config, photographs, directory
        self.device = device or torch.device("cpu")
        self.teacher = teacher.to(self.device)
        check_directory(config, directory, resume=resume)
        check_photographs(config, photographs)
        apart = set(held_out(len(photographs), config.holdout))
        self.holdout = sorted(apart)
        self.kept = [index for index in range(len(photographs)) if index not in apart]
        self._wandb_project = wandb_project
        self.maps = TeacherMaps(
            maps_directory or directory / "teacher",
            teacher,
            photographs,
            side=config.teacher_side,
            stages=config.stages,
        )
        self._loader = CropLoader(photographs, self.maps, config, self.device, workers)
        torch.manual_seed(config.seed)
        folder_count = len(photographs.folder_names) if config.folder_weight else 0
        self.student = Student(config, teacher.info, folder_count)
        if not resume:  # a state replaces them, and their file may be gone
            start_from_trained(self.student, config)
        self.student.to(self.device)
        self.state = RunState(
            self.student, build_optimizer(self.student, config), ExponentialAverage(self.student, config.ema_decay)
        )
        self.checkpointer = Checkpointer(directory, self.state)
        self.state.evaluated_step = -1  # even before the first step there is something to know
        if resume:
            self.checkpointer.restore()
        record_session(
            directory,
            photographs,
            seed=config.seed,
            resume_step=self.checkpointer.saved_step,
            device=self.device,
            data_directory=photographs.sources[0] if len(photographs.sources) == 1 else None,  # else see the command
        )
        (directory / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        self._step = DistillationStep(config, self.student, self.state)

    def train(self) -> DistillationReport | None:
        """Run to the last step; returns what the last validation found, if there was one.

        SIGINT and SIGTERM end the run after the step it is in; a second Ctrl-C ends it at once.

        Raises:
            TrainingError: a loss or gradient is not finite, or a file cannot be written.
            KeyboardInterrupt: `checkpointer.saved_step` says what is on disk.
        """
        config, state, keep = self.config, self.state, self.checkpointer
        with deferred_interruption() as interruption, self._opened_logger() as logger, step_progress() as progress:
            self._ask_teacher(progress, interruption)
            if keep.saved_step is None:
                self._measure_teacher()
            bar = progress.add_task("distilling", total=config.steps, completed=state.step)
            found = self._validate_if_due(logger, interruption)  # which an interrupted run still owes
            if found is not None or keep.saved_step is None:
                keep.save()  # at the start too: a disk that is too small shows now, not after many steps
            begin = time.monotonic()
            for batch in self._loader.random(self.kept, state.step):
                report = self._taken(batch)
                state.step += 1
                progress.update(bar, completed=state.step, description=f"loss {report.loss:.3f}")
                if state.step % config.log_every == 0:
                    seconds = time.monotonic() - begin
                    rate = float(state.optimizer.param_groups[0]["lr"])
                    with keep.writing():
                        logger.scalars(state.step, {**report.scalars(), "rate": rate, "seconds": seconds})
                if interruption.requested:
                    keep.save()
                    raise KeyboardInterrupt
                found = self._validate_if_due(logger, interruption) or found
                if state.step == config.steps or state.step % config.checkpoint_every == 0:
                    keep.save()
                begin = time.monotonic()
            self._write_encoder("final", self._averaged_student(), found)
        return found

    def _ask_teacher(self, progress: Progress, interruption: Interruption) -> None:
        """Let the teacher look at all photographs, as far as it has not."""
        if self.maps.done == len(self.photographs):
            return
        bar = progress.add_task("asking the teacher", total=len(self.photographs), completed=self.maps.done)

        def on_progress(done: int) -> None:
            progress.update(bar, completed=done)
            if interruption.requested:
                raise KeyboardInterrupt

        with self.checkpointer.writing():
            self.maps.complete(self.teacher, self.device, on_progress)
        progress.remove_task(bar)

    def _measure_teacher(self) -> None:
        config = self.config
        count = min(config.statistics_images, len(self.kept))
        chosen = [self.kept[place] for place in held_out(len(self.kept), count)]
        self.student.set_statistics(*channel_statistics(self._loader.centers(chosen, config.crop, _VALIDATION_BATCH)))
        self.state.average = ExponentialAverage(self.student, config.ema_decay)

    def _taken(self, batch: CropBatch) -> DistillationReport:
        try:
            return self._step.take(batch)
        except TrainingError as error:
            raise TrainingError(f"{error}. {self.checkpointer.last_state()}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_memory_shortage(error):
                raise
            reason = describe_memory_shortage(
                error,
                where=str(self.device),
                work=f"a step of {self.config.batch_size} crops",
                advice="start a new run with a smaller batch_size",
            )
            raise TrainingError(f"{reason}. {self.checkpointer.last_state()}") from error

    def _validate_if_due(self, logger: RunLogger, interruption: Interruption) -> DistillationReport | None:
        """Compare the averaged weights with the teacher on the held-out photographs."""
        config, state = self.config, self.state
        last, regular = state.step == config.steps, state.step % config.evaluate_every == 0
        if not self.holdout or not (last or regular) or state.evaluated_step == state.step:
            return None

        def stop_if_wanted() -> None:
            if interruption.requested:
                self.checkpointer.save()
                raise KeyboardInterrupt

        student = self._averaged_student()
        batches = self._loader.centers(self.holdout, config.fine_crop, _VALIDATION_BATCH)
        found = validate(student, batches, config, stop_if_wanted)
        state.evaluated_step = state.step
        with self.checkpointer.writing():
            logger.scalars(state.step, found.scalars("validation_"))
        self._write_encoder("latest", student, found)
        return found

    def _averaged_student(self) -> Student:
        student = copy.deepcopy(self.student)
        student.load_state_dict(self.state.averaged())
        return student.eval()

    def _write_encoder(self, name: str, student: Student, found: DistillationReport | None) -> None:
        config, info = self.config, self.teacher.info
        path = self.directory / name / f"{config.encoder}.pth"
        done = "" if self.state.step == config.steps else f", step {self.state.step} of {config.steps}"
        start = "" if config.start_from is None else f", from the RGB stream of {describe_start(config.start_from)}"
        head = (student.classify.weight, student.classify.bias)
        tensors = classifier_layout(config.encoder, student.encoder.state_dict(), head)
        record = {
            "description": f"{config.encoder} distilled from {info.name} ({info.origin}) on {len(self.kept)} of "
            f"{self.photographs.task.data}{start}{done}",
            "teacher": dataclasses.asdict(info),
            "photographs": len(self.kept),
            "steps": self.state.step,
            "validation": None if found is None else found.scalars(),
            "config": config.model_dump(mode="json"),
        }
        with self.checkpointer.writing():
            write_encoder_file(path, config.encoder, tensors, record)

    def _opened_logger(self) -> RunLogger:
        with self.checkpointer.writing():
            return RunLogger(
                self.directory,
                wandb_project=self._wandb_project,
                config=self.config.model_dump(mode="json"),
                # lines of a run that was killed before it saved anything are not of this one
                resume_step=-1 if self.checkpointer.saved_step is None else self.state.step,
            )


def check_photographs(config: DistillationConfig, photographs: Photographs) -> None:
    """See that something is left to learn from, and that folders have names if these are to be learned.

    Raises:
        TrainingError: otherwise.
    """
    if len(photographs) <= config.holdout:
        raise TrainingError(f"there are {len(photographs)} photographs, {config.holdout} are to be held out; use fewer")
    if config.folder_weight and len(photographs.folder_names) < 2:
        raise TrainingError(
            f"folder_weight is {config.folder_weight}, but the photographs lie in {len(photographs.folder_names)} "
            "named folders; give a folder that holds one folder for each class, or set folder_weight to 0"
        )

"""One run of `geminifusion evaluate`: its frames, its measurements, and the records of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import Progress

from geminifusion_model.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    read_info,
    weights_sha256,
    write_checkpoint,
)
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import Dataset, DatasetError, Subset
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.evaluation.corruptions import conditions
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.evaluation.frame_images import frame_sheets
from geminifusion_model.evaluation.full_report import FullReport, evaluate_fully, fit_temperature_on
from geminifusion_model.evaluation.html_report import HtmlReport
from geminifusion_model.evaluation.intervals import ScoreIntervals, bootstrap_intervals
from geminifusion_model.evaluation.protocols import protocol_named
from geminifusion_model.evaluation.robustness import RobustnessTable, evaluate_robustness
from geminifusion_model.network import GeminiFusion


class EvaluationRun:
    """A checkpoint, a split of a data set, and the results so far.

    Args:
        data, dataset, split, limit: as `open_dataset` takes them.
        protocol: a key of `PROTOCOLS`.
        seed: of the corruptions, the bootstrap and the pixels the temperature is fitted on.

    Raises:
        CheckpointError: the directory is no checkpoint, or does not say what its network was trained to do.
        DatasetError: the data is not laid out as its kind says.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        data: Path,
        dataset: str = "nyuv2",
        split: str = "test",
        protocol: str = "original-nyu-single-scale",
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self.checkpoint, self.data, self.dataset, self.split = checkpoint, data, dataset, split
        self.limit, self.seed = limit, seed
        self.protocol = protocol_named(protocol)
        self.net = GeminiFusion.from_pretrained(checkpoint)
        self.info: CheckpointInfo = read_info(checkpoint)
        if self.info.task is None:
            raise CheckpointError(
                f"{checkpoint} holds no task, so its inputs and classes are unknown; "
                "evaluate a checkpoint written by `geminifusion train`"
            )
        self.task = self.info.task
        self.frames = self._open(split, limit)
        self.scores: Scores | None = None
        self.results: FullReport | None = None
        self.robustness: RobustnessTable | None = None

    def run(self, *, details: bool = False, robustness: bool = False, fit_temperature: bool = False) -> None:
        """Measure what was asked for, with a progress bar; a fitted temperature is stored in the checkpoint.

        Raises:
            ValueError: no frames were held out of training to fit a temperature on, or the frames do not fit.
        """
        with Progress() as progress:

            def counting(what: str, total: int) -> Callable[[int], None]:
                bar = progress.add_task(what, total=total)
                return lambda done: progress.update(bar, completed=done)

            if fit_temperature:
                held_out = self._held_out()
                self._store_temperature(held_out, counting("fitting the temperature", len(held_out)))
            on_frame = counting("evaluating", len(self.frames))
            if details:
                self.results = evaluate_fully(
                    self.net,
                    self.frames,
                    protocol=self.protocol.name,
                    task=self.task,
                    temperature=Temperature.from_record(self.info.training),
                    seed=self.seed,
                    on_frame=on_frame,
                )
                self.scores = self.results.scores
            else:
                self.scores = evaluate(
                    self.net, self.frames, protocol=self.protocol.name, task=self.task, on_frame=on_frame
                )
            if robustness:
                num_corrupted = len(list(conditions(self.net.config.modalities))) - 1
                self.robustness = evaluate_robustness(
                    self.net,
                    self.frames,
                    protocol=self.protocol.name,
                    task=self.task,
                    seed=self.seed,
                    clean=self.scores,
                    on_frame=counting("corrupting inputs", num_corrupted * len(self.frames)),
                )

    def to_text(self) -> str:
        """All results for a terminal, the summary last."""
        scores = self._done()
        parts = []
        if self.results is not None:
            parts.append(self.results.to_text())
        else:
            classes = zip(self.task.class_names, scores.iou, strict=True)
            parts.append("\n".join(f"{name:<18}{iou:7.2f}" for name, iou in classes))
        if self.robustness is not None:
            parts.append(self.robustness.to_text())
        parts.append(
            f"{scores.frames} frames, {self.split}, protocol {scores.protocol}: mIoU {scores.miou:.2f} "
            f"({self._intervals().miou}), pixel accuracy {scores.pixel_accuracy:.2f}, "
            f"mean accuracy {scores.mean_accuracy:.2f}"
        )
        return "\n\n".join(parts)

    def report(self, num_frames: int) -> HtmlReport:
        """The page about these results, which shows this many frames.

        Raises:
            ValueError: `run` measured no details.
        """
        if self.results is None:
            raise ValueError("a report needs details; run with details=True")
        temperature = self.results.temperature
        return HtmlReport(
            title=f"{self.net.config.encoder} on {self.frames.task.data}",
            subtitle=f"{len(self.frames)} frames of the {self.split} split, fusion {self.net.config.fusion}",
            protocol=self.protocol,
            results=self.results,
            sheets=frame_sheets(
                self.net,
                self.frames,
                self.results.scores,
                protocol=self.protocol.name,
                task=self.task,
                count=num_frames,
                temperature=1.0 if temperature is None else temperature.value,
            ),
            robustness=self.robustness,
            facts=self._facts(),
        )

    def record(self) -> dict[str, Any]:
        """Write the results into the checkpoint's training record; returns what was written."""
        scores = self._done()
        within = self._intervals().miou
        results: dict[str, Any] = {
            "test": {
                "data": f"{self.frames.task.data}, {self.split}, {scores.frames} frames",
                "protocol": scores.protocol,
                "miou": round(scores.miou, 3),
                "miou_interval": [round(within.low, 3), round(within.high, 3)],
                "pixel_accuracy": round(scores.pixel_accuracy, 3),
                "mean_accuracy": round(scores.mean_accuracy, 3),
            }
        }
        if self.robustness is not None:
            results["robustness"] = self.robustness.to_record()
        self._write(results)
        return results

    def _open(self, split: str, limit: int | None) -> Dataset:
        depth = next((m.encoding for m in self.task.modalities if m.name == "depth"), None)
        return open_dataset(
            self.dataset,
            self.data,
            split,
            num_classes=self.net.config.num_classes,
            modalities=self.net.config.modalities,
            encoding=depth,
            limit=limit,
        )

    def _held_out(self) -> Subset:
        """The last frames of the training list, which the run that made this checkpoint did not train on."""
        count = int(self.info.training.get("config", {}).get("holdout", 0))
        if not count:
            raise DatasetError(
                f"{self.checkpoint} was trained without held-out frames; a temperature fitted on frames it knows would "
                "be too low. Train with `--set holdout=40`, for example"
            )
        frames = self._open("train", None)
        if len(frames) != count + int(self.info.training["frames"]):
            raise DatasetError(
                f"the training list has {len(frames)} frames, the checkpoint was trained on "
                f"{self.info.training['frames']} and held out {count}; give the data it was trained on"
            )
        first = len(frames) - count
        return Subset(frames, range(first, len(frames) if self.limit is None else min(first + self.limit, len(frames))))

    def _store_temperature(self, held_out: Subset, on_frame: Callable[[int], None]) -> None:
        found = fit_temperature_on(
            self.net,
            held_out,
            protocol=self.protocol.name,
            task=self.task,
            data="held-out training frames",
            seed=self.seed,
            on_frame=on_frame,
        )
        self._write({"calibration": found.to_record()})

    def _write(self, results: dict[str, Any]) -> None:
        write_checkpoint(self.net, self.checkpoint, task=self.task, training={**self.info.training, **results})
        self.info = read_info(self.checkpoint)

    def _done(self) -> Scores:
        assert self.scores is not None, "run() comes first"
        return self.scores

    def _intervals(self) -> ScoreIntervals:
        if self.results is not None:
            return self.results.intervals
        return bootstrap_intervals(self._done().matrices, absent=self.protocol.absent_class, seed=self.seed)

    def _facts(self) -> dict[str, str]:
        config, training = self.net.config, self.info.training
        facts = {
            "checkpoint": self.checkpoint.name,
            "weights": f"SHA-256 {weights_sha256(self.checkpoint)}",
            "network": f"{config.encoder}, fusion {config.fusion}, {' and '.join(config.modalities)}",
            "input scale": f"{self.task.input_scale:g}",
            "data": f"{self.frames.task.data} ({self.frames.task.data_license})",
        }
        if "steps" in training:
            facts["training"] = f"{training.get('frames')} frames, {training['steps']} steps, {training.get('start')}"
        return facts

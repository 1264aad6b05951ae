"""One run of `geminifusion evaluate`: its frames, its measurements, and the records of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from geminifusion_model.data.label_counts import label_counts
from geminifusion_model.data.matching import open_matching
from geminifusion_model.data.registry import kind_of, usual_split
from geminifusion_model.data.sample import Dataset, DatasetError, Subset
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.evaluation.corruptions import conditions
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.evaluation.frame_images import frame_sheets
from geminifusion_model.evaluation.full_report import FullReport, evaluate_fully, fit_temperature_on
from geminifusion_model.evaluation.html_report import HtmlReport
from geminifusion_model.evaluation.intervals import ScoreIntervals, bootstrap_intervals
from geminifusion_model.evaluation.predictor import NetworkPredictor, Predictor
from geminifusion_model.evaluation.protocols import PROTOCOLS, protocol_named
from geminifusion_model.evaluation.robustness import RobustnessTable, evaluate_robustness
from geminifusion_model.evaluation.served import (
    ArtifactPredictor,
    Connect,
    ServedError,
    ServedPredictor,
    ServerPredictor,
)
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import METADATA_NAME
from geminifusion_runtime.memory_shortage import describe_memory_shortage, is_memory_shortage


class EvaluationError(RuntimeError):
    """An evaluation cannot go on; the message says why and what to do."""


class EvaluationRun:
    """What predicts, a split of a data set, and the results so far.

    Args:
        source: a checkpoint, an artifact, or the address of a server.
        data, dataset, metres_per_unit, split, limit: as `open_dataset` takes them; by default the layout that `kind_of`
            finds, and the split that `usual_split` names.
        protocol: a key of `PROTOCOLS`; by default the task's own of a checkpoint, and the first that a served graph can
            follow.
        seed: of the corruptions, the bootstrap and the pixels the temperature is fitted on.
        without: modalities that are left out.
        backend, threads: of an artifact, as `Model.open` takes them.
        model: which of a server's models.
        connect: makes the client of a server from its address.

    Raises:
        CheckpointError: the directory is no checkpoint, or does not say what its network was trained to do.
        ArtifactError: the artifact is damaged or of another schema.
        DatasetError: the data is not laid out as its kind says, or has other units or classes than the network.
        ServedError: what is served cannot be scored like this.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        data: Path,
        dataset: str | None = None,
        metres_per_unit: float | None = None,
        split: str | None = None,
        protocol: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        without: tuple[str, ...] = (),
        backend: str = "auto",
        threads: int | None = None,
        model: str | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.source, self.data, self.dataset = source, data, kind_of(data, dataset)
        self.split = split or usual_split(self.dataset, data)
        self._metres_per_unit = metres_per_unit
        self.limit, self.seed, self.without = limit, seed, without
        self._checkpoint: _Checkpoint | None = None
        self.predictor: Predictor
        if is_address(source):
            if connect is None:
                raise ServedError(f"{source} is a server's address; `geminifusion evaluate` has the client to ask it")
            self.predictor = ServerPredictor(connect(str(source)), model=model, without=without)
        elif (Path(source) / METADATA_NAME).is_file():
            self.predictor = ArtifactPredictor(Path(source), backend=backend, threads=threads, without=without)
        else:
            self._checkpoint = _Checkpoint.open(Path(source), without)
            self.predictor = self._checkpoint.predictor
        self.task = self.predictor.task
        self.frames = self._open(self.split, limit)
        self.protocol = protocol_named(protocol or self._usual_protocol())
        self.scores: Scores | None = None
        self.results: FullReport | None = None
        self.robustness: RobustnessTable | None = None

    def run(self, *, details: bool = False, robustness: bool = False, fit_temperature: bool = False) -> None:
        """Measure what was asked for, with a progress bar; a fitted temperature is stored in the checkpoint.

        Raises:
            ValueError: no frames were held out of training to fit a temperature on, or the frames do not fit.
            EvaluationError: memory ran out.
        """
        with self._explained_memory_shortage():
            self._run(details=details, robustness=robustness, fit_temperature=fit_temperature)

    def _run(self, *, details: bool, robustness: bool, fit_temperature: bool) -> None:
        if robustness or fit_temperature:
            self._network("corrupt its inputs" if robustness else "fit a temperature on its logits")
        if robustness and self.without:
            raise ServedError(
                f"the robustness suite leaves out every modality itself; score without {self.without[0]} "
                "in a run of its own"
            )
        label_counts(self.frames)  # a label without a class shows now, and not after the frames before it
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
                    self.predictor,
                    self.frames,
                    protocol=self.protocol.name,
                    temperature=None
                    if self._checkpoint is None
                    else Temperature.from_record(self._checkpoint.info.training),
                    seed=self.seed,
                    on_frame=on_frame,
                )
                self.scores = self.results.scores
            else:
                self.scores = evaluate(self.predictor, self.frames, protocol=self.protocol.name, on_frame=on_frame)
            if robustness:
                names = tuple(modality.name for modality in self.task.modalities)
                num_corrupted = len(list(conditions(names))) - 1
                self.robustness = evaluate_robustness(
                    self._network("corrupt its inputs").predictor.net,
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
        if absent := [name for name, pixels in zip(self.task.class_names, self._pixels(), strict=True) if not pixels]:
            parts.append(f"never labeled in {self.split}, so without a score of their own: {', '.join(absent)}")
        if self.robustness is not None:
            parts.append(self.robustness.to_text())
        parts.append(
            f"{scores.frames} frames, {self.split}{self._left_out()}, protocol {scores.protocol}: "
            f"mIoU {scores.miou:.2f} ({self._intervals().miou}), pixel accuracy {scores.pixel_accuracy:.2f}, "
            f"mean accuracy {scores.mean_accuracy:.2f}"
        )
        return "\n\n".join(parts)

    def report(self, num_frames: int) -> HtmlReport:
        """The page about these results, which shows this many frames.

        Raises:
            ValueError: `run` measured no details.
            EvaluationError: memory ran out.
        """
        if self.results is None:
            raise ValueError("a report needs details; run with details=True")
        temperature = self.results.temperature
        with self._explained_memory_shortage():
            sheets = frame_sheets(
                self.predictor,
                self.frames,
                self.results.scores,
                protocol=self.protocol.name,
                task=self.task,
                count=num_frames,
                temperature=1.0 if temperature is None else temperature.value,
            )
        return HtmlReport(
            title=f"{self.predictor.title()} on {self.frames.task.data}",
            subtitle=f"{len(self.frames)} frames of the {self.split} split{self._left_out()}",
            protocol=self.protocol,
            results=self.results,
            sheets=sheets,
            robustness=self.robustness,
            facts=self._facts(),
        )

    def record(self) -> dict[str, Any]:
        """Write the results into the checkpoint's training record; returns what was written.

        Raises:
            ServedError: there is no checkpoint, or modalities were left out.
        """
        scores = self._done()
        checkpoint = self._network("record its scores in")
        if self.without:
            raise ServedError(f"these scores are without {' and '.join(self.without)}; record those of all modalities")
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
        checkpoint.write(results)
        return results

    @contextlib.contextmanager
    def _explained_memory_shortage(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not is_memory_shortage(error):
                raise
            raise EvaluationError(
                describe_memory_shortage(
                    error,
                    where="this machine",
                    work=f"a frame under the protocol {self.protocol.name}",
                    advice="choose a --protocol that shows the network smaller frames, without other scales or "
                    "mirror images, leave out --report, --details and --robustness, or store the frames smaller",
                )
            ) from error

    def _usual_protocol(self) -> str:
        if isinstance(self.predictor, ServedPredictor) and len(self.frames):
            served, size = self.predictor.served, self.frames[0].labels.shape
            return next((name for name, how in PROTOCOLS.items() if not served.problem(how, *size)), "native-labels")
        return self.task.evaluation_protocol or "original-nyu-single-scale"

    def _pixels(self) -> list[int]:
        """Labeled pixels by class."""
        pixels: list[int] = self._done().matrices.sum(axis=(0, 2)).tolist()
        return pixels

    def _left_out(self) -> str:
        return f", without {' and '.join(self.without)}" if self.without else ""

    def _open(self, split: str, limit: int | None) -> Dataset:
        return open_matching(
            self.dataset,
            self.data,
            split,
            modalities=self.task.modalities,
            class_names=self.task.class_names,
            network=str(self.source),
            metres_per_unit=self._metres_per_unit,
            limit=limit,
        )

    def _network(self, what: str) -> _Checkpoint:
        """The checkpoint, for what a served graph does not allow."""
        if self._checkpoint is None:
            raise ServedError(f"{self.source} is served, and it takes a checkpoint to {what}; give the checkpoint")
        return self._checkpoint

    def _held_out(self) -> Subset:
        """The last frames of the training list, which the run that made this checkpoint did not train on."""
        training = self._network("fit a temperature on its logits").info.training
        count = int(training.get("config", {}).get("holdout", 0))
        if not count:
            raise DatasetError(
                f"{self.source} was trained without held-out frames; a temperature fitted on frames it knows would "
                "be too low. Train with `--set holdout=40`, for example"
            )
        frames = self._open("train", None)
        if len(frames) != count + int(training["frames"]):
            raise DatasetError(
                f"the training list has {len(frames)} frames, the checkpoint was trained on "
                f"{training['frames']} and held out {count}; give the data it was trained on"
            )
        first = len(frames) - count
        return Subset(frames, range(first, len(frames) if self.limit is None else min(first + self.limit, len(frames))))

    def _store_temperature(self, held_out: Subset, on_frame: Callable[[int], None]) -> None:
        checkpoint = self._network("fit a temperature on its logits")
        found = fit_temperature_on(
            checkpoint.predictor.net,
            held_out,
            protocol=self.protocol.name,
            task=self.task,
            data="held-out training frames",
            seed=self.seed,
            on_frame=on_frame,
        )
        checkpoint.write({"calibration": found.to_record()})

    def _done(self) -> Scores:
        assert self.scores is not None, "run() comes first"
        return self.scores

    def _intervals(self) -> ScoreIntervals:
        if self.results is not None:
            return self.results.intervals
        return bootstrap_intervals(self._done().matrices, absent=self.protocol.absent_class, seed=self.seed)

    def _facts(self) -> dict[str, str]:
        facts = dict(self.predictor.facts())
        if self._checkpoint is not None:
            facts = self._checkpoint.facts() | facts
        if self.without:
            facts["left out"] = " and ".join(self.without)
        return facts | {"data": f"{self.frames.task.data} ({self.frames.task.data_license})"}


@dataclass
class _Checkpoint:
    """A checkpoint on disk, and its network."""

    directory: Path
    info: CheckpointInfo
    predictor: NetworkPredictor

    @classmethod
    def open(cls, directory: Path, without: tuple[str, ...]) -> _Checkpoint:
        net, info = GeminiFusion.from_pretrained(directory), read_info(directory)
        if info.task is None:
            raise CheckpointError(
                f"{directory} holds no task, so its inputs and classes are unknown; "
                "evaluate a checkpoint written by `geminifusion train`"
            )
        return cls(directory, info, NetworkPredictor(net, info.task, without=without))

    def write(self, results: dict[str, Any]) -> None:
        """Add results to the training record."""
        training = {**self.info.training, **results}
        write_checkpoint(self.predictor.net, self.directory, task=self.predictor.task, training=training)
        self.info = read_info(self.directory)

    def facts(self) -> dict[str, str]:
        facts = {
            "checkpoint": self.directory.name,
            "weights": f"SHA-256 {weights_sha256(self.directory)}",
        }
        training = self.info.training
        if "steps" in training:
            facts["training"] = f"{training.get('frames')} frames, {training['steps']} steps, {training.get('start')}"
        return facts


def is_address(source: Path | str) -> bool:
    """Whether a source of predictions is the address of a server."""
    return str(source).startswith(("http://", "https://", "grpc://", "grpcs://"))

"""One run of `geminifusion evaluate` for translators: what is scored, on which views, and the tables of it.

Networks are scored in eval mode. (TokenFusion's published numbers were taken in training mode, with stochastic depth,
and are the best of all evaluations.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.checkpoint import weights_sha256
from geminifusion_model.data.loader import read_ahead
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.evaluation.evaluation_run import EvaluationError
from geminifusion_model.evaluation.intervals import Interval, PairedDifference
from geminifusion_model.translation.checkpoint import TranslatorInfo, read_translator, write_translator
from geminifusion_model.translation.dataset import (
    TranslationDataset,
    TranslationSample,
    collate_views,
    layout_of,
    open_views,
    usual_translation_split,
)
from geminifusion_model.translation.domains import Domain, DomainError, relation, to_bytes
from geminifusion_model.translation.frechet import FEWEST_IMAGES, FeatureSpace, frechet_distance, kernel_distance
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.metrics import Measure, measure_view, measures_of
from geminifusion_model.translation.scores import paired_difference, score, score_interval
from geminifusion_model.translation.views import Views

ENSEMBLE = "ensemble"
_BATCH = 4
_READERS = 2
_DIGITS = 5  # of recorded scores
KERNEL_FACTOR = 100.0  # kernel distances are small, and published so


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Of the generated from the true images, in one feature space; the kernel distance times 100."""

    space: FeatureSpace
    images: int
    frechet: float
    kernel: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TranslationScores:
    """A network's measures on a list of views.

    Args:
        measures: in the order of the columns of `values`.
        views: their names.
        values: by output, `V M` float64: each view's measures before any root. Outputs are the inputs' names, for the
            stream of each, and `ensemble`; a single input has the former alone.
        distances: of the kept output.
    """

    measures: tuple[Measure, ...]
    views: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    distances: tuple[Distances, ...] = ()

    @property
    def kept(self) -> str:
        """The output that a network is served with: the ensemble, if there are two streams."""
        return ENSEMBLE if ENSEMBLE in self.values else next(iter(self.values))

    def of(self, measure: str, output: str | None = None) -> NDArray[np.float64]:
        """One measure of every view, `1 V`, of the kept output if none is named."""
        column = [found.name for found in self.measures].index(measure)
        return self.values[output or self.kept][None, :, column]

    def average(self, measure: Measure, output: str | None = None) -> float:
        """The measure over all views."""
        return score(self.of(measure.name, output), measure)


def evaluate_translator(
    net: Generator,
    dataset: TranslationDataset,
    *,
    spaces: Sequence[FeatureSpace] = (),
    on_view: Callable[[int], None] | None = None,
) -> TranslationScores:
    """Translate every view and compare.

    Args:
        net: in eval mode, with the inputs of the data set.
        spaces: in which distances are computed as well.
        on_view: called with the number of views done.

    Raises:
        DatasetError: a file is damaged.
        EvaluationError: the network puts out what is no number.
    """
    target = dataset.target
    measures = measures_of(target)
    outputs = [domain.name for domain in dataset.inputs]
    if len(outputs) > 1:
        outputs.append(ENSEMBLE)
    rows: dict[str, list[list[float]]] = {name: [] for name in outputs}
    features: list[tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]] = [([], []) for _ in spaces]
    names: list[str] = []
    device = next(net.parameters()).device

    def load(first: int) -> list[TranslationSample]:
        return [dataset[index] for index in range(first, min(first + _BATCH, len(dataset)))]

    for samples in read_ahead(load, range(0, len(dataset), _BATCH), _READERS):
        batch = collate_views(samples, device)
        with torch.inference_mode():
            prediction = net(*batch.inputs)
        images = dict(zip(outputs, (*prediction.per_stream, prediction.ensemble), strict=False))
        for name, image in images.items():
            if not bool(image.isfinite().all()):
                raise EvaluationError(
                    f"the network puts out numbers that are not finite, for view {samples[0].name} or the next ones; "
                    "its weights are damaged, so give another checkpoint"
                )
            rows[name] += _measured_rows(image.cpu(), samples, target, measures)
        for (ours, theirs), space in zip(features, spaces, strict=True):
            ours.append(space.of(to_bytes(images[outputs[-1]]).cpu()))
            theirs.append(space.of(to_bytes(batch.target).cpu()))
        names += [sample.name for sample in samples]
        if on_view is not None:
            on_view(len(names))
    return TranslationScores(
        measures=measures,
        views=tuple(names),
        values={name: np.array(found, np.float64) for name, found in rows.items()},
        distances=tuple(
            Distances(
                space=space,
                images=len(names),
                frechet=frechet_distance(np.concatenate(ours), np.concatenate(theirs)),
                kernel=KERNEL_FACTOR * kernel_distance(np.concatenate(ours), np.concatenate(theirs)),
            )
            for (ours, theirs), space in zip(features, spaces, strict=True)
        ),
    )


def _measured_rows(
    images: Tensor, samples: Sequence[TranslationSample], target: Domain, measures: Sequence[Measure]
) -> list[list[float]]:
    rows = []
    for image, sample in zip(images, samples, strict=True):
        found = measure_view(
            image,
            torch.from_numpy(sample.target),
            target,
            torch.from_numpy(sample.counted),
            torch.from_numpy(sample.measured),
        )
        rows.append([found[measure.name] for measure in measures])
    return rows


@dataclass
class Contestant:
    """A checkpoint, the views as it takes them, and its scores once it has any."""

    directory: Path
    info: TranslatorInfo
    net: Generator
    dataset: TranslationDataset
    scores: TranslationScores | None = field(default=None)

    @classmethod
    def open(cls, directory: Path, views: Callable[[Sequence[str]], Views], size: tuple[int, int] | None) -> Contestant:
        """Read a checkpoint, and check that the views are what it was trained for.

        Raises:
            CheckpointError: the directory is no checkpoint of a translator.
            DomainError: the data has other domains, or the size is no multiple of 32.
        """
        info = read_translator(directory)
        task = info.task
        opened = views((*task.names, task.target.name))
        dataset = TranslationDataset(
            opened, inputs=task.names, target=task.target.name, size=task.size if size is None else size
        )
        for trained, given in zip((*task.inputs, task.target), (*dataset.inputs, dataset.target), strict=True):
            if trained != given:
                raise DomainError(
                    f"{directory} was trained for the {trained.name} of {task.data} ({trained.definition}), and that "
                    f"of {opened.data} is another ({given.definition}); give data of the same domains"
                )
        return cls(directory, info, Generator.from_pretrained(directory), dataset)

    @property
    def title(self) -> str:
        """The domains in an arrow's notation."""
        return f"{' + '.join(self.info.task.names)} → {self.info.task.target.name}"

    def relations(self) -> dict[str, str]:
        """By input, what ties it to the target."""
        names = self.info.task.names
        known = self.dataset.views.domains
        return {name: relation(name, names, self.info.task.target.name, known) for name in names}

    def done(self) -> TranslationScores:
        """The scores, which `TranslationEvaluation.run` has to have measured."""
        assert self.scores is not None, "run() comes first"
        return self.scores


class TranslationEvaluation:
    """A checkpoint, perhaps another to compare it with, and a split of a data set.

    Args:
        checkpoint: a directory that `geminifusion train` wrote.
        data, dataset, split, metres_per_unit, limit: as `open_views` takes them; by default the layout that `layout_of`
            finds and the split that `usual_translation_split` names.
        against: another checkpoint for the same target.
        size: height and width at which images are compared; those of the training by default.
        seed: of the bootstrap.

    Raises:
        CheckpointError: a directory is no checkpoint of a translator.
        DomainError: data or networks do not fit each other.
        LayoutError, DatasetError: the data is not laid out as its kind says.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        data: Path,
        dataset: str | None = None,
        split: str | None = None,
        metres_per_unit: float | None = None,
        limit: int | None = None,
        against: Path | None = None,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        read_translator(checkpoint)  # a wrong path shows before a data set is searched
        layout = layout_of(data, dataset)
        self.split, self.seed = split or usual_translation_split(layout, data), seed

        def views(needed: Sequence[str]) -> Views:
            return open_views(layout, data, self.split, needed, metres_per_unit=metres_per_unit, limit=limit)

        self.first = Contestant.open(checkpoint, views, size)
        self.second = None if against is None else Contestant.open(against, views, size or self.first.dataset.size)
        if self.second is not None and self.second.info.task.target != self.first.info.task.target:
            raise DomainError(
                f"{against} makes {self.second.info.task.target.name}, {checkpoint} makes "
                f"{self.first.info.task.target.name}; compare networks for the same target"
            )

    def __len__(self) -> int:
        """Number of translations that `run` makes."""
        return sum(len(each.dataset) for each in self._contestants())

    def run(self, *, spaces: Sequence[FeatureSpace] = (), on_view: Callable[[int], None] | None = None) -> None:
        """Measure both networks.

        Args:
            spaces: in which distances of the images' features are computed as well; for a target in color.
            on_view: called with the number of translations done.

        Raises:
            DomainError: distances are asked for of images that are no photographs, or of fewer than two.
            DatasetError: a file is damaged, or the two networks would see different views.
            EvaluationError: a network puts out what is no number.
        """
        if spaces:
            self.require_photographs()
        done = 0
        for each in self._contestants():
            before = done

            def counted(views: int, before: int = before) -> None:
                if on_view is not None:
                    on_view(before + views)

            each.scores = evaluate_translator(each.net, each.dataset, spaces=spaces, on_view=counted)
            done += len(each.dataset)
        if self.second is not None and self.second.done().views != self.first.done().views:
            raise DatasetError("the two networks were given different views; give a split that has all their domains")

    def require_photographs(self) -> None:
        """Check that distances between sets of images can be computed, before a feature space is opened for them.

        Raises:
            DomainError: the target is no photograph, or there are fewer than two views.
        """
        target = self.first.dataset.target
        if target.kind != "color":
            raise DomainError(
                f"distances are of features of photographs, and the target is {target.name}; leave the distances out"
            )
        if len(self.first.dataset) < FEWEST_IMAGES:
            raise DomainError("distances between sets of images need two views or more; raise --limit")

    def differences(self) -> dict[str, PairedDifference]:
        """By measure, the first network's less the second's; empty if there is no second."""
        if self.second is None:
            return {}
        ours, theirs = self.first.done(), self.second.done()
        return {
            measure.name: paired_difference(ours.of(measure.name), theirs.of(measure.name), measure, seed=self.seed)
            for measure in ours.measures
        }

    def intervals(self, contestant: Contestant) -> dict[str, Interval]:
        """By measure of the kept output, where it would lie with other views of the same kind."""
        scores = contestant.done()
        return {
            measure.name: score_interval(scores.of(measure.name), measure, seed=self.seed)
            for measure in scores.measures
        }

    def record(self) -> dict[str, Any]:
        """Write the kept output's measures into the first checkpoint's training record; returns what was written."""
        contestant, scores = self.first, self.first.done()
        averages = {measure.name: scores.average(measure) for measure in scores.measures}
        height, width = contestant.dataset.size
        results: dict[str, Any] = {
            "test": {
                "data": f"{contestant.dataset.views.data}, {self.split}, {len(scores.views)} views",
                "protocol": f"averages over views of {width}x{height}",
                "scores": {name: round(value, _DIGITS) for name, value in averages.items() if not np.isnan(value)},
            }
        }
        info = contestant.info
        written = TranslatorInfo(network=info.network, task=info.task, training={**info.training, **results})
        write_translator(contestant.directory, contestant.net.state_dict(), written)
        contestant.info = written
        return results

    def to_record(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "split": self.split,
            "size": list(self.first.dataset.size),
            "networks": [self._network_record(each) for each in self._contestants()],
            "differences": {
                name: {"value": found.value, "low": found.interval.low, "high": found.interval.high, "p": found.p_value}
                for name, found in self.differences().items()
            },
        }

    def _network_record(self, contestant: Contestant) -> dict[str, Any]:
        scores, within = contestant.done(), self.intervals(contestant)
        return {
            "checkpoint": str(contestant.directory),
            "weights_sha256": weights_sha256(contestant.directory),
            "data": contestant.dataset.views.data,
            "views": len(scores.views),
            "inputs": contestant.relations(),
            "target": contestant.info.task.target.name,
            "outputs": {
                output: {measure.name: scores.average(measure, output) for measure in scores.measures}
                for output in scores.values
            },
            "intervals": {name: [found.low, found.high] for name, found in within.items()},
            "distances": {
                name: value
                for found in scores.distances
                for name, value in ((found.space.frechet, found.frechet), (f"{found.space.kernel} x100", found.kernel))
            },
        }

    def _contestants(self) -> list[Contestant]:
        return [self.first] if self.second is None else [self.first, self.second]

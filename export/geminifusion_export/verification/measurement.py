"""Measuring candidates against what a reference computed: the part that every verification has in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from geminifusion_export.errors import VerificationError, first_line
from geminifusion_export.runtime_discovery import Candidate, Unavailable
from geminifusion_export.verification.comparison import (
    Comparison,
    Reference,
    describe_shape,
)
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_runtime.artifact import ArtifactMetadata, BackendReport
from geminifusion_runtime.backends.protocol import BatchShape, GraphOutputs
from geminifusion_runtime.tasks.registry import open_task


@dataclass(frozen=True, kw_only=True)
class Section:
    """Reports that share what they were compared with.

    Args:
        against: what was compared with what, in words.
        problems: what was over budget, one sentence each.
        measured_here: False for figures that were recorded at export and are only repeated.
    """

    against: str
    reports: tuple[BackendReport, ...]
    problems: tuple[str, ...] = ()
    measured_here: bool = True


class Measurement:
    """The candidates of one artifact and what has been measured of them, section by section.

    Attributes:
        candidates: the backends that could be opened, ONNX Runtime first if it is among them.
        not_measured: what could not be measured here, and why.
        sections: one for each kind of comparison, in the order they were made.
    """

    def __init__(self, opened: Iterable[Candidate | Unavailable], metadata: ArtifactMetadata) -> None:
        self.metadata = metadata
        self._verification = VERIFICATIONS[metadata.task]
        self.candidates: list[Candidate] = []
        self.not_measured: list[Unavailable] = []
        self.sections: list[Section] = []
        for entry in opened:
            if isinstance(entry, Unavailable):
                self.not_measured.append(entry)
            else:
                self.candidates.append(entry)

    def measure_golden(self, golden: Sequence[Reference]) -> Mapping[str, tuple[GraphOutputs, ...]]:
        """Compare every candidate on the golden frames, all of them in one report.

        Returns:
            The outputs of each candidate that ran, frame by frame, by `Candidate.label`.
        """
        found = self.measure(f"on {len(golden)} golden frames, against torch's recorded outputs", [golden])
        return {candidate.label: comparison.outputs for candidate, comparison in found}

    def measure_shapes(self, against: str, expected: Iterable[Reference], traced: BatchShape | None = None) -> None:
        """Compare every candidate on every batch, each with a report of its own."""
        self.measure(against, [[batch] for batch in expected], traced=traced)

    def measure_against_onnx(self) -> None:
        """Hold other runtimes to `model.onnx` on ONNX Runtime, at three shapes; nothing if it is alone or missing.

        The reference size is among the shapes: the service prepares runtimes for it.
        """
        if len(self.candidates) < 2 or not self.candidates[0].name.startswith("onnxruntime"):
            return
        reference, *others = self.candidates
        task = open_task(self.metadata)
        shapes: list[BatchShape] = [(1, 96, 128), (2, 133, 101), (1, *self.metadata.size.reference)]
        expected = []
        for seed, shape in enumerate(shape for shape in shapes if min(shape[1:]) >= self.metadata.size.min_side):
            items = task.random_items((min(shape[0], task.largest_batch), *shape[1:]), seed)
            inputs = task.stack(items)
            expected.append(self._verification.reference(items, inputs, reference.backend.run(inputs)))
        against = "on random inputs, against model.onnx on ONNX Runtime"
        self.measure(against, [[batch] for batch in expected], candidates=others)

    def measure(
        self,
        against: str,
        groups: Sequence[Sequence[Reference]],
        *,
        candidates: Sequence[Candidate] | None = None,
        traced: BatchShape | None = None,
    ) -> list[tuple[Candidate, Comparison]]:
        """Add a section: each candidate on each group of batches, which are of one shape.

        A report over the budget of its precision is a problem, and so is a candidate that fails to run.

        Args:
            against: see `Section`.
            candidates: all of them if None.
            traced: the shape the graph was traced with.

        Returns:
            Every comparison that could be made.
        """
        found: list[tuple[Candidate, Comparison]] = []
        failures: list[str] = []
        for candidate in self.candidates if candidates is None else candidates:
            for batches in groups:
                _, height, width = batches[0].shape
                size = describe_shape(batches[0].shape)
                if (problem := candidate.backend.size_problem(height, width)) is not None:
                    self.not_measured.append(Unavailable(candidate.label, f"{size}: {problem}"))
                    continue
                try:
                    comparison = self._verification.compare(batches, candidate, self.metadata, traced)
                except VerificationError as error:
                    failures.append(str(error))
                except Exception as error:  # whatever its library raises: a loaded backend has to run
                    failures.append(f"{candidate.label} failed at {size}: {first_line(error)}")
                else:
                    found.append((candidate, comparison))
        reports = tuple(comparison.report for _, comparison in found)
        over = [sentence for report in reports for sentence in self._problems(report)]
        self.sections.append(Section(against=against, reports=reports, problems=(*failures, *over)))
        return found

    @property
    def problems(self) -> list[str]:
        """Everything over budget, one sentence each."""
        return [sentence for section in self.sections for sentence in section.problems]

    @property
    def reports(self) -> tuple[BackendReport, ...]:
        """Every report that was made here."""
        return tuple(report for section in self.sections if section.measured_here for report in section.reports)

    def first_over_budget(self) -> BackendReport | None:
        """The first report with a problem, if any has one."""
        return next((report for report in self.reports if self._problems(report)), None)

    def _problems(self, report: BackendReport) -> list[str]:
        return self._verification.problems(report, self.metadata)

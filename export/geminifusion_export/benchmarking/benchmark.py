"""Measuring an artifact on this machine: latency, throughput, FLOPs and memory of every backend that works here.

Backends are opened with the options they serve with. `Backend.run` returns arrays on the host, so a measured time ends
when the result is there, on a GPU too. At each shape the backends take turns, one run each per round: a machine that
slows down for a while slows all of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geminifusion_export.benchmarking.latency_plot import Bar, latency_svg
from geminifusion_export.benchmarking.peak_memory import peak_memory_mib
from geminifusion_export.errors import BenchmarkError, first_line
from geminifusion_export.runtime_discovery import Candidate, Unavailable, open_candidates
from geminifusion_export.verification.certificate import machine_facts
from geminifusion_export.verification.comparison import describe_shape
from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, open_artifact
from geminifusion_runtime.backends.openvino import REPEATS
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs
from geminifusion_runtime.machine import Machine, describe_machine, installed_packages
from geminifusion_runtime.tasks.base import TaskRuntime
from geminifusion_runtime.tasks.registry import open_task

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Args:
        backends: names of backends as `bench` prints them, or prefixes of names; all if empty.
        batches: batch sizes.
        sizes: heights and widths; the size the model was scored at if empty.
        threads: of runtimes on the CPU; 0 takes all this process may use.
        repeats: number of measured rounds.
        warmup: number of rounds before them.
        memory: whether to measure peak memory, which loads every case once more.

    Raises:
        BenchmarkError: a count is out of range.
    """

    backends: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    sizes: tuple[tuple[int, int], ...] = ()
    threads: int = 0
    repeats: int = 20
    warmup: int = 3
    memory: bool = True

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.warmup < 0 or self.threads < 0 or any(batch < 1 for batch in self.batches):
            raise BenchmarkError(
                f"repeats {self.repeats}, warmup {self.warmup}, threads {self.threads}, batches {self.batches}: "
                "expected repeats and batches of 1 or more, warmup and threads of 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One backend at one shape. Times in milliseconds per batch, memory in MiB of the whole process.

    `gflops` counts the graph's products of one batch (`flops.count_flops`), `gflops_per_second` divides by the median.
    """

    backend: str
    batch: int
    height: int
    width: int
    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    frames_per_second: float
    gflops: float | None
    gflops_per_second: float | None
    peak_memory_mib: float | None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Everything measured in one call, with what it depends on."""

    artifact: str
    encoder: str
    commit: str | None
    date: str
    machine: Machine
    packages: dict[str, str]
    threads: int
    measurements: tuple[Measurement, ...]
    not_measured: tuple[Unavailable, ...]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The benchmark as a JSON object."""
        return strict_json.dumps({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}, indent=2) + "\n"

    def to_svg(self) -> str:
        """The latencies as an SVG plot.

        Raises:
            BenchmarkError: nothing could be measured.
        """
        if not self.measurements:
            raise BenchmarkError("nothing was measured, so there is nothing to plot")
        bars = [
            Bar(f"{m.backend}, {m.batch} x {m.height} x {m.width}", m.backend, m.p50_ms, m.p90_ms, m.p99_ms)
            for m in self.measurements
        ]
        device = f"{self.machine.cpu}, {self.threads} threads"
        return latency_svg(f"{self.artifact}: time per batch", f"{device}; {self.date}", bars)

    def __str__(self) -> str:
        """The machine, a table, and what could not be measured."""
        facts = machine_facts(self.machine)
        lines = [f"{self.artifact} ({self.encoder}), {self.date}, exported at commit {self.commit or 'unknown'}"]
        lines += [f"{name:<8}{text}" for name, text in facts.items()]
        lines.append(f"threads {self.threads}; {', '.join(f'{name} {v}' for name, v in self.packages.items())}")
        head = f"{'backend':<30}{'batch x H x W':<16}{'p50':>9}{'p90':>9}{'p99':>9}{'frames/s':>10}"
        lines += ["", f"{head}{'GFLOP':>9}{'GFLOP/s':>9}{'peak MiB':>10}"]
        lines += map(_row, self.measurements)
        lines += [f"not measured: {entry.name}: {entry.reason}" for entry in self.not_measured]
        return "\n".join([*lines, *self.remarks])


class _Case(NamedTuple):
    candidate: Candidate
    shape: BatchShape
    inputs: GraphInputs


def run_benchmark(artifact: Path, options: BenchmarkOptions | None = None) -> Benchmark:
    """Measure what the options ask for, as far as it works here.

    Raises:
        ArtifactError: the directory is not an artifact, or a file is damaged.
        BenchmarkError: no backend has the name asked for, or the model does not take a batch or a size.
    """
    options = options or BenchmarkOptions()
    metadata = open_artifact(artifact)
    machine = describe_machine()
    threads = options.threads or machine.threads
    task = open_task(metadata)
    shapes = _shapes(task, options)
    wanted = _wanted(open_candidates(artifact, metadata, threads), options.backends)
    candidates = [entry for entry in wanted if isinstance(entry, Candidate)]
    left_out = [entry for entry in wanted if isinstance(entry, Unavailable)]
    inputs = {shape: task.stack(task.random_items(shape)) for shape in shapes}
    timed: list[tuple[_Case, list[float]]] = []
    for shape in shapes:
        cases = [_Case(candidate, shape, inputs[shape]) for candidate in candidates]
        problems = [_first_runs(case) for case in cases]
        left_out += [
            Unavailable(f"{case.candidate.label} at {describe_shape(shape)}", problem)
            for case, problem in zip(cases, problems, strict=True)
            if problem is not None
        ]
        timed += _take_turns([case for case, problem in zip(cases, problems, strict=True) if problem is None], options)
    measured = {case.shape: case.inputs for case, _ in timed}
    flops, remarks = _flops(artifact, measured)
    measurements = tuple(
        _measurement(
            case,
            seconds,
            flops.get(case.shape),
            peak_memory_mib(artifact, case.candidate.file.wanted, case.shape, threads) if options.memory else None,
        )
        for case, seconds in timed
    )
    return Benchmark(
        artifact=metadata.reference,
        encoder=metadata.encoder,
        commit=metadata.git_commit,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine,
        packages=installed_packages(),
        threads=threads,
        measurements=measurements,
        not_measured=tuple(left_out),
        remarks=(*_other_inputs(metadata, measured), *remarks),
    )


def parse_size(text: str) -> tuple[int, int]:
    """Parse height and width, such as `480x640`.

    Raises:
        BenchmarkError: the text is not of that form.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise BenchmarkError(f"size is {text!r}; expected height and width in pixels, as 480x640")
    return int(height), int(width)


def _shapes(task: TaskRuntime[Any, Any, Any], options: BenchmarkOptions) -> list[BatchShape]:
    metadata = task.metadata
    if (largest := max(options.batches, default=1)) > task.largest_batch:
        raise BenchmarkError(
            f"batch {largest}: {metadata.reference} runs {task.largest_batch} at a time; leave --batch out"
        )
    sizes = options.sizes or (metadata.size.reference,)
    for height, width in sizes:
        if min(height, width) < metadata.size.min_side or height * width > metadata.size.max_pixels:
            raise BenchmarkError(
                f"size {height}x{width}: {metadata.reference} takes sides of {metadata.size.min_side} or more and "
                f"{metadata.size.max_pixels} pixels at most"
            )
    return [(batch, *size) for size in sizes for batch in options.batches]


def _other_inputs(metadata: ArtifactMetadata, measured: dict[BatchShape, GraphInputs]) -> list[str]:
    """What frames had beside images, on which the time depends as well."""
    images = {spec.name for spec in metadata.modalities}
    found = []
    for shape, inputs in measured.items():
        others = [f"{name} {describe_shape(array.shape)}" for name, array in inputs.items() if name not in images]
        if others:
            found.append(f"beside the images at {describe_shape(shape)}: {', '.join(others)}")
    return found


def _wanted(found: Sequence[Candidate | Unavailable], prefixes: tuple[str, ...]) -> list[Candidate | Unavailable]:
    """Those whose label starts with one of the prefixes; all if there are none."""
    labels = [entry.label for entry in found]
    if unknown := [prefix for prefix in prefixes if not any(label.startswith(prefix) for label in labels)]:
        raise BenchmarkError(
            f"the artifact has no backend {', '.join(unknown)}; it has {', '.join(labels)}; add one with "
            "`geminifusion export ARTIFACT COPY --to …`"
        )
    return [entry for entry in found if not prefixes or entry.label.startswith(prefixes)]


def _first_runs(case: _Case) -> str | None:
    """Run as often as it takes until a backend has built all it builds for a shape; the reason if it cannot run."""
    _, height, width = case.shape
    backend = case.candidate.backend
    if (problem := backend.size_problem(height, width)) is not None:
        return problem
    try:
        for _ in range(REPEATS):
            backend.run(case.inputs)
    except Exception as error:  # out of memory, a missing kernel: the other cases can be measured
        return first_line(error)
    return None


def _take_turns(cases: Sequence[_Case], options: BenchmarkOptions) -> list[tuple[_Case, list[float]]]:
    """Each case with the seconds of its measured runs."""
    timed: list[tuple[_Case, list[float]]] = [(case, []) for case in cases]
    for index in range(options.warmup + options.repeats):
        for case, seconds in timed:
            start = time.perf_counter()
            case.candidate.backend.run(case.inputs)
            elapsed = time.perf_counter() - start
            if index >= options.warmup:
                seconds.append(elapsed)
    return timed


def _flops(artifact: Path, inputs: dict[BatchShape, GraphInputs]) -> tuple[dict[BatchShape, int], list[str]]:
    try:
        from geminifusion_export.benchmarking.flops import count_flops
    except ModuleNotFoundError as error:
        return {}, [f"FLOPs are not counted: {error.name} is not installed"]
    try:
        return {shape: count_flops(artifact / MODEL_NAME, batch) for shape, batch in inputs.items()}, []
    except Exception as error:  # a graph ONNX Runtime cannot run here, or one of more than 2 GB
        return {}, [f"FLOPs are not counted: {first_line(error)}"]


def _measurement(case: _Case, seconds: Sequence[float], flops: int | None, memory: float | None) -> Measurement:
    p50, p90, p99 = (float(value) for value in 1e3 * np.percentile(seconds, (50, 90, 99)))
    batch, height, width = case.shape
    return Measurement(
        backend=case.candidate.label,
        batch=batch,
        height=height,
        width=width,
        runs=len(seconds),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        min_ms=1e3 * min(seconds),
        # Of the whole time, not of the median: the throughput of a machine that does nothing else.
        frames_per_second=batch * len(seconds) / sum(seconds),
        gflops=None if flops is None else flops / 1e9,
        gflops_per_second=None if flops is None else flops / 1e6 / p50,
        peak_memory_mib=memory,
    )


def _row(m: Measurement) -> str:
    rest = (m.gflops, m.gflops_per_second, m.peak_memory_mib)
    flops, rate, memory = ("-" if value is None else f"{value:.1f}" for value in rest)
    return (
        f"{m.backend:<30}{f'{m.batch} x {m.height} x {m.width}':<16}{m.p50_ms:>9.1f}{m.p90_ms:>9.1f}{m.p99_ms:>9.1f}"
        f"{m.frames_per_second:>10.2f}{flops:>9}{rate:>9}{memory:>10}"
    )

"""Measure an artifact on this machine: latency, throughput, arithmetic and memory of every runtime that works here.

`Runtime.run` returns arrays on the host, so a measured time ends when the answer is there, on a GPU too. Cases take
turns, one run each per round: a machine that slows down for a while slows all of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geminifusion_export.benchmarking.latency_plot import Bar, latency_svg
from geminifusion_export.benchmarking.peak_memory import peak_memory_mib
from geminifusion_export.error_text import first_line
from geminifusion_export.machine import Machine, describe_machine, installed_packages
from geminifusion_export.runtime_discovery import Unavailable, label, open_runtimes
from geminifusion_export.runtimes import Runtime
from geminifusion_export.verification.certificate import machine_facts
from geminifusion_export.verification.comparison import Feeds, Shape, fits_engine
from geminifusion_export.verification.sample_inputs import sample_feeds
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, open_artifact

SCHEMA_VERSION = 1


class BenchmarkError(ValueError):
    """The benchmark was asked for something it cannot measure; the message says what can be."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Args:
        backends: names, or the beginnings of names, of runtimes as `bench` prints them; all if empty.
        batches: batch sizes.
        sizes: heights and widths; empty stands for the size the model was scored at.
        threads: of runtimes on the CPU; 0 takes all this process may use.
        repeats: measured rounds.
        warmup: rounds before them.
        memory: whether peak memory is measured, which loads every case once more.

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
    """One runtime at one shape. Times in milliseconds per batch, memory in MiB of the whole process.

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
        return json.dumps({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}, indent=2) + "\n"

    def to_svg(self) -> str:
        """The latencies as a picture.

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
        """A table, after the machine and before what was left out."""
        facts = machine_facts(self.machine)
        lines = [f"{self.artifact} ({self.encoder}), {self.date}, exported at commit {self.commit or 'unknown'}"]
        lines += [f"{name:<8}{text}" for name, text in facts.items()]
        lines.append(f"threads {self.threads}; {', '.join(f'{name} {v}' for name, v in self.packages.items())}")
        head = f"{'backend':<30}{'batch x H x W':<16}{'p50':>9}{'p90':>9}{'p99':>9}{'frames/s':>10}"
        lines += ["", f"{head}{'GFLOP':>9}{'GFLOP/s':>9}{'peak MiB':>10}"]
        lines += map(_row, self.measurements)
        lines += [f"not measured: {entry.name}: {entry.reason}" for entry in self.not_measured]
        return "\n".join([*lines, *self.remarks])


@dataclass(frozen=True)
class _Case:
    place: int  # of the runtime in `open_runtimes`
    runtime: Runtime
    shape: Shape
    feeds: Feeds


def run_benchmark(artifact: Path, options: BenchmarkOptions | None = None) -> Benchmark:
    """Measure what the options ask for, of what works here.

    Raises:
        ArtifactError: the directory is no artifact, or a file is damaged.
        BenchmarkError: no runtime has the name asked for, or a size is none the model takes.
    """
    options = options or BenchmarkOptions()
    metadata = open_artifact(artifact)
    machine = describe_machine()
    threads = options.threads or machine.threads
    shapes = _shapes(metadata, options)
    wanted = _wanted(open_runtimes(artifact, metadata, threads), options.backends)
    left_out = [entry for _, entry in wanted if isinstance(entry, Unavailable)]
    cases: list[_Case] = []
    for shape in shapes:
        feeds = sample_feeds(metadata.modalities, shape)
        for place, runtime in wanted:
            if isinstance(runtime, Unavailable):
                continue
            reason = _first_run(runtime, shape, feeds, metadata)
            if reason is None:
                cases.append(_Case(place, runtime, shape, feeds))
            else:
                left_out.append(Unavailable(f"{label(runtime)} at {'x'.join(map(str, shape))}", reason))
    seconds = _take_turns(cases, options)
    flops, remarks = _flops(artifact, {case.shape: case.feeds for case in cases})
    measurements = tuple(
        _measurement(
            case,
            times,
            flops.get(case.shape),
            peak_memory_mib(artifact, case.place, case.shape, threads) if options.memory else None,
        )
        for case, times in zip(cases, seconds, strict=True)
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
        remarks=tuple(remarks),
    )


def parse_size(text: str) -> tuple[int, int]:
    """`480x640` to height and width.

    Raises:
        BenchmarkError: the text is not of that form.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise BenchmarkError(f"size is {text!r}; expected height and width in pixels, as 480x640")
    return int(height), int(width)


def _shapes(metadata: ArtifactMetadata, options: BenchmarkOptions) -> list[Shape]:
    sizes = options.sizes or (metadata.size.reference,)
    for height, width in sizes:
        if min(height, width) < metadata.size.min_side or height * width > metadata.size.max_pixels:
            raise BenchmarkError(
                f"size {height}x{width}: {metadata.reference} takes sides of {metadata.size.min_side} or more and "
                f"{metadata.size.max_pixels} pixels at most"
            )
    return [(batch, *size) for size in sizes for batch in options.batches]


def _wanted(found: Sequence[Runtime | Unavailable], names: Iterable[str]) -> list[tuple[int, Runtime | Unavailable]]:
    """Those asked for, each with its place among all."""
    asked = tuple(names)
    chosen = [(place, entry) for place, entry in enumerate(found) if not asked or label(entry).startswith(asked)]
    if unknown := [name for name in asked if not any(label(entry).startswith(name) for entry in found)]:
        raise BenchmarkError(
            f"the artifact has no backend {', '.join(unknown)}; it has {', '.join(map(label, found))}; add one with "
            "`geminifusion export ARTIFACT COPY --to …`"
        )
    return chosen


def _first_run(runtime: Runtime, shape: Shape, feeds: Feeds, metadata: ArtifactMetadata) -> str | None:
    """Why this case cannot be measured, or None. The run also builds whatever a runtime builds per shape."""
    if runtime.name.startswith("tensorrt") and not fits_engine(shape, metadata.engine):
        return "outside the engine's optimisation profiles"
    try:
        runtime.run(feeds)
    except Exception as error:  # out of memory, a kernel that is missing: the other cases can be measured
        return first_line(error)
    return None


def _take_turns(cases: Sequence[_Case], options: BenchmarkOptions) -> list[list[float]]:
    seconds: list[list[float]] = [[] for _ in cases]
    for index in range(options.warmup + options.repeats):
        for case, times in zip(cases, seconds, strict=True):
            start = time.perf_counter()
            case.runtime.run(case.feeds)
            elapsed = time.perf_counter() - start
            if index >= options.warmup:
                times.append(elapsed)
    return seconds


def _flops(artifact: Path, feeds: dict[Shape, Feeds]) -> tuple[dict[Shape, int], list[str]]:
    try:
        from geminifusion_export.benchmarking.flops import count_flops
    except ModuleNotFoundError as error:
        return {}, [f"FLOPs are not counted: {error.name} is not installed"]
    try:
        return {shape: count_flops(artifact / MODEL_NAME, batch) for shape, batch in feeds.items()}, []
    except Exception as error:  # a graph ONNX Runtime cannot run here, or one of more than 2 GB
        return {}, [f"FLOPs are not counted: {first_line(error)}"]


def _measurement(case: _Case, seconds: Sequence[float], flops: int | None, memory: float | None) -> Measurement:
    p50, p90, p99 = (float(value) for value in 1e3 * np.percentile(seconds, (50, 90, 99)))
    batch, height, width = case.shape
    return Measurement(
        backend=label(case.runtime),
        batch=batch,
        height=height,
        width=width,
        runs=len(seconds),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        min_ms=1e3 * min(seconds),
        # of the whole time, not of the median: what a machine that did nothing else would get through
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

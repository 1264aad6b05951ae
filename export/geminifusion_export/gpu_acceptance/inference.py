"""Part b: the inference form in torch on a GPU: agreement with the CPU, budgets of half types, and speed.

The baseline is a re-creation of the original formulation, measured in the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.gpu_acceptance.backend_checks import check_backend
from geminifusion_export.gpu_acceptance.networks import SIZE, OriginalGraph, graph_of, random_network
from geminifusion_export.gpu_acceptance.requirements import require_torch_gpu
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.gpu_acceptance.timing import synchronized
from geminifusion_export.graph import SegmentationGraph, example_inputs, random_batch
from geminifusion_export.torch_backend import ServingBackend, TorchBackend
from geminifusion_export.torch_backend.inference_graph import DTYPES, InferenceGraph
from geminifusion_model import GeminiFusion
from geminifusion_runtime.artifact import Precision
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.devices import Device

LATENCY_TARGET, THROUGHPUT_TARGET = 3.0, 6.0  # times the original formulation
PAPERS_SHARE = 1.61  # of time with the fusion over time without (arXiv:2406.01210)
ENCODERS = {"mit_b0": True, "mit_b3": True, "swin_tiny": False}  # whether the targets are for it
_PARITY_SHAPE = (2, 133, 165)
_LARGEST_ERROR = 1e-3  # of confidence and gate, in float32
_LEAST_AGREEMENT = 0.999
_BATCHES = (1, 2, 4, 8, 16, 32)
_RUNS = 15


def examine(report: Report) -> None:
    """Agreement first, then speed."""
    require_torch_gpu()
    gpu = torch.device("cuda", 0)
    report.figure("gpu", torch.cuda.get_device_name())
    within = precisions_within_budget(report, Device(kind="cuda"))
    best: Precision = "float16" if "float16" in within else "bfloat16" if "bfloat16" in within else "float32"
    for encoder, has_target in ENCODERS.items():
        net = random_network(encoder)
        report.attempt(f"{encoder} on the GPU as on the CPU", partial(difference_from_cpu, net, gpu))
        report.attempt(f"{encoder} speed", partial(_speed, report, net, encoder, best, has_target))
    report.attempt("the fusion's share", partial(_share, report))
    report.attempt("torch.compile", partial(_compiled, report))


def precisions_within_budget(report: Report, device: Device) -> list[Precision]:
    """Hold the bundled model to its golden set in every precision, with the backend that serves; those that pass."""
    passed: list[Precision] = []
    for precision in DTYPES:
        wanted = "torch" if precision == "float32" else f"torch-{precision}"
        if check_backend(report, artifact_path(), wanted, device, f"golden set, {precision}"):
            passed.append(precision)
    return passed


def difference_from_cpu(net: GeminiFusion, device: torch.device) -> str:
    """The outputs on a device against those of the reference on the CPU, in float32; what was found.

    Raises:
        ValueError: they differ by more than rounding.
    """
    graph = graph_of(net)
    inputs = random_batch(graph.task, _PARITY_SHAPE)
    expected = TorchBackend(graph).run(inputs)
    found = ServingBackend(InferenceGraph(graph_of(net), torch.float32), device=device).run(inputs)
    agreement = float((found["labels"] == expected["labels"]).mean())
    error = max(
        float(np.abs(np.asarray(found[name], np.float32) - np.asarray(expected[name], np.float32)).max())
        for name in ("confidence", "gate")
    )
    words = f"{100 * agreement:.3f} % of the labels, confidence and gate within {error:.1e}"
    if not (agreement >= _LEAST_AGREEMENT and error <= _LARGEST_ERROR):
        raise ValueError(f"{words}; expected {100 * _LEAST_AGREEMENT:g} % and {_LARGEST_ERROR:g}")
    return words


def _speed(report: Report, net: GeminiFusion, encoder: str, best: Precision, has_target: bool) -> str:
    """Latency at batch 1 and throughput at the best batch, both against the original formulation."""
    original = OriginalGraph(net).cuda()
    graph = graph_of(net)
    contenders: dict[str, Callable[[], object]] = {"original": _eager(original, graph, 1)}
    for precision, dtype in DTYPES.items():
        contenders[f"eager {precision}"] = _eager(InferenceGraph(graph_of(net), dtype).cuda(), graph, 1)
        contenders[f"graph {precision}"] = _served(net, dtype, 1)
    seconds = paired_seconds(contenders, runs=_RUNS, warm_up=4)
    for name, values in seconds.items():
        report.figure(f"{encoder} {name} ms", 1e3 * statistics.median(values))
    ratio = paired_ratio(seconds["original"], seconds[f"graph {best}"])[0]
    del contenders
    theirs = _throughput(lambda batch: _eager(original, graph, batch))
    ours = _throughput(lambda batch: _served(net, DTYPES[best], batch))
    report.figure(f"{encoder} original pairs/s", theirs[1])
    report.figure(f"{encoder} {best} pairs/s", ours[1])
    report.figure(f"{encoder} {best} best batch", ours[0])
    if has_target:
        report.target(f"{encoder} latency, {best}", LATENCY_TARGET, ratio, "x the original")
        report.target(f"{encoder} throughput, {best}", THROUGHPUT_TARGET, ours[1] / theirs[1], "x the original")
    return f"{ratio:.2f}x the original at batch 1, {ours[1] / theirs[1]:.2f}x in throughput ({best})"


def _eager(module: Callable[..., object], graph: SegmentationGraph, batch: int) -> Callable[[], None]:
    inputs = [tensor.cuda() for tensor in example_inputs(graph.task, batch, *SIZE)]

    @torch.inference_mode()
    def call() -> None:
        module(*inputs)

    return synchronized(call)


def _served(net: GeminiFusion, dtype: torch.dtype, batch: int) -> Callable[[], object]:
    """The backend as it serves, copies from and to the host included."""
    graph = graph_of(net)
    inputs = random_batch(graph.task, (batch, *SIZE))
    backend = ServingBackend(InferenceGraph(graph, dtype), device=torch.device("cuda", 0))
    return lambda: backend.run(inputs)


def _throughput(at: Callable[[int], Callable[[], object]], batches: Sequence[int] = _BATCHES) -> tuple[int, float]:
    """The batch size of the highest throughput, and that in pairs per second; sizes that do not fit are left out."""
    best = (0, 0.0)
    for batch in batches:
        try:
            seconds = paired_seconds({"": at(batch)}, runs=5, warm_up=3)[""]
        except torch.cuda.OutOfMemoryError:
            break
        rate = batch / statistics.median(seconds)
        best = max(best, (batch, rate), key=lambda found: found[1])
        if rate < 0.8 * best[1]:
            break
    return best


def _share(report: Report) -> str:
    """Time with the fusion over time without, of B0 at batch 1, in both formulations."""
    nets = {fusion: random_network("mit_b0", fusion) for fusion in ("geminifusion", "none")}
    graph = graph_of(nets["geminifusion"])
    calls: dict[str, Callable[[], object]] = {}
    for fusion, net in nets.items():
        calls[f"original {fusion}"] = _eager(OriginalGraph(net).cuda(), graph, 1)
        calls[f"ours {fusion}"] = _served(net, torch.float16, 1)
    seconds = paired_seconds(calls, runs=_RUNS, warm_up=4)
    shares = {
        form: paired_ratio(seconds[f"{form} geminifusion"], seconds[f"{form} none"])[0] for form in ("original", "ours")
    }
    for form, share in shares.items():
        report.figure(f"mit_b0 {form}, with fusion over without", share)
    return f"{shares['ours']:.2f}, original formulation {shares['original']:.2f}, paper {PAPERS_SHARE}"


def _compiled(report: Report) -> str:
    """B0 in float16 through torch.compile, which decides itself what to fuse."""
    net = random_network("mit_b0")
    graph = graph_of(net)
    module = InferenceGraph(graph_of(net), torch.float16).cuda()
    compiled = torch.compile(module, dynamic=False)
    calls = {"eager": _eager(module, graph, 1), "compiled": _eager(compiled, graph, 1)}
    seconds = paired_seconds(calls, runs=_RUNS, warm_up=4)
    milliseconds = 1e3 * statistics.median(seconds["compiled"])
    report.figure("mit_b0 torch.compile float16 ms", milliseconds)
    return f"{paired_ratio(seconds['eager'], seconds['compiled'])[0]:.2f}x eager, {milliseconds:.2f} ms"

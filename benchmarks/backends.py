"""Every CPU backend against a faithful re-creation of the original formulation, in one paired run.

    python benchmarks/backends.py [--encoders mit_b0 mit_b3 --height 480 --width 640 --threads 2 --runs 15]
    python benchmarks/backends.py --checkpoint CHECKPOINT --data ROOT

Without a checkpoint the weights are random: they cost the same time. All contenders run from uint8 and metres to the
label map, and take turns, so that a machine whose speed drifts slows all of them; ratios are taken round by round.
Backends have the options they serve with: OpenVINO runs a copy compiled for the size. The int8 network is calibrated on
`--data`, or on random inputs, which do not affect its speed.

Prints Markdown; `--profile` adds where OpenVINO's time goes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine
from numpy.typing import NDArray
from torch.nn import functional as F

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.graph import SegmentationGraph, example_inputs, export_onnx, frame_inputs, random_batch
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.quantization import quantize
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import read_info
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.task import Task
from geminifusion_runtime.artifact import Precision
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.openvino import OpenVinoBackend, OpenVinoNetwork
from geminifusion_runtime.backends.protocol import BackendError, GraphInputs
from geminifusion_runtime.machine import describe_machine as machine_facts

NUM_CLASSES = 39
CALIBRATION_FRAMES = 4
ORIGINAL = "original formulation, eager torch"
# What the project asks of itself: the float32 exports, and the best of all, as multiples of the original's speed.
TARGETS = {"mit_b0": (3.0, 8.0), "mit_b3": (2.0, 5.0)}
FLOAT32 = ("ONNX Runtime float32", "OpenVINO float32")

Contenders = dict[str, Callable[[], object]]


class Case:
    """One network with its inputs; files are written to `folder`."""

    def __init__(self, net: GeminiFusion, task: Task, options: argparse.Namespace, folder: Path) -> None:
        self.net, self.task, self.options, self.folder = net.eval(), task, options, folder
        self.shape = (1, options.height, options.width)
        self.inputs = example_inputs(task, *self.shape)
        self.arrays: dict[str, NDArray[np.generic]] = random_batch(task, self.shape)
        self.openvino: dict[str, tuple[Path, Precision]] = {}

    def contenders(self) -> Contenders:
        """Every backend by name, the original first."""
        original = OriginalFormulation(self.net).eval()
        graph = SegmentationGraph(self.net, self.task)

        @torch.inference_mode()
        def original_formulation() -> torch.Tensor:
            _, logits = original(*encode_inputs(self.inputs, self.task))
            return F.interpolate(logits, size=self.shape[1:], mode="bilinear", align_corners=False).argmax(1)

        @torch.inference_mode()
        def inference_form() -> torch.Tensor:
            return graph(*self.inputs)[0]

        model = self.folder / "model.onnx"
        export_onnx(graph, model)
        network = self.folder / write_openvino(model, self.folder).file
        int8 = self.folder / quantize(network, self.folder, self._calibration(), CALIBRATION_FRAMES).file
        threads, pixels = self.options.threads, self.shape[1] * self.shape[2]
        onnx_runtime = OnnxRuntimeBackend(model, threads=threads, retained_pixels=pixels)
        contenders: Contenders = {
            ORIGINAL: original_formulation,
            "inference form, eager torch": inference_form,
            "ONNX Runtime float32": partial(onnx_runtime.run, self.arrays),
        }
        networks: tuple[tuple[Path, Precision], ...] = (
            (network, "float32"),
            (int8, "int8"),
            (network, "bfloat16"),
            (network, "float16"),
        )
        for path, precision in networks:
            try:
                backend = OpenVinoBackend(path, precision=precision, threads=threads, prepared=[self.shape])
            except BackendError as error:
                print(f"OpenVINO {precision} is left out: {error}")
                continue
            self.openvino[f"OpenVINO {precision}"] = (path, precision)
            contenders[f"OpenVINO {precision}"] = partial(backend.run, self.arrays)
        return contenders

    def _calibration(self) -> list[GraphInputs]:
        if self.options.data is not None:
            frames = open_dataset("nyuv2", self.options.data, "train", num_classes=len(self.task.class_names))
            chosen = np.linspace(0, len(frames) - 1, CALIBRATION_FRAMES)
            return [frame_inputs(frames[int(i)], frames.task) for i in chosen]
        return [random_batch(self.task, self.shape, seed) for seed in range(CALIBRATION_FRAMES)]


def table(seconds: dict[str, list[float]]) -> str:
    """Markdown: median and fastest milliseconds, and how many times faster than the original with quartiles."""
    lines = ["| backend | median ms | fastest ms | x original (quartiles) |", "|---|---|---|---|"]
    for name, values in seconds.items():
        ratio, low, high = paired_ratio(seconds[ORIGINAL], values)
        lines.append(
            f"| {name} | {1e3 * statistics.median(values):.1f} | {1e3 * min(values):.1f} | "
            f"{ratio:.2f} ({low:.2f} … {high:.2f}) |"
        )
    return "\n".join(lines)


def verdict(encoder: str, seconds: dict[str, list[float]]) -> str:
    """The targets of this encoder and the measured ratios."""
    ratios = {name: paired_ratio(seconds[ORIGINAL], values)[0] for name, values in seconds.items()}
    best = max(ratios, key=lambda name: ratios[name])
    found = max(ratios[name] for name in FLOAT32)
    if encoder not in TARGETS:
        return f"best: {best}, {ratios[best]:.2f}x; float32 {found:.2f}x"
    float32, overall = TARGETS[encoder]
    return (
        f"float32 {found:.2f}x of {float32:g}x asked: {'met' if found >= float32 else 'missed'}; "
        f"best ({best}) {ratios[best]:.2f}x of {overall:g}x asked: {'met' if ratios[best] >= overall else 'missed'}"
    )


def profile(case: Case) -> str:
    """Milliseconds of one run of each OpenVINO network by type of layer, the ten largest."""
    lines = []
    for name, (path, precision) in case.openvino.items():
        network = OpenVinoNetwork(path, precision=precision, threads=case.options.threads, profiled=True)
        request = network.compile(case.shape)
        for _ in range(3):
            request.infer(case.arrays)
        spent: Counter[str] = Counter()
        for layer in request.profiling_info:
            spent[f"{layer.node_type} {layer.exec_type}"] += 1e3 * layer.real_time.total_seconds()
        lines += ["", f"{name}: {sum(spent.values()):.1f} ms", "", "| layer | ms |", "|---|---|"]
        lines += [f"| {kind} | {milliseconds:.1f} |" for kind, milliseconds in spent.most_common(10)]
    return "\n".join(lines)


def networks(options: argparse.Namespace) -> list[tuple[GeminiFusion, Task]]:
    """The checkpoint's network, or a random one of each encoder."""
    if options.checkpoint is not None:
        task = read_info(options.checkpoint).task
        assert task is not None
        return [(GeminiFusion.from_pretrained(options.checkpoint), task)]
    found = []
    for encoder in options.encoders:
        torch.manual_seed(0)
        net = GeminiFusion(GeminiFusionConfig(encoder=encoder, num_classes=NUM_CLASSES))
        found.append((net, nyuv2_task(NUM_CLASSES)))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mit_b0", "mit_b3"])
    parser.add_argument("--checkpoint", type=Path, help="a MiT network instead of random ones")
    parser.add_argument("--data", type=Path, help="NYUv2 folder to calibrate int8 on")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine("torch", "onnxruntime", "openvino", "nncf"))
    print(f"CPU features: {', '.join(machine_facts().cpu_features)}\n")
    for net, task in networks(options):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(net, task, options, Path(folder))
            seconds = paired_seconds(case.contenders(), runs=options.runs, warm_up=2)
            encoder = net.config.encoder
            print(
                f"### {encoder}, {len(task.class_names)} classes, batch 1, {options.height}x{options.width}, "
                f"network input x{task.input_scale:g}, {options.threads} threads, {options.runs} paired runs\n"
            )
            print(table(seconds))
            print(f"\n{verdict(encoder, seconds)}", flush=True)
            if options.profile:
                print(profile(case), flush=True)


if __name__ == "__main__":
    main()

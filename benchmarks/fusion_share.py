"""Cost of the fusion at inference: time with it over time without it, in paired runs of the same encoder.

    python benchmarks/fusion_share.py [--encoders mit_b0 mit_b3 --height 480 --width 640 --threads 2 --runs 15]

`with` is `fusion="geminifusion"`, `without` is `fusion="none"`; all weights but the fusion's are the same, and random:
time does not depend on them. Three formulations are measured:

- the inference form in eager torch, from normalised images to logits and gate;
- the exported graph in ONNX Runtime, from uint8 and metres to the label map;
- the original's formulation in eager torch (per stream, per sample), which shows what the ratio was.

Runs alternate; the ratio is taken pair by pair, its median quoted with its quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import describe_machine
from torch import Tensor, nn

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.graph import SegmentationGraph, example_inputs, export_onnx
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.inference_form import InferenceForm
from geminifusion_runtime.backends.onnx_runtime import open_session

WITH, WITHOUT = "geminifusion", "none"
NUM_CLASSES = 39
FORMULATIONS = ("inference", "onnxruntime", "original")

Contenders = dict[str, Callable[[], object]]


def networks(encoder: str) -> dict[str, GeminiFusion]:
    """The same random network with and without the fusion."""
    torch.manual_seed(0)
    found = {
        fusion: GeminiFusion(GeminiFusionConfig(encoder=encoder, num_classes=NUM_CLASSES, fusion=fusion)).eval()
        for fusion in (WITH, WITHOUT)
    }
    shared = found[WITH].state_dict()
    found[WITHOUT].load_state_dict({name: shared[name] for name in found[WITHOUT].state_dict()})
    return found


@torch.inference_mode()
def passed(net: nn.Module, images: list[Tensor]) -> object:
    """One forward pass."""
    return net(*images)


def contenders(formulation: str, encoder: str, options: argparse.Namespace) -> Contenders:
    """The two calls to compare, by the fusion's name."""
    nets = networks(encoder)
    if formulation == "onnxruntime":
        return {fusion: exported(net, options) for fusion, net in nets.items()}
    images = [torch.randn(options.batch, 3, options.height, options.width) for _ in range(2)]
    form = InferenceForm if formulation == "inference" else OriginalFormulation
    return {fusion: partial(passed, form(net).eval(), images) for fusion, net in nets.items()}


def exported(net: GeminiFusion, options: argparse.Namespace) -> Callable[[], object]:
    """One pass through the network's exported graph."""
    task = nyuv2_task(NUM_CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(SegmentationGraph(net, task), path)
        session = open_session(path, threads=options.threads)
    inputs = example_inputs(task, options.batch, options.height, options.width)
    feeds = {m.name: tensor.numpy() for m, tensor in zip(task.modalities, inputs, strict=True)}
    return lambda: session.run(None, feeds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mit_b0", "mit_b3"])
    parser.add_argument("--formulations", nargs="+", choices=FORMULATIONS, default=list(FORMULATIONS))
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine("torch", "onnxruntime"))
    print(
        f"batch {options.batch}, {options.height}x{options.width}, {NUM_CLASSES} classes, float32, "
        f"{options.threads} threads, {options.runs} paired runs"
    )
    for encoder in options.encoders:
        for formulation in options.formulations:
            seconds = paired_seconds(contenders(formulation, encoder, options), runs=options.runs, warm_up=2)
            ratio, low, high = paired_ratio(seconds[WITH], seconds[WITHOUT])
            medians = {fusion: 1e3 * statistics.median(values) for fusion, values in seconds.items()}
            print(
                f"{encoder:<10} {formulation:<12} with {medians[WITH]:8.1f} ms   without {medians[WITHOUT]:8.1f} ms   "
                f"ratio {ratio:.3f} ({low:.3f} … {high:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()

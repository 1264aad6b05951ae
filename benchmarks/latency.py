"""Latency of an exported MiT artifact against its training form and the original formulation, in paired runs.

    python benchmarks/latency.py CHECKPOINT ARTIFACT [--height 480 --width 640 --threads 2 --runs 15]

All run from uint8 and metres to the label map, the exported graph with the options it is served with. Runs alternate,
so that a machine whose speed drifts slows all of them; ratios are taken pair by pair, and their median is quoted.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe_machine
from torch.nn import functional as F

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.graph import SegmentationGraph, example_inputs
from geminifusion_model.checkpoint import read_info
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import open_artifact, require_segmentation
from geminifusion_runtime.backends.selection import open_backend


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    metadata = open_artifact(options.artifact)
    task = read_info(options.checkpoint).task
    assert task is not None
    net = GeminiFusion.from_pretrained(options.checkpoint)
    folded = SegmentationGraph(net, task)
    backend, _ = open_backend(options.artifact, metadata, wanted="onnxruntime", threads=options.threads)
    inputs = example_inputs(task, options.batch, options.height, options.width)
    arrays = {m.name: tensor.numpy() for m, tensor in zip(task.modalities, inputs, strict=True)}

    @torch.inference_mode()
    def training_form() -> torch.Tensor:
        logits = net(*encode_inputs(inputs, task)).ensemble
        full = F.interpolate(logits, size=inputs[0].shape[1:3], mode="bilinear", align_corners=False)
        return full.argmax(1)

    @torch.inference_mode()
    def inference_form() -> torch.Tensor:
        return folded(*inputs)[0]

    original = OriginalFormulation(net).eval()

    @torch.inference_mode()
    def original_formulation() -> torch.Tensor:
        _, logits = original(*encode_inputs(inputs, task))
        full = F.interpolate(logits, size=inputs[0].shape[1:3], mode="bilinear", align_corners=False)
        return full.argmax(1)

    contenders: dict[str, Callable[[], object]] = {
        "original formulation, eager": original_formulation,
        "training form, eager torch": training_form,
        "inference form, eager torch": inference_form,
        "exported graph, ONNX Runtime": lambda: backend.run(arrays),
    }
    seconds = paired_seconds(contenders, runs=options.runs, warm_up=2)
    print(describe_machine("torch", "onnxruntime"))
    print(
        f"{metadata.reference} ({metadata.encoder}), batch {options.batch}, {options.height}x{options.width} posted, "
        f"network input x{require_segmentation(metadata).input_scale:g}, "
        f"float32, {options.threads} threads, {options.runs} paired runs"
    )
    for name, values in seconds.items():
        ratios = [
            paired_ratio(seconds[baseline], values)[0]
            for baseline in ("original formulation, eager", "training form, eager torch")
        ]
        print(
            f"{name:<30} median {1e3 * statistics.median(values):7.1f} ms   min {1e3 * min(values):7.1f} ms   "
            f"{ratios[0]:5.2f}x the original formulation   {ratios[1]:5.2f}x the training form"
        )


if __name__ == "__main__":
    main()

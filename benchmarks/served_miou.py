"""Score a running server on labeled frames, each posted as a user would post it and its mask scored as it comes.

    geminifusion serve &
    python benchmarks/served_miou.py DATA [--url http://localhost:8000] [--limit 500]

DATA is a folder in the NYUv2 layout (model/README.md). The files go out as they are, so decoding, depth scaling, the
graph and the mask encoding are all part of what is measured.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine

from geminifusion import Client
from geminifusion_model.data.nyuv2 import METRES_PER_STEP, NYUv2
from geminifusion_model.evaluation.metrics import ConfusionMatrix


def main() -> None:
    """Post, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--limit", type=int, default=None)
    options = parser.parse_args()
    dataset = NYUv2(options.data, "test", 13, options.limit)
    matrix = ConfusionMatrix(len(dataset.task.class_names))
    start = time.perf_counter()
    with Client(options.url) as client:
        for index in range(len(dataset)):
            sample = dataset[index]
            name = sample.name
            depth = options.data / "depth" / f"{name}.png"
            stored = cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
            assert stored is not None, depth
            scale = METRES_PER_STEP if stored.dtype == np.uint8 else 0.001
            result = client.segment(options.data / "rgb" / f"{name}.jpg", depth, depth_scale=scale)
            matrix.add(sample.labels, result.labels)
    seconds = time.perf_counter() - start
    print(describe_machine("onnxruntime"))
    for name, iou in zip(dataset.task.class_names, matrix.iou(), strict=True):
        print(f"{name:<12}{iou:7.2f}")
    print(
        f"{len(dataset)} frames through {options.url} ({result.model}): mIoU {matrix.miou():.2f}, pixel accuracy "
        f"{matrix.pixel_accuracy():.2f}, mean accuracy {matrix.mean_accuracy():.2f}; "
        f"{len(dataset) / seconds:.1f} frames/s"
    )


if __name__ == "__main__":
    main()

"""Milliseconds of points, measures of classes, registration and files, for depth of 640x480 on one thread.

    python benchmarks/point_clouds.py [--runs 31]

Processor time, so that other work on the machine does not count. The depth is a room of planes with a tenth of holes
and a millimetre of noise, in thirteen classes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from machine import describe_machine

from geminifusion_runtime.camera import Intrinsics, Pose
from geminifusion_runtime.geometry.files import encode_cloud
from geminifusion_runtime.geometry.measures import class_spaces
from geminifusion_runtime.geometry.points import point_cloud
from geminifusion_runtime.geometry.registration import register_depth
from geminifusion_runtime.types import CLOUD_FORMATS

SIZE, LARGE = (480, 640), (720, 1280)
CAMERA = Intrinsics(fx=518.9, fy=519.5, cx=325.6, cy=253.7)
LARGE_CAMERA = Intrinsics(fx=920.0, fy=920.0, cx=639.5, cy=359.5)
ANGLE = np.radians(2.0)
POSE = Pose.of([np.cos(ANGLE), 0, np.sin(ANGLE), 0.05, 0, 1, 0, 0, -np.sin(ANGLE), 0, np.cos(ANGLE), 0])


def _processor_seconds(contenders: Mapping[str, Callable[[], object]], *, runs: int) -> dict[str, list[float]]:
    """Seconds of processor time of each contender in each of `runs` rounds, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(runs + 1):
        for name, call in contenders.items():
            start = time.process_time()
            call()
            if index:
                seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=31)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    height, width = SIZE
    rows, columns = np.mgrid[:height, :width]
    depth = np.minimum(3.0 + 0.001 * columns, 2.0 * height / (rows + 1.0)) + rng.normal(0, 0.001, SIZE)
    depth = np.where(rng.random(SIZE) < 0.1, 0, depth).astype(np.float32)
    labels = np.repeat(np.repeat(rng.integers(0, 13, (12, 16), np.uint8), 40, axis=0), 40, axis=1)
    rgb = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    sure = rng.random((120, 160)).astype(np.float32)
    make = partial(point_cloud, depth, CAMERA, labels=labels, colors=rgb, confidence=sure)
    cloud = make()
    seconds = _processor_seconds(
        {
            "points": make,
            "measures of the classes": lambda: class_spaces(depth, labels, CAMERA),
            "registration to 640x480": lambda: register_depth(depth, CAMERA, target=CAMERA, pose=POSE, size=SIZE),
            "registration to 1280x720": lambda: register_depth(
                depth, CAMERA, target=LARGE_CAMERA, pose=POSE, size=LARGE
            ),
            **{f"file: {name}": partial(encode_cloud, cloud, name) for name in CLOUD_FORMATS},
        },
        runs=options.runs,
    )
    print(describe_machine("numpy"))
    for name, times in seconds.items():
        print(f"{name:<26} median {1e3 * statistics.median(times):6.1f} ms, fastest {1e3 * min(times):6.1f} ms")
    registered = register_depth(depth, CAMERA, target=LARGE_CAMERA, pose=POSE, size=LARGE)
    print(f"{len(cloud)} points; holes after registration to 1280x720: {(registered == 0).mean():.0%}")
    for name in CLOUD_FORMATS:
        print(f"{name:<10} {len(encode_cloud(cloud, name)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

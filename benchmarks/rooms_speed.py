"""Frames of synthetic rooms per second on one core, and how their classes are spread.

    python benchmarks/rooms_speed.py [--frames 40 --height 240 --width 320 --seed 0]

Processor time of this process, so that other work on the machine does not count; the patterns are drawn before.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2
import numpy as np
from machine import describe_machine

from geminifusion_model.data.synthetic_rooms import Rooms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rooms = Rooms(options.frames + 1, options.seed, (options.height, options.width))
    start = time.process_time()
    rooms[options.frames]
    first_s = time.process_time() - start
    seconds, pixels = [], np.zeros(len(rooms.task.class_names))
    for index in range(options.frames):
        start = time.process_time()
        frame = rooms[index]
        seconds.append(time.process_time() - start)
        pixels += np.bincount(frame.labels.reshape(-1), minlength=len(pixels))
    print(describe_machine("numpy", "opencv-python-headless"))
    print(
        f"{options.frames} frames of {options.width}x{options.height}, one thread: "
        f"{len(seconds) / sum(seconds):.2f} frames/s, "
        f"median {1e3 * statistics.median(seconds):.0f} ms, slowest {1e3 * max(seconds):.0f} ms; "
        f"first frame with the patterns {1e3 * first_s:.0f} ms"
    )
    for name, share in zip(rooms.task.class_names, pixels / pixels.sum(), strict=True):
        print(f"{name:<10} {share:.3f}")


if __name__ == "__main__":
    main()

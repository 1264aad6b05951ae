"""Part h: what decoding JPEG on the GPU would gain: nvImageCodec against the service's own decoder.

The service decodes on the CPU; this says whether that would be worth changing on this machine.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

import numpy as np

from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_runtime.artifact import MAX_PIXELS
from geminifusion_runtime.bundled import demo_pairs
from geminifusion_runtime.decoding.images import decode_rgb

_BATCH = 32
_SECONDS = 2.0
_LARGEST_MEAN_DIFFERENCE = 2.0  # of 255: inverse transforms and the upsampling of colours differ


def examine(report: Report) -> None:
    """The same photograph through both, compared and timed."""
    codec = importlib.import_module("nvidia.nvimgcodec")
    data = next(iter(demo_pairs().values())).rgb.read_bytes()
    decoder = codec.Decoder()
    on_gpu = np.asarray(decoder.decode([data])[0].cpu())
    on_cpu = decode_rgb(data, max_pixels=MAX_PIXELS)
    difference = float(np.abs(on_gpu.astype(np.int16) - on_cpu).mean())
    report.check("same picture", difference <= _LARGEST_MEAN_DIFFERENCE, f"{difference:.2f} of 255 apart on average")
    gpu = _BATCH * calls_per_second(lambda: decoder.decode([data] * _BATCH))
    cpu = calls_per_second(lambda: decode_rgb(data, max_pixels=MAX_PIXELS))
    report.figure("JPEG on the GPU images/s", gpu)
    report.figure("JPEG on one core images/s", cpu)
    report.figure("GPU over one core", gpu / cpu)


def calls_per_second(call: Callable[[], object], seconds: float = _SECONDS) -> float:
    """How often a call returns, after one that does not count."""
    call()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - begin)

"""The fusion op alone on a CPU: our C++ kernel against the function in the file, and against the memory's limit.

    python benchmarks/fusion_op.py [--encoders mit_b0 mit_b3 --height 480 --width 640 --threads 2 --runs 30]

Both run in ONNX Runtime, on one node, at the shapes it has in each stage of the encoder; runs alternate, medians are
quoted and the ratio is taken run by run. The kernel reads four tensors and writes one. The limit is what ONNX Runtime's
own addition of two tensors moves on as many threads: with the op's total size, so that a stage that fits a cache is
compared with that cache, and with arrays far larger than any cache, which is what memory itself gives.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from machine import describe_machine
from numpy.typing import NDArray

from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.fusion_node import DOMAIN, OP_TYPE, function_body
from geminifusion_export.kernels.ops_build import build_onnxruntime_ops
from geminifusion_model.encoder_sizes import MIT_SIZES

INPUTS = ("q", "k_diff", "v_self", "v_cross")
NUM_HEADS = 8
STRIDES = (4, 8, 16, 32)
TRAFFIC = 5  # tensors: four read, one written
MEMORY_ROWS = 2**17  # of 1024 floats: 512 MiB an array, which no cache holds


def open_session(model: onnx.ModelProto, threads: int, library: Path | None = None) -> ort.InferenceSession:
    """A session on the CPU, with our kernels if there is a library."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # three sessions take turns: the idle threads of one must not spin on the cores of the next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if library is not None:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def one_node(node: onnx.NodeProto) -> onnx.ModelProto:
    """A model of that node, on matrices of floats, with the fusion's function."""
    matrix = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=["rows", "channels"])
    graph = onnx.helper.make_graph([node], "one", list(map(matrix, node.input)), list(map(matrix, node.output)))
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid(DOMAIN, 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, functions=[function_body(20)], ir_version=10)


def bound_call(session: ort.InferenceSession, feeds: dict[str, NDArray[np.float32]]) -> Callable[[], object]:
    """A run that neither copies its inputs nor makes a new output, so the op is all that is timed."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    (output,) = (value.name for value in session.get_outputs())
    binding.bind_ortvalue_output(output, ort.OrtValue.ortvalue_from_numpy(np.empty_like(next(iter(feeds.values())))))
    return partial(session.run_with_iobinding, binding)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mit_b0", "mit_b3"])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    print(describe_machine("onnxruntime", "numpy"))
    print(
        f"one image of {options.height}x{options.width}, float32, {options.threads} threads, {options.runs} paired runs"
    )
    with tempfile.TemporaryDirectory() as folder:
        library = build_onnxruntime_ops(Path(folder))
        fusion = one_node(onnx.helper.make_node(OP_TYPE, INPUTS, ["mixed"], domain=DOMAIN, num_heads=NUM_HEADS))
        function = open_session(fusion, options.threads)
        kernel = open_session(fusion, options.threads, library)
        addition = open_session(one_node(onnx.helper.make_node("Add", ["a", "b"], ["sum"])), options.threads)
        large = bound_call(addition, {name: np.ones((MEMORY_ROWS, 1024), np.float32) for name in ("a", "b")})
        fastest = min(paired_seconds({"addition": large}, runs=5)["addition"])
        print(f"memory: {3 * MEMORY_ROWS * 4096 / fastest / 1e9:.1f} GB/s (addition of arrays of 512 MiB, best of 5)")
        del large
        for encoder in options.encoders:
            for stride, channels in zip(STRIDES, MIT_SIZES[encoder].channels, strict=True):
                rows = -(-options.height // stride) * -(-options.width // stride)
                random = np.random.default_rng(0)
                feeds = {name: random.standard_normal((rows, channels), dtype=np.float32) for name in INPUTS}
                same_size = np.ones((TRAFFIC * rows // 3, channels), np.float32)
                seconds = paired_seconds(
                    {
                        "function": bound_call(function, feeds),
                        "kernel": bound_call(kernel, feeds),
                        "addition": bound_call(addition, {"a": same_size, "b": same_size.copy()}),
                    },
                    runs=options.runs,
                    warm_up=3,
                )
                ratio, low, high = paired_ratio(seconds["function"], seconds["kernel"])
                moved = TRAFFIC * rows * channels * 4
                rate = moved / statistics.median(seconds["kernel"]) / 1e9
                limit = 3 * same_size.nbytes / statistics.median(seconds["addition"]) / 1e9
                print(
                    f"{encoder} {rows:>6} x {channels:<4} "
                    f"function {1e3 * statistics.median(seconds['function']):7.3f} ms   "
                    f"kernel {1e3 * statistics.median(seconds['kernel']):6.3f} ms   "
                    f"{ratio:5.1f}x ({low:.1f} … {high:.1f})   {moved / 2**20:5.1f} MiB at {rate:5.1f} GB/s, "
                    f"{100 * rate / limit:3.0f} % of an addition of that size ({limit:.1f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()

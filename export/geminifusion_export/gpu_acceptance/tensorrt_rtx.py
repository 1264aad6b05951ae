"""Part g: TensorRT for RTX, which builds and runs the bundled model's function body; its plugins cannot be ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geminifusion_export.benchmarking.paired import paired_seconds
from geminifusion_export.gpu_acceptance.requirements import require_torch_gpu
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.gpu_acceptance.timing import synchronized
from geminifusion_runtime.artifact import MODEL_NAME, read_metadata
from geminifusion_runtime.backends.tensorrt.execution_context import bindings_of
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, read_golden_set

_RUNS = 15


class RtxError(RuntimeError):
    """TensorRT for RTX rejects or cannot run the model."""


def examine(report: Report) -> None:
    """Build, run the first golden frame, compare, time."""
    require_torch_gpu()
    import tensorrt_rtx as trt  # type: ignore[import-not-found, import-untyped, unused-ignore]

    directory = artifact_path()
    metadata = read_metadata(directory)
    first = read_golden_set(directory, metadata)[0]
    report.figure("tensorrt_rtx", trt.__version__)
    engine = _build(trt, directory / MODEL_NAME, {name: array.shape for name, array in first.inputs.items()})
    shapes = {binding.name: binding.shape(*first.shape) for binding in bindings_of(metadata)}
    inputs = {name: torch.from_numpy(np.ascontiguousarray(array)).cuda() for name, array in first.inputs.items()}
    outputs = {
        name: torch.empty(shapes[name], dtype=torch.uint8 if name == "labels" else torch.float32, device="cuda")
        for name in first.outputs
    }
    run = _runner(engine, inputs, outputs)
    run()
    agreement = float((outputs["labels"].cpu().numpy() == first.outputs["labels"]).mean())
    least = MIN_LABEL_AGREEMENT[metadata.precision]
    report.check("golden frame", agreement >= least, f"{100 * agreement:.3f} % of the labels of {100 * least:g} %")
    milliseconds = 1e3 * statistics.median(paired_seconds({"": run}, runs=_RUNS, warm_up=4)[""])
    report.figure(f"batch 1 {first.shape[2]}x{first.shape[1]} ms", milliseconds)


def _build(trt: Any, model: Path, shapes: Mapping[str, tuple[int, ...]]) -> Any:  # noqa: ANN401 - the package has no types
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise RtxError(f"the parser refuses {model.name}: {reasons[0] if reasons else 'no reason given'}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape, shape, shape)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RtxError("no engine was built; see the lines before")
    runtime = trt.Runtime(logger)
    return runtime.deserialize_cuda_engine(plan)


def _runner(engine: Any, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Callable[[], None]:  # noqa: ANN401
    context = engine.create_execution_context()
    for name, tensor in inputs.items():
        context.set_input_shape(name, tuple(tensor.shape))
    for name, tensor in {**inputs, **outputs}.items():
        context.set_tensor_address(name, tensor.data_ptr())
    stream = torch.cuda.Stream()

    def run() -> None:
        if not context.execute_async_v3(stream.cuda_stream):
            raise RtxError("the engine does not run; see the lines before")

    return synchronized(run)

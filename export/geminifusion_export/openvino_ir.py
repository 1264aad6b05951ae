"""`model.onnx` as an OpenVINO network, and running it.

OpenVINO knows no functions inside an ONNX file, so it reads a copy in which the fusion's body stands in each node's
place. Weights stored as float16 stay so behind their casts: the file is as small, the arithmetic is exact float32.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray

from geminifusion_export.errors import ExportError
from geminifusion_export.own_thread import in_own_thread
from geminifusion_export.runtimes import OUTPUT_NAMES, Answers
from geminifusion_export.storage import save_model
from geminifusion_runtime.artifact import Precision, RuntimeFile

# What the arithmetic is done in. An int8 network says itself which operators are int8; the others are float32.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
# What OpenVINO calls a processor's abilities; without them it would silently compute in float32.
_ABILITIES = {"bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}


def write_openvino(model: Path, directory: Path, *, name: str = "openvino") -> RuntimeFile:
    """Write `<name>.xml` and `<name>.bin`, the network of `model` with the same inputs, outputs and dynamic sizes.

    Raises:
        ExportError: OpenVINO is not installed, or it cannot read the graph.
    """
    openvino = import_openvino()
    path = directory / f"{name}.xml"
    # read back from the folder: weights in a file of their own are not copied into memory
    with tempfile.TemporaryDirectory() as scratch:
        network = read_inlined(model, Path(scratch))
        openvino.save_model(network, path, compress_to_fp16=False)
    return RuntimeFile(runtime="openvino", file=path.name, precision="float32")


def read_inlined(model: Path, scratch: Path) -> Any:  # noqa: ANN401 - openvino.Model, which is imported late
    """The OpenVINO network of an ONNX file with functions; `scratch` must live as long as it.

    Raises:
        ExportError: OpenVINO is not installed, or it cannot read the graph.
    """
    openvino = import_openvino()
    inlined = scratch / model.name
    save_model(onnx.inliner.inline_local_functions(onnx.load(model)), inlined)
    try:
        return openvino.Core().read_model(inlined)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO {openvino.__version__} cannot read {model} ({error})") from None


def import_openvino() -> Any:  # noqa: ANN401 - a module
    """The package.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise ExportError('OpenVINO is not installed; run: pip install "geminifusion[openvino]"') from None


class LayerTime(NamedTuple):
    """One layer of a compiled network in one run."""

    name: str
    kind: str  # of layer, e.g. `FullyConnected`
    implementation: str  # the kernel with its instructions and type, e.g. `brgemm_avx512_f32`
    seconds: float


class OpenVinoRuntime:
    """OpenVINO on the CPU.

    Args:
        model: `openvino.xml`, its `.bin` beside it.
        precision: what to compute in. OpenVINO would take bfloat16 by itself where the processor has it, so it is
            always told.
        threads: 0 leaves the choice to the runtime.
        shape: batch, height and width to fix the network to, which is then half as fast again; any other is refused.
        profiled: let `profile` know what each layer took; costs a little of every run.

    Raises:
        ExportError: OpenVINO is not installed, cannot load the file, or this processor does not compute in `precision`.
    """

    name = "openvino-cpu"

    def __init__(
        self,
        model: Path,
        *,
        precision: Precision = "float32",
        threads: int = 0,
        shape: tuple[int, int, int] | None = None,
        profiled: bool = False,
    ) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        self.precision: Precision = precision
        self._shape = shape
        self.abilities = tuple(in_own_thread(lambda: core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
        needed = _ABILITIES.get(precision)
        if needed is not None and needed not in self.abilities:
            raise ExportError(
                f"this processor does not compute in {precision} ({', '.join(self.abilities)}); use the float32 network"
            )
        properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": profiled,
        }
        try:
            network = core.read_model(model)
            if shape is not None:
                fix_shape(network, shape)
            self._request = in_own_thread(lambda: core.compile_model(network, "CPU", properties).create_infer_request())
        except RuntimeError as error:
            raise ExportError(f"OpenVINO {openvino.__version__} cannot load {model} ({error})") from None

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Answers:
        """Run one batch; see `Runtime`.

        Raises:
            ExportError: the network is fixed to another shape.
        """
        shape = next(iter(feeds.values())).shape[:3]
        if self._shape is not None and shape != self._shape:
            raise ExportError(
                f"the network is fixed to {_by(self._shape)}, the batch is {_by(shape)}; load it without a shape"
            )
        found = self._request.infer(dict(feeds), share_inputs=True)
        return Answers(*(found[name].copy() for name in OUTPUT_NAMES))

    def profile(self) -> tuple[LayerTime, ...]:
        """What each layer of the last run took; nothing unless the network was loaded to be profiled."""
        return tuple(
            LayerTime(layer.node_name, layer.node_type, layer.exec_type, layer.real_time.total_seconds())
            for layer in self._request.profiling_info
            if layer.real_time
        )

    def layer_types(self) -> dict[str, int]:
        """How many of the compiled layers run in each element type, as OpenVINO reports them."""
        counts: dict[str, int] = {}
        for layer in self._request.get_compiled_model().get_runtime_model().get_ops():
            kind = str(layer.get_rt_info()["runtimePrecision"].astype(str))
            counts[kind] = counts.get(kind, 0) + 1
        return counts


def values_in_openvino(
    model: Path, feeds: Mapping[str, NDArray[np.generic]], precision: Precision, names: Sequence[str]
) -> dict[str, NDArray[np.floating]]:
    """What OpenVINO computes for these values of the ONNX graph, of those it still knows by name; as float32.

    Raises:
        ExportError: OpenVINO is not installed.
        RuntimeError: it cannot load the file.
    """
    core = import_openvino().Core()
    network = core.read_model(model)
    known = {name for operation in network.get_ops() for port in operation.outputs() for name in port.get_names()}
    wanted = [name for name in names if name in known]
    network.add_outputs(wanted)
    properties = {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
    request = in_own_thread(lambda: core.compile_model(network, "CPU", properties).create_infer_request())
    found = request.infer(dict(feeds))
    return {name: found[name].astype(np.float32) for name in wanted if np.issubdtype(found[name].dtype, np.floating)}


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def fix_shape(network: Any, shape: tuple[int, int, int]) -> None:  # noqa: ANN401 - openvino.Model
    """Give every input this batch, height and width; trailing axes stay."""
    network.reshape(
        {
            port.get_any_name(): [*shape, *(axis.get_length() for axis in list(port.get_partial_shape())[3:])]
            for port in network.inputs
        }
    )

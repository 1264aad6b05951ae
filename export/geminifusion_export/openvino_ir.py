"""`model.onnx` as an OpenVINO network.

OpenVINO knows no functions inside an ONNX file, so it reads a copy in which the body of the fusion replaces each node.
Weights stored as float16 stay so, behind their casts: the file is as small, and the arithmetic is exact float32.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray

from geminifusion_export.errors import ExportError
from geminifusion_export.storage import save_model
from geminifusion_runtime.artifact import Precision, RuntimeFile
from geminifusion_runtime.backends.openvino import OpenVinoNetwork
from geminifusion_runtime.backends.protocol import GraphInputs
from geminifusion_runtime.cpu_count import usable_cores


def write_openvino(model: Path, directory: Path, *, name: str = "openvino") -> RuntimeFile:
    """Write `<name>.xml` and `<name>.bin`, the network of `model` with the same inputs, outputs and dynamic sizes.

    Raises:
        ExportError: OpenVINO is not installed, or it cannot read the graph.
    """
    openvino = import_openvino()
    path = directory / f"{name}.xml"
    # Read back from the folder: weights in a file of their own are then not copied into memory.
    with tempfile.TemporaryDirectory() as scratch:
        network = _read_inlined(model, Path(scratch))
        openvino.save_model(network, path, compress_to_fp16=False)
    return RuntimeFile(runtime="openvino", file=path.name, precision="float32")


def import_openvino() -> Any:  # noqa: ANN401 - a module
    """Import `openvino`.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise ExportError('OpenVINO is not installed; run: pip install "geminifusion[openvino]"') from None


def values_in_openvino(
    network: Path, inputs: GraphInputs, precision: Precision, names: Sequence[str]
) -> dict[str, NDArray[np.floating]]:
    """Values that OpenVINO computes for names of the ONNX graph, as float32; names it has fused away are left out.

    Raises:
        RuntimeError: OpenVINO is not installed, or cannot load the file.
    """
    request = OpenVinoNetwork(network, precision=precision, threads=usable_cores()).compile(outputs=names)
    found = request.infer(dict(inputs))
    known = {name for port in request.model_outputs for name in port.get_names()}
    values = {name: found[name] for name in names if name in known}
    return {name: value.astype(np.float32) for name, value in values.items() if np.issubdtype(value.dtype, np.floating)}


def _read_inlined(model: Path, scratch: Path) -> Any:  # noqa: ANN401 - openvino.Model, which is imported late
    """The OpenVINO network of an ONNX file with functions; `scratch` must exist as long as the network."""
    openvino = import_openvino()
    inlined = scratch / model.name
    save_model(onnx.inliner.inline_local_functions(onnx.load(model)), inlined)
    try:
        return openvino.Core().read_model(inlined)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO {openvino.__version__} cannot read {model} ({error})") from None

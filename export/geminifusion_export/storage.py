"""How a graph's weights are stored: in half precision to save space, and in a file of their own beyond 2 GB.

Weights stored as float16 are still computed with in float32. Runtimes fold the casts when they load the file, so only
the file is smaller: outputs change by the rounding of the weights and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

_MIN_ELEMENTS = 256  # below that, the cast node costs more bytes than it saves
_EXTERNAL_FROM_BYTES = 1024  # smaller tensors stay in the graph, where shape inference needs them
# Protocol buffers hold at most 2^31 bytes; the rest is for the nodes.
SINGLE_FILE_BYTES = 2**31 - 2**26


def store_weights_as_float16(model: onnx.ModelProto) -> int:
    """Replace every large float32 initializer by a float16 one and a cast; return how many.

    Weights too large for float16 stay as they are.
    """
    limit = float(np.finfo(np.float16).max)
    casts = []
    for initializer in model.graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        weights = numpy_helper.to_array(initializer)
        if weights.size < _MIN_ELEMENTS or np.abs(weights).max() > limit:
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.float16"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}.float16"], [name], name=f"{name}.widen", to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return len(casts)


def widen_stored_weights(model: onnx.ModelProto) -> int:
    """Undo `store_weights_as_float16`: float32 initializers of the same values and no casts; return how many."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    kept = []
    widened = 0
    for node in model.graph.node:
        source = stored.get(node.input[0]) if node.op_type == "Cast" and node.domain == "" else None
        if source is None or onnx.helper.get_node_attr_value(node, "to") != onnx.TensorProto.FLOAT:
            kept.append(node)
            continue
        weights = numpy_helper.to_array(source).astype(np.float32)
        source.CopyFrom(numpy_helper.from_array(weights, node.output[0]))
        widened += 1
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return widened


def save_model(model: onnx.ModelProto, path: Path, *, single_file_bytes: int = SINGLE_FILE_BYTES) -> tuple[Path, ...]:
    """Write a model, its weights in `<name>.data` beside it if one file cannot hold them.

    A model that needs both files is checked by its path: `onnx.checker.check_model(path)`.

    Args:
        single_file_bytes: weights up to this many bytes stay in the one file.

    Returns:
        Every file written, `path` first; all of them belong in the artifact's checksums.
    """
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights <= single_file_bytes:
        onnx.save(model, path)
        return (path,)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx appends to an existing file
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=_EXTERNAL_FROM_BYTES,
    )
    # Saving took the weights out of the caller's model.
    onnx.load_external_data_for_model(model, str(path.parent))
    return (path, data)

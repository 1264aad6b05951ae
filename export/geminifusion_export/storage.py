"""Store a graph's weights in half precision on disk; they are computed with in float32 all the same.

Runtimes fold the casts when they load the file, so only the file is smaller: answers change by the rounding of the
weights, nothing else.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_MIN_ELEMENTS = 256  # below that the cast node costs more bytes than it saves


def store_weights_as_float16(model: onnx.ModelProto) -> int:
    """Replace every large float32 initializer by a float16 one and a cast; returns how many.

    Weights whose magnitude float16 cannot hold stay as they are.
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

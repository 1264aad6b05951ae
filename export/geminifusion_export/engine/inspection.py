"""The types that layers compute in: of a parsed network before the build, of an engine after it.

A request for float16 that ends in float32 layers fails here: types are read from the result, never from the request.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geminifusion_runtime.artifact import Precision

if TYPE_CHECKING:
    import tensorrt as trt

# Layers that multiply, by TensorRT's names: nearly all of the arithmetic, so they decide what is "computed in".
_PRODUCTS = frozenset({"CONVOLUTION", "MATRIX_MULTIPLY", "PLUGIN_V3"})
_NETWORK_TYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "FP8": "float8"}
# How the engine inspector writes a tensor's type, alone ("Half") or within a format ("Row major linear FP16 format").
_INSPECTED_TYPES = (
    ("bfloat16", re.compile(r"\b(bfloat16|bf16)\b", re.IGNORECASE)),
    ("float16", re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE)),
    ("float32", re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE)),
    ("int8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("float8", re.compile(r"\bfp8\b", re.IGNORECASE)),
    ("integer", re.compile(r"\b(u?int(32|64|8)|bool)\b", re.IGNORECASE)),
)
_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class LayerTypes:
    """Layers counted by the type of their first output.

    Attributes:
        all: every layer.
        products: convolutions and matrix products; known of a parsed network, not of an engine, whose layers are fused.
        plugins: plugin layers.
    """

    all: dict[str, int]
    products: dict[str, int] = field(default_factory=dict)
    plugins: dict[str, int] = field(default_factory=dict)


def network_types(network: trt.INetworkDefinition) -> LayerTypes:
    """Count the layers of a parsed network; in a strongly typed network the builder keeps their types."""
    every: Counter[str] = Counter()
    products: Counter[str] = Counter()
    plugins: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        output = layer.get_output(0) if layer.num_outputs else None
        if output is None:
            continue
        kind = _NETWORK_TYPES.get(output.dtype.name, "integer")
        every[kind] += 1
        if layer.type.name in _PRODUCTS and kind != "integer":
            products[kind] += 1
        if layer.type.name == "PLUGIN_V3":
            plugins[kind] += 1
    return LayerTypes(all=dict(every), products=dict(products), plugins=dict(plugins))


def inspected_types(report: str) -> LayerTypes:
    """Count the layers of an engine in the inspector's JSON, written at detailed verbosity with a shape set.

    Raises:
        ValueError: the text is no such report; without details the inspector gives names only.
    """
    try:
        layers = json.loads(report)["Layers"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"the engine inspector gave no list of layers ({error})") from None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError("the engine inspector gave layers without details; build with detailed profiling verbosity")
    every: Counter[str] = Counter()
    plugins: Counter[str] = Counter()
    for layer in layers:
        kind = _inspected_type(layer)
        every[kind] += 1
        if "plugin" in str(layer.get("LayerType", "")).lower():
            plugins[kind] += 1
    return LayerTypes(all=dict(every), plugins=dict(plugins))


def type_problem(types: LayerTypes, precision: Precision, *, num_plugins: int) -> str | None:
    """What is wrong with these layers if `precision` and `num_plugins` plugin layers were asked for, or None."""
    found = sum(types.plugins.values())
    if found != num_plugins:
        return f"{found} plugin layers are there where {num_plugins} fusions should run in the plugin" + (
            ": the function's body was imported in their place" if found < num_plugins else ""
        )
    if wrong := {kind: count for kind, count in types.products.items() if kind != precision}:
        return (
            f"convolutions and products in {precision} were asked for, but there are {_counted(wrong)} in other types"
        )
    if wrong := {kind: count for kind, count in types.plugins.items() if kind != precision}:
        return f"fusions in {precision} were asked for, but there are {_counted(wrong)} in other types"
    if not types.all.get(precision):
        return f"{precision} was asked for, but no layer computes in it: {_counted(types.all)}"
    return None


def _inspected_type(layer: dict[str, Any]) -> str:
    for output in layer.get("Outputs") or ():
        text = str(output.get("Format/Datatype", "")) if isinstance(output, dict) else ""
        for name, pattern in _INSPECTED_TYPES:
            if pattern.search(text):
                return name
    return _UNKNOWN


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))

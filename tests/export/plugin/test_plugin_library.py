"""The library as it is shipped: its symbols, its machine code, and NVIDIA's own registry loading it."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from geminifusion_export.kernels.plugin_build import choose_architectures

pytestmark = pytest.mark.slow

PTX, MACHINE_CODE = 1, 2  # kinds of an entry of a fat binary

# In a process of its own: the registry prints, and a failure of native code would end the tests.
REGISTRY_SCRIPT = """
import json
import sys

import numpy as np
import tensorrt_lean_bindings as trt

registry = trt.get_plugin_registry()
registry.load_library(sys.argv[1])
creator = registry.get_creator("PixelwiseFusion", "1", "geminifusion")
kinds = {"int32": (np.int32, trt.PluginFieldType.INT32), "float32": (np.float32, trt.PluginFieldType.FLOAT32)}


def creates(*fields):
    made = [trt.PluginField(name, np.array(values, kinds[kind][0]), kinds[kind][1]) for name, kind, values in fields]
    collection = trt.PluginFieldCollection(made)
    return creator.create_plugin("fusion", collection, trt.TensorRTPhase.BUILD) is not None


answers = {
    "version": trt.__version__,
    "found": [creator.name, creator.plugin_version, creator.plugin_namespace],
    "good": creates(("num_heads", "int32", [8])),
    "missing": creates(),
    "of another type": creates(("num_heads", "float32", [8])),
    "zero": creates(("num_heads", "int32", [0])),
    "two numbers": creates(("num_heads", "int32", [8, 8])),
}
print("ANSWERS " + json.dumps(answers))
"""


def fat_binary_entries(library):
    """Kind and architecture of each entry: the container's headers are not compressed."""
    content = library.read_bytes()
    entries = set()
    for start in re.finditer((0xBA55ED50).to_bytes(4, "little"), content):
        position = start.start()
        header = int.from_bytes(content[position + 6 : position + 8], "little")
        end = position + header + int.from_bytes(content[position + 8 : position + 16], "little")
        position += header
        while header == 16 and position < end:
            kind = int.from_bytes(content[position : position + 2], "little")
            size = int.from_bytes(content[position + 4 : position + 8], "little")
            payload = int.from_bytes(content[position + 8 : position + 16], "little")
            entries.add((kind, int.from_bytes(content[position + 28 : position + 32], "little")))
            position += size + payload
    return entries


def test_it_exports_what_the_registry_looks_for_and_nothing_else(product, symbols):
    assert symbols(product, "--defined-only") == {"getCreators", "setLoggerFinder"}


def test_it_needs_nothing_of_tensorrt_or_cuda(product, symbols):
    undefined = symbols(product, "--undefined-only")
    assert not [name for name in undefined if re.search("nvinfer|nvonnx|TensorRT|^cu[A-Z]|cuda", name)]


def test_it_holds_code_for_every_gpu_the_compiler_knows_and_ptx_for_later_ones(product, nvcc):
    architectures = choose_architectures(nvcc, None)
    expected = {(MACHINE_CODE, architecture) for architecture in architectures} | {(PTX, architectures[-1])}
    assert fat_binary_entries(product) == expected


def test_tensorrts_own_registry_loads_it_and_creates_plugins_from_good_fields_only(product):
    if importlib.util.find_spec("tensorrt_lean_bindings") is None:
        pytest.skip("pip install --no-deps tensorrt-lean-cu13-libs==11.4.0.106 tensorrt-lean-cu13-bindings==11.4.0.106")
    done = subprocess.run(
        [sys.executable, "-c", REGISTRY_SCRIPT, str(product)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.partition("ANSWERS ")[2].splitlines()[0])
    assert answers["version"].startswith("11.4.")
    assert answers["found"] == ["PixelwiseFusion", "1", "geminifusion"]
    refused = ("missing", "of another type", "zero", "two numbers")
    assert answers["good"]
    assert not any(answers[case] for case in refused)
    assert done.stderr.count("PixelwiseFusion got") == len(refused), done.stderr

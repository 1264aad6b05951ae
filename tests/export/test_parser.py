"""NVIDIA's own parser and builder take what we export. TensorRT for RTX builds engines without a GPU.

Each case runs in a process of its own: the parser may abort, and its module stands in for `tensorrt`, whose interface
it shares.
"""

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
from geminifusion_export.kernels.plugin_build import PluginBuildError, build_tensorrt_plugin
from geminifusion_export.precision import to_precision
from geminifusion_runtime.artifact import MODEL_NAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx") is None,
        reason="needs NVIDIA's parser: pip install tensorrt-rtx-cu13==1.7.1.116",
    ),
]

_SCRIPT = textwrap.dedent(
    """
    import json, logging, sys
    from pathlib import Path

    import tensorrt_rtx

    class Builder(tensorrt_rtx.Builder):
        "Builds for a GPU that is not here."

        def create_builder_config(self):
            config = super().create_builder_config()
            config.num_compute_capabilities = 1
            config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM89, 0)
            return config

    tensorrt_rtx.Builder = Builder
    sys.modules["tensorrt"] = tensorrt_rtx

    from geminifusion_runtime.artifact import read_metadata
    from geminifusion_export.engine import build as engine_build
    from geminifusion_export.engine.inspection import network_types
    from geminifusion_runtime.backends.tensorrt.loading import Messages, deserialize, load_plugin
    from geminifusion_export.engine.profiles import default_profiles, parse_profile
    from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError

    class Log(tensorrt_rtx.ILogger):
        def __init__(self):
            tensorrt_rtx.ILogger.__init__(self)

        def log(self, severity, message):
            print(message, file=sys.stderr, flush=True)

    def parse(model, plugin=None):
        log = Log()
        builder = Builder(log)
        if plugin is not None:
            load_plugin(builder.get_plugin_registry(), Path(plugin), Messages())
        network = engine_build._parse(Path(model), builder, log)
        types = network_types(network)
        tensors = [network.get_input(i) for i in range(network.num_inputs)]
        tensors += [network.get_output(i) for i in range(network.num_outputs)]
        print(json.dumps({"products": types.products, "plugins": types.plugins,
                          "tensors": {tensor.name: tensor.dtype.name for tensor in tensors}}))

    def build(model, artifact, precision, profiles, cache):
        metadata = read_metadata(artifact)
        shapes = tuple(map(parse_profile, profiles)) or default_profiles(metadata.size, 2)
        options = engine_build.EngineOptions(optimization_level=0, timing_cache=Path(cache) if cache else None)
        plan = engine_build.serialize(Path(model), metadata, precision, shapes, options, None, 0)
        print(json.dumps({"bytes": len(plan)}))

    def damaged():
        messages = Messages()
        runtime = tensorrt_rtx.Runtime(messages.logger())
        deserialize(b"no engine" * 1000, runtime, messages, "engine.plan")

    def foreign_library(path):
        messages = Messages()
        load_plugin(Builder(messages.logger()).get_plugin_registry(), Path(path), messages)

    try:
        locals()[sys.argv[1]](*json.loads(sys.argv[2]))
    except TensorRtError as error:
        sys.exit(f"REFUSED: {error}")
    """
)


def _run(function, *arguments):
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, function, json.dumps([*map(_plain, arguments)])],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def _plain(argument):
    return argument if argument is None or isinstance(argument, (str, list)) else str(argument)


def _answer(run):
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The plugin library, compiled here."""
    packaged = importlib.util.find_spec("kernel_lens")  # ships TensorRT's headers
    headers = None if packaged is None else Path(packaged.submodule_search_locations[0]) / "include" / "tensorrt"
    try:
        return build_tensorrt_plugin(tmp_path_factory.mktemp("plugin"), architectures=(89,), headers=headers)
    except PluginBuildError as error:
        pytest.skip(f"{error}; or for the headers: pip install --no-deps kernel-lens==2.0.1")


def _renamed(artifact, path, **attributes):
    """The model with other attributes on its fusions; None takes one away."""
    model = onnx.load(artifact / MODEL_NAME)
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type == OP_TYPE:
            kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
            changed = [
                onnx.helper.make_attribute(name, value) for name, value in attributes.items() if value is not None
            ]
            del node.attribute[:]
            node.attribute.extend(kept + changed)
    onnx.save(model, path)
    return path


def test_function_body_is_imported_where_no_plugin_is_loaded(artifact):
    answer = _answer(_run("parse", artifact / MODEL_NAME))
    assert answer["plugins"] == {}
    assert answer["products"].keys() == {"float32"}
    assert answer["tensors"] == {
        "rgb": "UINT8",
        "depth": "FLOAT",
        "labels": "UINT8",
        "confidence": "FLOAT",
        "gate": "FLOAT",
    }


def test_engine_with_the_default_profiles_is_built_and_its_timings_kept(artifact, family_member, tmp_path):
    _, model = family_member("mit_b0", "geminifusion", ("rgb", "depth"))
    cache = tmp_path / "timings" / "cache"
    answer = _answer(_run("build", model, artifact, "float32", [], cache))
    assert answer["bytes"] > 1e5
    assert cache.is_file()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_in_every_product_and_builds(artifact, family_member, tmp_path, precision):
    _, full = family_member("mit_b0", "geminifusion", ("rgb", "depth"))
    model = tmp_path / MODEL_NAME
    onnx.save(to_precision(onnx.load(full), precision), model)
    answer = _answer(_run("parse", model))
    assert answer["products"].keys() == {precision}
    assert answer["tensors"]["confidence"] == "FLOAT"
    assert _answer(_run("build", model, artifact, precision, ["1x32x32:1x96x128:2x160x160"], None))["bytes"] > 1e5


def test_half_precision_that_the_graph_lacks_is_refused_before_the_build(artifact):
    run = _run("build", artifact / MODEL_NAME, artifact, "float16", ["1x32x32:1x96x128:2x160x160"], None)
    assert run.returncode == 1
    assert "REFUSED: the parsed network is not what was asked for: convolutions and products in float16" in run.stderr


def test_profile_below_the_networks_smallest_frame_is_refused(artifact):
    run = _run("build", artifact / MODEL_NAME, artifact, "float32", ["1x8x8:1x96x128:2x160x160"], None)
    assert run.returncode == 1
    assert "REFUSED: " in run.stderr
    assert "smallest shape of a profile" in run.stderr or "could not build" in run.stderr


def test_plugin_is_selected_where_it_is_loaded(artifact, plugin):
    # the RTX parser aborts once it has made the plugin, so its log is what there is to assert on
    run = _run("parse", artifact / MODEL_NAME, plugin)
    assert "Importing this node as a plugin" in run.stderr or "as plugin" in run.stderr
    assert "Successfully created plugin" in run.stderr


def test_without_a_namespace_on_the_node_the_function_wins_over_the_plugin(artifact, plugin, tmp_path):
    model = _renamed(artifact, tmp_path / MODEL_NAME, plugin_namespace=None, plugin_version=None)
    run = _run("parse", model, plugin)
    assert _answer(run)["plugins"] == {}
    assert "Successfully created plugin" not in run.stderr


def test_plugin_of_another_version_is_a_parse_error_without_the_function(artifact, plugin, tmp_path):
    path = _renamed(artifact, tmp_path / MODEL_NAME, plugin_version="99")
    model = onnx.load(path)
    del model.functions[:]
    onnx.save(model, path)
    run = _run("parse", path, plugin)
    assert run.returncode == 1
    assert "REFUSED: TensorRT's parser refuses" in run.stderr
    assert OP_TYPE in run.stderr


def test_graph_of_mixed_types_is_refused(artifact, tmp_path):
    model = onnx.load(artifact / MODEL_NAME)
    products = {name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") for name in node.input}
    weight = next(
        tensor
        for tensor in model.graph.initializer
        if tensor.name in products and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    )
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    onnx.save(model, tmp_path / MODEL_NAME)
    run = _run("parse", tmp_path / MODEL_NAME)
    assert run.returncode == 1
    assert "REFUSED: TensorRT's parser refuses" in run.stderr


def test_damaged_engine_is_refused_in_words():
    run = _run("damaged")
    assert run.returncode == 1
    assert "REFUSED: TensorRT cannot load engine.plan" in run.stderr


def test_library_that_is_no_plugin_is_refused_in_words(tmp_path):
    import _ctypes  # a shared library that every Python has

    run = _run("foreign_library", _ctypes.__file__)
    assert run.returncode == 1
    assert "REFUSED: TensorRT cannot load the plugin" in run.stderr


_FAMILY = [
    ("mit_b0", "geminifusion"),
    ("mit_b0", "none"),
    ("mit_b0", "token_exchange"),
    ("mit_b0", "channel_exchange"),
    ("mit_b0", "cross_attention"),
    ("swin_tiny", "geminifusion"),
]


@pytest.mark.parametrize(("encoder", "fusion"), _FAMILY)
def test_member_of_the_family_builds_with_free_sizes(artifact, family_member, encoder, fusion):
    _, path = family_member(encoder, fusion, ("rgb", "depth"))
    run = _run("build", path, artifact, "float32", ["1x32x32:1x96x128:2x160x160"], None)
    assert _answer(run)["bytes"] > 1e5

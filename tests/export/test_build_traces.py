"""An artifact says nothing of the machine that made it, and the same checkpoint gives the same bytes."""

import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from geminifusion_export.build_traces import LAYER_NAMES, remove_build_traces
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.machine import describe_machine

# Where files lie on any machine, and what tracers write of them.
LOCAL = re.compile(
    rb"/(?:root|home|tmp|usr|opt|work|Users|private|mnt|workspace)/|[A-Z]:\\\\[A-Z]"
    rb"|20\d\d-\d\d-\d\dT\d\d:|site-packages|stack_trace|File \"|\.py(?:\"|:\d|, line)"
)
THIS_MACHINE = [
    text.encode()
    for text in (
        str(Path.home()),
        tempfile.gettempdir(),
        str(Path(__file__).parents[2]),
        sys.prefix,
        platform.release(),
        describe_machine().cpu,
    )
    if len(text) > 3
]

EXPORT = """
import dataclasses, sys
from pathlib import Path
from geminifusion_export.graph import SegmentationGraph, export_onnx
from geminifusion_model import GeminiFusion
from geminifusion_model.checkpoint import read_info
from geminifusion_model.encoder_sizes import ENCODER_SIZES, MIT_SIZES
for table in (ENCODER_SIZES, MIT_SIZES):
    table["mit_b0"] = dataclasses.replace(table["mit_b0"], depths=(1, 1, 1, 1))
checkpoint = Path(sys.argv[1])
export_onnx(SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), read_info(checkpoint).task), Path(sys.argv[2]))
"""


def contents_of(directory):
    """Every byte of an artifact, by the file or the archive's member that it is in."""
    for path in sorted(directory.iterdir()):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())
        else:
            yield path.name, path.read_bytes()


def remarks_about_the_machine(directory):
    found = {}
    for name, content in contents_of(directory):
        # Images in base64 and weights are no text; a chance match of these has a probability of a millionth.
        if match := LOCAL.search(content) or next((one for one in THIS_MACHINE if one in content), None):
            found[name] = match
    return found


def test_an_export_says_nothing_of_the_machine(artifact):
    assert remarks_about_the_machine(artifact) == {}


def test_the_bundled_artifact_says_nothing_of_a_machine():
    assert remarks_about_the_machine(artifact_path()) == {}


def noted(described, **kept):
    described.doc_string = "/home/somebody/network.py"
    for key, value in {"pkg.torch.onnx.stack_trace": 'File "/home/somebody/network.py"', **kept}.items():
        described.metadata_props.add(key=key, value=value)
    return described


def test_notes_are_removed_wherever_a_model_has_some_and_layers_keep_their_names():
    layers = {LAYER_NAMES: "['', 'network.encoder', 'add']"}
    axes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    inner = helper.make_graph(
        [noted(helper.make_node("Identity", ["x"], ["z"]), **layers)],
        "inner",
        [],
        [noted(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"]))],
    )
    branch = noted(helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner))
    graph = helper.make_graph(
        [branch],
        "outer",
        [noted(axes)],
        [noted(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]))],
        [noted(helper.make_tensor("condition", TensorProto.BOOL, [], [True]))],
        value_info=[noted(helper.make_tensor_value_info("w", TensorProto.FLOAT, ["n"]))],
    )
    body = noted(helper.make_node("Identity", ["a"], ["b"]))
    function = helper.make_function("own", "Copy", ["a"], ["b"], [body], [helper.make_opsetid("", 20)])
    model = helper.make_model(noted(graph), functions=[noted(function)], opset_imports=[helper.make_opsetid("", 20)])
    noted(model)
    without = onnx.ModelProto()
    without.CopyFrom(model)
    remove_build_traces(without)
    assert not LOCAL.search(without.SerializeToString())
    assert without.SerializeToString().count(layers[LAYER_NAMES].encode()) == 2
    assert [node.op_type for node in without.graph.node] == ["If"]
    assert without.graph.initializer[0].int32_data == model.graph.initializer[0].int32_data


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes_elsewhere(checkpoint, artifact, tmp_path):
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TZ": "Asia/Tokyo",
    }
    again = tmp_path / "again.onnx"
    subprocess.run([sys.executable, "-c", EXPORT, checkpoint, again], check=True, env=environment, cwd=tmp_path)
    assert again.read_bytes() == (artifact / "model.onnx").read_bytes()

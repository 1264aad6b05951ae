"""Artifacts of an attacker: each file is refused in a sentence, without waiting, within bounds; V22, V23."""

import dataclasses
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from geminifusion_runtime.artifact import (
    ArtifactError,
    GoldenSet,
    open_artifact,
    read_metadata,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.backends.protocol import BackendError
from geminifusion_runtime.golden_set import read_golden_set
from geminifusion_runtime.model import Model
from geminifusion_runtime.onnx_external_data import external_files
from geminifusion_runtime.protobuf_wire import WireError

MOST_BYTES = 2**23


@pytest.fixture
def artifact(tiny_artifact, tmp_path):
    return Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def link(target):
    def replace(path):
        path.unlink()
        path.symlink_to(target)

    return replace


def content(text):
    return lambda path: path.write_text(text)


def folder(path):
    path.unlink()
    path.mkdir()


def moved_out(path):
    target = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (fifo, "no regular file"),
        (folder, "no regular file"),
        (link("/dev/zero"), "outside"),
        (link("/etc/passwd"), "outside"),
        (moved_out, "is a link to a file outside"),
        (content("[" * 200_000), "nested far too deep"),
        (content('{"a":' * 100_000), "nested far too deep"),
        (content("9" * 5000), "cannot be read as JSON"),
        (content(" " * 1_100_000 + "{}"), "has 1100002 bytes; expected at most 1048576"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "cannot be read as JSON"),
    ],
    ids=["fifo", "folder", "device", "secret", "moved", "lists", "objects", "digits", "large", "bytes"],
)
def test_metadata_that_is_no_small_regular_json_file_is_refused(artifact, little_memory, replace, message):
    replace(artifact / "metadata.json")
    with pytest.raises(ArtifactError, match=message):
        open_artifact(artifact)


@pytest.mark.parametrize(
    "replace", [fifo, folder, link("/dev/zero"), moved_out], ids=["fifo", "folder", "zero", "moved"]
)
def test_a_file_that_is_no_regular_one_inside_is_refused(artifact, replace):
    replace(artifact / "model.onnx")
    with pytest.raises(ArtifactError, match=r"no regular file|is a link to a file outside"):
        open_artifact(artifact)


def test_a_link_inside_the_artifact_is_followed(artifact):
    (artifact / "model.onnx").rename(artifact / "weights")
    (artifact / "model.onnx").symlink_to("weights")
    assert open_artifact(artifact).name == "tiny"


def edited(artifact, change):
    facts = json.loads((artifact / "metadata.json").read_text())
    change(facts)
    (artifact / "metadata.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["size"].update(reference=[100_000, 100_000]),
        lambda facts: facts["size"].update(reference=[20_000, 20_000]),
        lambda facts: facts["size"].update(reference=[-1, 64]),
        lambda facts: facts["size"].update(max_pixels=10**12),
        lambda facts: facts["size"].update(shorter_side=10**6),
        lambda facts: facts["files"].update({f"{index}.bin": "0" * 64 for index in range(64)}),
    ],
    ids=["reference", "area", "negative", "pixels", "side", "files"],
)
def test_sizes_beyond_any_model_are_refused(artifact, little_memory, change):
    edited(artifact, change)
    with pytest.raises(ArtifactError, match="does not fit the schema"):
        open_artifact(artifact)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.update(modalities=[0] * 100_000),
        lambda facts: facts.update({f"key {index}": 0 for index in range(50_000)}),
    ],
    ids=["values", "keys"],
)
def test_an_error_names_no_more_values_than_one_reads(artifact, change):
    edited(artifact, change)
    with pytest.raises(ArtifactError, match=r"\d values do not") as raised:
        open_artifact(artifact)
    assert len(str(raised.value)) < 500


def with_external_weights(artifact, *, location="weights.bin", named=False):
    """The tiny graph with a constant in a file of its own, sealed again."""
    model = onnx.load(artifact / "model.onnx")
    tensor = numpy_helper.from_array(np.zeros((64, 64), np.float32), "unused")
    model.graph.initializer.append(tensor)
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * 64 * 64))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (artifact / "weights.bin").write_bytes(bytes(4 * 64 * 64))
    (artifact / "model.onnx").write_bytes(model.SerializeToString())
    names = ["model.onnx", *(["weights.bin"] if named else [])]
    metadata = read_metadata(artifact)
    write_metadata(artifact, dataclasses.replace(metadata, files={name: sha256_of(artifact / name) for name in names}))


def test_weights_in_a_file_without_a_checksum_are_refused(artifact):
    with_external_weights(artifact)
    with pytest.raises(
        ArtifactError, match=r"takes weights from 'weights\.bin', of which metadata\.json has no checksum"
    ):
        Model.open(artifact, threads=1)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "./weights.bin"])
def test_weights_elsewhere_are_refused(artifact, location):
    with_external_weights(artifact, location=location, named=True)
    with pytest.raises(ArtifactError, match="takes weights from"):
        open_artifact(artifact)


def test_weights_in_a_file_with_a_checksum_are_served(artifact):
    with_external_weights(artifact, named=True)
    assert Model.open(artifact, threads=1).backend.name == "onnxruntime-cpu"


def test_external_weights_are_found_wherever_a_tensor_may_be(tmp_path):
    def external(name):
        tensor = TensorProto(name=name, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=name)
        return tensor

    inner = onnx.GraphProto(initializer=[external("in a branch")])
    node = onnx.NodeProto(
        attribute=[onnx.AttributeProto(t=external("in an attribute"), tensors=[external("in a list")], g=inner)]
    )
    sparse = onnx.SparseTensorProto(values=external("sparse values"), indices=external("sparse indices"))
    model = onnx.ModelProto(
        graph=onnx.GraphProto(node=[node], initializer=[external("plain")], sparse_initializer=[sparse]),
        functions=[
            onnx.FunctionProto(node=[onnx.NodeProto(attribute=[onnx.AttributeProto(t=external("in a function"))])])
        ],
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "model.onnx", max_bytes=2**20) == {
        "plain",
        "in an attribute",
        "in a list",
        "in a branch",
        "in a function",
        "sparse values",
        "sparse indices",
    }


@pytest.mark.parametrize(
    "data",
    [b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 20, b"\x3b\x3b\x3b", b"\x3a\x80"],
    ids=["too long", "no number", "group", "cut"],
)
def test_what_is_no_protobuf_message_is_an_error_of_its_own(tmp_path, data):
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(WireError):
        external_files(tmp_path / "model.onnx", max_bytes=2**20)


def test_a_graph_that_the_runtime_does_not_take_is_refused_in_a_sentence(artifact):
    graph = onnx.load(artifact / "model.onnx")
    graph.graph.node[0].op_type = "\x1b[2JNone"
    onnx.save(graph, artifact / "model.onnx")
    metadata = read_metadata(artifact)
    files = metadata.files | {"model.onnx": sha256_of(artifact / "model.onnx")}
    write_metadata(artifact, dataclasses.replace(metadata, files=files))
    with pytest.raises(BackendError, match="ONNX Runtime cannot load the graph") as refused:
        Model.open(artifact, threads=1)
    assert str(refused.value).isprintable()


def test_a_graph_nested_without_end_is_refused(tmp_path):
    data = b""
    for _ in range(200):  # node, attribute and graph in each other, by hand: protobuf would not write it
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            length, coded = len(data), b""
            while length >= 0x80:
                coded, length = coded + bytes([length & 0x7F | 0x80]), length >> 7
            data = tag + coded + bytes([length]) + data
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data)
    with pytest.raises(WireError, match="nested too deep"):
        external_files(path, max_bytes=2**20)


def test_openvino_weights_without_a_checksum_are_refused(artifact):
    (artifact / "network.xml").write_text("<net/>")
    (artifact / "network.bin").write_bytes(b"weights")
    metadata = read_metadata(artifact)
    files = metadata.files | {"network.xml": sha256_of(artifact / "network.xml")}
    write_metadata(artifact, dataclasses.replace(metadata, files=files))
    with pytest.raises(ArtifactError, match=r"OpenVINO would open .*network\.bin"):
        open_artifact(artifact)


def sealed_golden(artifact):
    metadata = read_metadata(artifact)
    metadata = dataclasses.replace(
        metadata,
        files=metadata.files | {"golden.npz": sha256_of(artifact / "golden.npz")},
        golden=GoldenSet(file="golden.npz", frames=2, source="an attacker", license="none"),
    )
    write_metadata(artifact, metadata)
    return metadata


def header_of(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def test_a_golden_set_of_zeros_that_unpack_to_gigabytes_is_refused(artifact, little_memory):
    with zipfile.ZipFile(artifact / "golden.npz", "w") as archive:
        archive.writestr("rgb.npy", header_of("(1,)") + bytes(4))
    # What the archive announces, without the gigabytes.
    data = bytearray((artifact / "golden.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**31 - 1).to_bytes(4, "little")
    (artifact / "golden.npz").write_bytes(data)
    with pytest.raises(ArtifactError, match="more than 32 arrays or 536870912 bytes"):
        read_golden_set(artifact, sealed_golden(artifact))


@pytest.mark.parametrize("shape", ["(1000000,1000000,3)", "(-1,)", "(1,)"])
def test_a_golden_array_that_announces_more_than_it_has_is_refused(artifact, little_memory, shape):
    with zipfile.ZipFile(artifact / "golden.npz", "w") as archive:
        archive.writestr("rgb.npy", header_of(shape) + bytes(40))
    with pytest.raises(ArtifactError, match="has not the bytes that it announces"):
        read_golden_set(artifact, sealed_golden(artifact))


def test_golden_pickles_are_refused(artifact):
    np.savez(artifact / "golden.npz", rgb=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="has not the bytes that it announces"):
        read_golden_set(artifact, sealed_golden(artifact))


def test_refusals_leave_no_file_open(artifact):
    fifo(artifact / "metadata.json")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(ArtifactError):
            read_metadata(artifact)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10

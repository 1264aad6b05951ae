"""A translator's artifact around a graph that ONNX Runtime runs in well under a millisecond."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ModalitySpec,
    OutputSpec,
    SizePolicy,
    TranslationMetadata,
    TranslationTraining,
    sha256_of,
    write_metadata,
)

RGB = ModalitySpec(
    name="rgb",
    dtype="uint8",
    channels=3,
    unit="intensity",
    encoding="imagenet",
    range=(0, 1),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
EDGE = ModalitySpec(
    name="edge", dtype="uint8", channels=1, unit="intensity", encoding="raw", range=(0, 1), mean=(0.5,), std=(0.5,)
)


def translator_graph(kind):
    """`image`: rgb with the edge added to every channel, as bytes; `depth`: a tenth of their mean, as metres."""
    axis = numpy_helper.from_array(np.array([3], np.int64), "axis")
    tenth = numpy_helper.from_array(np.float32(0.1), "tenth")
    nodes = [helper.make_node("Unsqueeze", ["edge", "axis"], ["edge_channel"])]
    if kind == "image":
        nodes.append(helper.make_node("Add", ["rgb", "edge_channel"], ["image"]))
        output = helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", "H", "W", 3])
    else:
        nodes += [
            helper.make_node("Concat", ["rgb", "edge_channel"], ["all"], axis=3),
            helper.make_node("Cast", ["all"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["numbers", "axis"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "tenth"], ["depth"]),
        ]
        output = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", "H", "W"])
    inputs = [
        helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["B", "H", "W", 3]),
        helper.make_tensor_value_info("edge", TensorProto.UINT8, ["B", "H", "W"]),
    ]
    graph = helper.make_graph(nodes, "translator", inputs, [output], [axis, tenth] if kind == "depth" else [axis])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def expected_output(kind, rgb, edge):
    if kind == "image":
        return rgb + edge[..., None]
    mean = np.concatenate([rgb, edge[..., None]], axis=2).astype(np.float32).mean(axis=2, dtype=np.float32)
    return mean * np.float32(0.1)


def write_translator(directory, kind="image", *, name=None, scores=None):
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(translator_graph(kind), directory / MODEL_NAME)
    content = {"image": "normal", "depth": "depth"}[kind]
    metadata = TranslationMetadata(
        schema_version=1,
        name=name or f"to-{kind}",
        version="1",
        encoder="sum",
        fusion="none",
        modalities=(RGB, EDGE),
        size=SizePolicy(min_side=16, max_pixels=128 * 160, reference=(64, 96), multiple_of=32),
        output=OutputSpec(name=content, kind=kind, content=content, range=(0, 255) if kind == "image" else (0.3, 10)),
        precision="float32",
        opset=20,
        files={MODEL_NAME: sha256_of(directory / MODEL_NAME)},
        checkpoint_sha256="0" * 64,
        training=TranslationTraining(data="none", summary="a sum", scores=scores or {}),
        weights_license="Apache-2.0",
        data_license="none",
    )
    write_metadata(directory, metadata)
    return directory


METRES_PER_GREY = np.float32(4 / 255)


def write_synthesizer(directory, *, modalities=(RGB,), distances=(0.3, 10), makes="depth"):
    """An artifact that makes depth of rgb: the mean of the channels, white 4 m away."""
    directory.mkdir(parents=True, exist_ok=True)
    axis = numpy_helper.from_array(np.array([3], np.int64), "axis")
    metres = numpy_helper.from_array(METRES_PER_GREY, "metres")
    inputs = [
        helper.make_tensor_value_info(
            spec.name, TensorProto.UINT8, ["B", "H", "W", 3] if spec.channels == 3 else ["B", "H", "W"]
        )
        for spec in modalities
    ]
    nodes = [
        helper.make_node("Cast", ["rgb"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axis"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "metres"], ["depth"]),
    ]
    output = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", "H", "W"])
    graph = helper.make_graph(nodes, "synthesizer", inputs, [output], [axis, metres])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), directory / MODEL_NAME
    )
    metadata = TranslationMetadata(
        schema_version=1,
        name="to-depth",
        version="1",
        encoder="mean",
        fusion="none",
        modalities=modalities,
        size=SizePolicy(min_side=16, max_pixels=128 * 160, reference=(64, 96), multiple_of=32),
        output=OutputSpec(name=makes, kind="depth", content="depth", range=distances),
        precision="float32",
        opset=20,
        files={MODEL_NAME: sha256_of(directory / MODEL_NAME)},
        checkpoint_sha256="0" * 64,
        training=TranslationTraining(data="none", summary="a mean"),
        weights_license="Apache-2.0",
        data_license="none",
    )
    write_metadata(directory, metadata)
    return directory


def synthesized_depth(rgb):
    """What that artifact makes of an image."""
    return rgb.astype(np.float32).mean(axis=2, dtype=np.float32) * METRES_PER_GREY

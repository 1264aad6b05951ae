"""What several areas of the tests share: a tiny but real artifact, and a server that runs it."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.requirements import skip_or_fail

from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ClassSpec,
    ModalitySpec,
    SegmentationMetadata,
    SizePolicy,
    Training,
    sha256_of,
    write_metadata,
)


def tiny_graph(*, with_depth: bool = True) -> onnx.ModelProto:
    """A graph with the contract's signature whose four labels depend on each pixel's colour and depth.

    label = 2 * (mean of rgb > 128) + (depth > 2 m); confidence and gate are means at a quarter of the size. Without
    depth nothing is far, and the gate is 0.
    """
    half = numpy_helper.from_array(np.float32(128.0), "half")
    two_metres = numpy_helper.from_array(np.float32(2.0), "two_metres")
    beyond_white = numpy_helper.from_array(np.float32(256.0), "beyond_white")
    two = numpy_helper.from_array(np.uint8(2), "two")
    top = numpy_helper.from_array(np.float32(255.0), "top")
    channel_axis = numpy_helper.from_array(np.array([3], np.int64), "channel_axis")
    plane_axis = numpy_helper.from_array(np.array([1], np.int64), "plane_axis")

    def quarter(source: str, target: str) -> list[onnx.NodeProto]:
        pool = {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}
        return [
            helper.make_node("Unsqueeze", [source, "plane_axis"], [f"{target}_plane"]),
            helper.make_node("AveragePool", [f"{target}_plane"], [f"{target}_pooled"], **pool),
            helper.make_node("Squeeze", [f"{target}_pooled", "plane_axis"], [target]),
        ]

    nodes = [
        helper.make_node("Cast", ["rgb"], ["rgb_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["rgb_float", "channel_axis"], ["grey"], keepdims=0),
        helper.make_node("Greater", ["grey", "half"], ["is_bright"]),
        helper.make_node("Greater", ["depth", "two_metres"] if with_depth else ["grey", "beyond_white"], ["is_far"]),
        helper.make_node("Cast", ["is_bright"], ["bright"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["is_far"], ["far"], to=TensorProto.UINT8),
        helper.make_node("Mul", ["bright", "two"], ["twice_bright"]),
        helper.make_node("Add", ["twice_bright", "far"], ["labels"]),
        helper.make_node("Div", ["grey", "top"], ["lightness"]),
        helper.make_node("Cast", ["is_far"], ["farness"], to=TensorProto.FLOAT),
        *quarter("lightness", "confidence"),
        *quarter("farness", "gate"),
    ]
    inputs = [helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["B", "H", "W", 3])]
    if with_depth:
        inputs.append(helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", "H", "W"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, ["B", "H", "W"]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["B", "h", "w"]),
            helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["B", "h", "w"]),
        ],
        [half, two_metres if with_depth else beyond_white, two, top, channel_axis, plane_axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_tiny_artifact(
    directory: Path,
    *,
    name: str = "tiny",
    version: str = "1",
    depth_optional: bool = False,
    with_depth: bool = True,
) -> Path:
    """Write a whole artifact around `tiny_graph`; images above 120x160 pixels are reduced."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(tiny_graph(with_depth=with_depth), directory / MODEL_NAME)
    rgb = ModalitySpec(
        name="rgb",
        dtype="uint8",
        channels=3,
        unit="intensity",
        encoding="imagenet",
        range=(0, 255),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    depth = ModalitySpec(
        name="depth",
        dtype="float32",
        channels=1,
        unit="metre",
        encoding="metric",
        range=(0, 10),
        invalid=(0.0, None),
        mean=(0.0,),
        std=(1.0,),
        optional=depth_optional,
    )
    write_metadata(
        directory,
        SegmentationMetadata(
            schema_version=1,
            name=name,
            version=version,
            encoder="threshold",
            fusion="none",
            modalities=(rgb, depth) if with_depth else (rgb,),
            size=SizePolicy(min_side=16, max_pixels=120 * 160, reference=(48, 64)),
            classes=(
                ClassSpec(id=0, name="dark near", color=(120, 20, 20)),
                ClassSpec(id=1, name="dark far", color=(20, 120, 20)),
                ClassSpec(id=2, name="bright near", color=(20, 20, 220)),
                ClassSpec(id=3, name="bright far", color=(220, 220, 20)),
            ),
            ignore_index=255,
            precision="float32",
            opset=20,
            files={MODEL_NAME: sha256_of(directory / MODEL_NAME)},
            checkpoint_sha256="0" * 64,
            training=Training(data="none", summary="two thresholds"),
            weights_license="Apache-2.0",
            data_license="none",
        ),
    )
    return directory


@pytest.fixture(scope="session")
def make_artifact() -> Callable[..., Path]:
    """`write_tiny_artifact`, for tests that need another name, or one to damage."""
    return write_tiny_artifact


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a verified artifact that ONNX Runtime runs in well under a millisecond."""
    return write_tiny_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """One scene as arrays and as the files a client posts."""

    rgb: NDArray[np.uint8]
    depth_mm: NDArray[np.uint16]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """What the tiny graph answers."""
        bright = self.rgb.astype(np.float32).mean(axis=2) > 128
        far = self.depth_mm * np.float32(0.001) > 2
        return (2 * bright + far).astype(np.uint8)

    def files(self, **replaced: bytes) -> dict[str, bytes]:
        """The parts of a request."""
        return {"rgb": encode(".png", self.rgb[..., ::-1]), "depth": encode(".png", self.depth_mm), **replaced}


def encode(suffix: str, image: NDArray[Any], *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def pair_of_blobs(seed: int = 0, height: int = 48, width: int = 64) -> Pair:
    """Soft blobs of colour and distance, with a hole in the depth; differs with the seed."""
    rng = np.random.default_rng(seed)
    rgb = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    depth = cv2.resize(rng.integers(500, 4000, (6, 8)).astype(np.uint16), (width, height))
    depth[: height // 8, : width // 8] = 0
    return Pair(rgb=rgb, depth_mm=depth)


@pytest.fixture
def pair() -> Pair:
    return pair_of_blobs()


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Pair]:
    """`make_pair(seed, height, width)`: a scene of its own for every seed."""
    return pair_of_blobs


def spec_of(
    name: str, encoding: str = "raw", unit: str = "intensity", channels: int = 1, **changed: Any
) -> ModalitySpec:
    """A modality with plain numbers; `changed` replaces any field."""
    values: dict[str, Any] = {
        "name": name,
        "encoding": encoding,
        "unit": unit,
        "channels": 3 if encoding in ("imagenet", "hha") else channels,
        "dtype": "uint8" if unit == "intensity" else "float32",
        "range": {"intensity": (0.0, 1.0), "metre": (0.0, 10.0), "count": (28_000.0, 31_000.0)}[unit],
    }
    values |= {"mean": (0.0,) * values["channels"], "std": (1.0,) * values["channels"]}
    return ModalitySpec(**(values | changed))


def sensor_graph(specs: Sequence[ModalitySpec]) -> onnx.ModelProto:
    """A graph of any modalities: bit i of a label says whether modality i is above the middle of its range there.

    Confidence, gate and the weights of the modalities beside the first are one half.
    """
    nodes, constants, inputs = [], [], []
    total = "no_bit"
    for index, spec in enumerate(specs):
        full_scale = 255.0 if spec.unit == "intensity" else 1.0
        middle = np.float32(full_scale * sum(spec.range) / 2)
        constants += [
            numpy_helper.from_array(middle, f"middle_{spec.name}"),
            numpy_helper.from_array(np.uint8(1 << index), f"bit_{spec.name}"),
        ]
        value = TensorProto.UINT8 if spec.dtype == "uint8" else TensorProto.FLOAT
        shape = ["B", "H", "W", 3] if spec.channels == 3 else ["B", "H", "W"]
        inputs.append(helper.make_tensor_value_info(spec.name, value, shape))
        nodes.append(helper.make_node("Cast", [spec.name], [f"float_{spec.name}"], to=TensorProto.FLOAT))
        if spec.channels == 3:
            nodes.append(
                helper.make_node(
                    "ReduceMean", [f"float_{spec.name}", "channel_axis"], [f"grey_{spec.name}"], keepdims=0
                )
            )
        grey = f"grey_{spec.name}" if spec.channels == 3 else f"float_{spec.name}"
        nodes += [
            helper.make_node("Greater", [grey, f"middle_{spec.name}"], [f"above_{spec.name}"]),
            helper.make_node("Cast", [f"above_{spec.name}"], [f"one_{spec.name}"], to=TensorProto.UINT8),
            helper.make_node("Mul", [f"one_{spec.name}", f"bit_{spec.name}"], [f"term_{spec.name}"]),
            helper.make_node("Add", [total, f"term_{spec.name}"], [f"total_{spec.name}"]),
        ]
        total, plane = f"total_{spec.name}", grey
    constants += [
        numpy_helper.from_array(np.array([3], np.int64), "channel_axis"),
        numpy_helper.from_array(np.array([1], np.int64), "plane_axis"),
        numpy_helper.from_array(np.uint8(0), "no_bit"),
        numpy_helper.from_array(np.float32(0.0), "zero"),
        numpy_helper.from_array(np.float32(0.5), "half"),
        numpy_helper.from_array(np.array([1, len(specs) - 1, 1, 1], np.int64), "repeats"),
    ]
    nodes += [
        helper.make_node("Identity", [total], ["labels"]),
        helper.make_node("IsNaN", [plane], ["never"]),  # anything of the right size, of which only the size is used
        helper.make_node("Cast", ["never"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["size", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["halves"]),
        helper.make_node("Unsqueeze", ["halves", "plane_axis"], ["plane"]),
        helper.make_node("AveragePool", ["plane"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1),
        helper.make_node("Squeeze", ["pooled", "plane_axis"], ["confidence"]),
        helper.make_node("Squeeze", ["pooled", "plane_axis"], ["gate"]),
    ]
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.UINT8, ["B", "H", "W"]),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["B", "h", "w"]),
        helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["B", "h", "w"]),
    ]
    if len(specs) > 2:
        nodes.append(helper.make_node("Tile", ["pooled", "repeats"], ["modality_weights"]))
        outputs.append(helper.make_tensor_value_info("modality_weights", TensorProto.FLOAT, ["B", "E", "h", "w"]))
    graph = helper.make_graph(nodes, "sensors", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_sensor_artifact(directory: Path, specs: Sequence[ModalitySpec], **changed: Any) -> Path:
    """Write a whole artifact around `sensor_graph`; `changed` replaces any field of the metadata."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(sensor_graph(specs), directory / MODEL_NAME)
    values: dict[str, Any] = {
        "schema_version": 1,
        "name": directory.name,
        "version": "1",
        "encoder": "threshold",
        "fusion": "none",
        "modalities": tuple(specs),
        "size": SizePolicy(min_side=16, max_pixels=120 * 160, reference=(48, 64)),
        "classes": tuple(
            ClassSpec(id=i, name=f"class {i}", color=(i, 16 * i, 255 - i)) for i in range(2 ** len(specs))
        ),
        "ignore_index": 255,
        "precision": "float32",
        "opset": 20,
        "files": {MODEL_NAME: sha256_of(directory / MODEL_NAME)},
        "checkpoint_sha256": "0" * 64,
        "training": Training(data="none", summary="a threshold for each modality"),
        "weights_license": "Apache-2.0",
        "data_license": "none",
    }
    write_metadata(directory, SegmentationMetadata(**(values | changed)))
    return directory


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ModalitySpec]:
    """`spec_of`, for tests of modalities that the tiny artifact does not have."""
    return spec_of


@pytest.fixture(scope="session")
def make_sensor_artifact() -> Callable[..., Path]:
    """`write_sensor_artifact`: one to four modalities of any kind, with labels that are known."""
    return write_sensor_artifact


@pytest.fixture(scope="session")
def original_weights() -> Callable[..., dict[str, Any]]:
    """`original_weights(case, num_modalities)`: a golden case's weights by the rule, named as the original's.

    With `num_modalities` 2, a DeLiVER network of four modalities becomes one of two.
    """
    spec = importlib.util.spec_from_file_location("golden_rule", Path(__file__).parent / "model" / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)

    def weights(case: str, num_modalities: int | None = None) -> dict[str, Any]:
        shapes = {
            key: shape
            for key, shape in golden.MANIFEST["cases"][case]["params"]
            if num_modalities is None or not ("extra_score" in key or ".ln_2." in key or ".ln_3." in key)
        }
        tensors = {key: golden.torch.from_numpy(golden.tensor_value(key, shape)) for key, shape in shapes.items()}
        return dict(golden.with_integers(tensors))

    return weights


_ROOT = Path(__file__).parents[1]
_PACKAGES = (
    *("geminifusion_runtime", "geminifusion_model", "geminifusion_export"),
    *("geminifusion_service", "geminifusion"),
)


def _texts(path: Path) -> Iterator[str]:
    """Text of the strings in a module that are no docstrings, with a gap where an f-string has a value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.fixture(scope="session")
def message_texts() -> list[tuple[Path, str]]:
    """Every text of our packages that a message could be made of, with its module."""
    sources = sorted(path for package in _PACKAGES for path in _ROOT.glob(f"*/{package}/**/*.py"))
    return [(path, text) for path in sources for text in _texts(path)]


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter that has the protocol's clients of others, whose protobuf messages have the names of ours."""
    named = os.environ.get("GEMINIFUSION_TEST_CLIENTS_PYTHON")
    python = Path(named) if named else Path(__file__).parents[1] / ".venv-clients" / "bin" / "python"
    if not python.is_file():
        skip_or_fail(
            "needs tritonclient and kserve: make test-slow, or name their python in GEMINIFUSION_TEST_CLIENTS_PYTHON"
        )
    return python


_street = importlib.util.spec_from_file_location("street", Path(__file__).parent / "street.py")
assert _street is not None
assert _street.loader is not None
_module = importlib.util.module_from_spec(_street)
sys.modules["street"] = _module  # where dataclasses look for the annotations of their fields
_street.loader.exec_module(_module)
detector_artifact, make_street = _module.detector_artifact, _module.make_street

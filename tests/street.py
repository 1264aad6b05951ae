"""A tiny but real detector, and a street for it: what the tests of detection share."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from geminifusion_runtime.artifact import (
    MODEL_NAME,
    DetectionMetadata,
    DetectionTraining,
    ModalitySpec,
    SizePolicy,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.detection.calibration import Calibration
from geminifusion_runtime.detection.settings import AnchorClass, AnchorSettings, GridSettings, SelectionSettings

GRID = GridSettings(low=(0, -8, -3), high=(16, 8, 1), pillar_size=(0.5, 0.5))
ANCHORS = AnchorSettings(
    classes=(
        AnchorClass(name="pedestrian", size=(0.8, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="cyclist", size=(1.76, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="car", size=(3.9, 1.6, 1.56), bottom=-1.78),
    )
)
_MAP = (16, 16)
_SIZE = (60, 200)


def detector_graph() -> onnx.ModelProto:
    """A graph with the contract's signature whose numbers depend on every input.

    A cell of the map with points in it has a car, and a pedestrian where many are; brightness and projection make them
    a little surer, and the height of the points moves the boxes.
    """
    rows, columns = GRID.shape
    classes = np.full((6, 3), -6.0, np.float32)
    for anchor in range(6):
        classes[anchor, anchor // 2] = (-3.0, -4.0, -1.5)[anchor // 2] - 0.5 * (anchor % 2)
    initializers = {
        "empty": np.zeros(rows * columns, np.float32),
        "lowest": np.full(rows * columns, -5.0, np.float32),
        "map": np.array([1, 1, rows, columns], np.int64),
        "cells": np.array([1, *_MAP, 1, 1], np.int64),
        "classes": classes,
        "many": np.array([0.3, 0.0, 0.1], np.float32),
        "thousandth": np.float32(1e-3),
        "heights": np.array([0, 0, 0.1, 0, 0, 0, 0.05], np.float32),
        "boxes": np.zeros((6, 7), np.float32),
        "directions": np.tile(np.array([0.5, -0.5], np.float32), (6, 1)),
        "two": np.array([2], np.int64),
        "first": np.array([1], np.int64),
    }
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Slice", ["points", "two", "three", "first"], ["z_column"]),
        helper.make_node("Squeeze", ["z_column", "first"], ["z"]),
        helper.make_node("Mul", ["z", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("ScatterElements", ["empty", "pillar_index", "ones"], ["counts"], axis=0, reduction="add"),
        helper.make_node("ScatterElements", ["lowest", "pillar_index", "z"], ["tops"], axis=0, reduction="max"),
        helper.make_node("Reshape", ["counts", "map"], ["count_map"]),
        helper.make_node("Reshape", ["tops", "map"], ["top_map"]),
        helper.make_node("MaxPool", ["count_map"], ["count_cells"], **pool),
        helper.make_node("MaxPool", ["top_map"], ["top_cells"], **pool),
        helper.make_node("Reshape", ["count_cells", "cells"], ["count"]),
        helper.make_node("Reshape", ["top_cells", "cells"], ["top"]),
        helper.make_node("Cast", ["rgb"], ["rgb_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["rgb_float"], ["brightness"], keepdims=0),
        helper.make_node("ReduceMean", ["lidar2image"], ["projection"], keepdims=0),
        helper.make_node("Add", ["brightness", "projection"], ["seen"]),
        helper.make_node("Mul", ["seen", "thousandth"], ["sureness"]),
        helper.make_node("Min", ["count", "one"], ["occupied"]),
        helper.make_node("Sub", ["one", "occupied"], ["free"]),
        helper.make_node("Mul", ["free", "minus_ten"], ["penalty"]),
        helper.make_node("Mul", ["count", "many"], ["by_count"]),
        helper.make_node("Add", ["classes", "by_count"], ["counted"]),
        helper.make_node("Add", ["counted", "penalty"], ["penalized"]),
        helper.make_node("Add", ["penalized", "sureness"], ["class_logits"]),
        helper.make_node("Mul", ["top", "heights"], ["lifted"]),
        helper.make_node("Add", ["lifted", "boxes"], ["box_numbers"]),
        helper.make_node("Mul", ["count", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "directions"], ["direction_logits"]),
    ]
    initializers |= {
        "three": np.array([3], np.int64),
        "zero": np.float32(0),
        "one": np.float32(1),
        "minus_ten": np.float32(-10),
    }
    float32, int64, uint8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "detector",
        [
            helper.make_tensor_value_info("rgb", uint8, [1, "height", "width", 3]),
            helper.make_tensor_value_info("points", float32, ["num_points", 4]),
            helper.make_tensor_value_info("pillar_index", int64, ["num_points"]),
            helper.make_tensor_value_info("lidar2image", float32, [1, 4, 4]),
        ],
        [
            helper.make_tensor_value_info("class_logits", float32, [1, *_MAP, 6, 3]),
            helper.make_tensor_value_info("box_numbers", float32, [1, *_MAP, 6, 7]),
            helper.make_tensor_value_info("direction_logits", float32, [1, *_MAP, 6, 2]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_detector(directory: Path, **changed: Any) -> Path:
    """Write a whole artifact around `detector_graph`."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(detector_graph(), directory / MODEL_NAME)
    values: dict[str, Any] = {
        "schema_version": 1,
        "name": "street",
        "version": "1",
        "encoder": "counting",
        "fusion": "none",
        "modalities": (
            ModalitySpec(
                name="rgb", dtype="uint8", channels=3, unit="intensity", encoding="imagenet", range=(0, 1),
                mean=(0.0,) * 3, std=(1.0,) * 3,
            ),
        ),
        "size": SizePolicy(min_side=16, max_pixels=64 * 192, reference=_SIZE),
        "image_size": (64, 192),
        "grid": GRID,
        "anchors": ANCHORS,
        "map_size": _MAP,
        "selection": SelectionSettings(center_high=(16.0, 8.0, 0.0), center_low=(0.0, -8.0, -3.0)),
        "precision": "float32",
        "opset": 20,
        "files": {MODEL_NAME: sha256_of(directory / MODEL_NAME)},
        "checkpoint_sha256": "0" * 64,
        "training": DetectionTraining(data="none", summary="counts points"),
        "weights_license": "Apache-2.0",
        "data_license": "none",
    }  # fmt: skip
    write_metadata(directory, DetectionMetadata(**(values | changed)))
    return directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Street:
    """One scene as arrays and as the files a client posts: a car ahead, a person to the left, and the ground."""

    rgb: NDArray[np.uint8]
    points: NDArray[np.float32]
    calibration: Calibration

    def files(self, **replaced: bytes) -> dict[str, bytes]:
        """The parts of a request."""
        done, image = cv2.imencode(".png", self.rgb[..., ::-1])
        assert done
        text = "".join(
            f"{name}: {' '.join(repr(float(x)) for x in matrix.flat)}\n"
            for name, matrix in (
                ("P2", self.calibration.p2),
                ("R0_rect", self.calibration.r0_rect),
                ("Tr_velo_to_cam", self.calibration.tr_velo_to_cam),
            )
        )
        files = {"rgb": image.tobytes(), "points": self.points.tobytes(), "calibration": text.encode()}
        return {**files, **replaced}

    def npy(self) -> bytes:
        """The cloud as an npy."""
        stream = io.BytesIO()
        np.save(stream, self.points)
        return stream.getvalue()

    def json(self) -> bytes:
        """The calibration as JSON."""
        return json.dumps(self.calibration.as_document()).encode()


def street(seed: int = 0) -> Street:
    """A street; differs with the seed."""
    generator = np.random.default_rng(seed)
    height, width = _SIZE
    p2 = np.array([[100.0, 0, 100, 4], [0, 100, 30, 0.1], [0, 0, 1, 0.002]])
    pose = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])
    car = generator.normal([9, 0, -1], [1, 0.5, 0.3], (60, 3))
    person = generator.normal([6, 3, -0.8], [0.1, 0.1, 0.4], (40, 3))
    places = generator.uniform([2, -12], [30, 12], (200, 2))
    ground = np.column_stack([places, np.full(200, -1.6)])
    places = np.concatenate([car, person, ground])
    points = np.column_stack([places, generator.random(len(places))]).astype(np.float32)
    rgb = cv2.resize(generator.integers(0, 256, (6, 20, 3), dtype=np.uint8), (width, height))
    return Street(
        rgb=np.asarray(rgb, np.uint8),
        points=points,
        calibration=Calibration(p2=p2, r0_rect=np.eye(3), tr_velo_to_cam=pose),
    )


@pytest.fixture(scope="session")
def detector_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a verified detector that ONNX Runtime runs in well under a millisecond."""
    return write_detector(tmp_path_factory.mktemp("artifacts") / "street")


@pytest.fixture(scope="session")
def make_street() -> Any:
    """`street`, for tests that need several."""
    return street

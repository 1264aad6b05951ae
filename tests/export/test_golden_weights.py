"""Networks with the weights of the golden cases, which equal the original code's answers, through the exporter."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from geminifusion_export.graph import SegmentationGraph, export_onnx, random_batch
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_model import load_official
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.openvino import OpenVinoBackend

NUM_CLASSES = 40


@pytest.fixture(scope="module")
def golden():
    """The rule that regenerates the golden weights, of the model's own tests."""
    path = Path(__file__).parents[1] / "model" / "golden.py"
    spec = importlib.util.spec_from_file_location("golden_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def task():
    """Frames as of NYUv2; the golden networks know forty classes and no names for them."""
    names = tuple(f"class {index}" for index in range(NUM_CLASSES))
    palette = tuple((index, 255 - index, 6 * index) for index in range(NUM_CLASSES))
    return dataclasses.replace(nyuv2_task(39), class_names=names, palette=palette)


@pytest.mark.slow
@pytest.mark.full_depth
@pytest.mark.parametrize("case", ["mit_b0_b1_64x96", "swin_tiny_b1_64x64"])
def test_golden_network_answers_the_same_in_every_cpu_runtime(golden, task, case, tmp_path):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    net, report = load_official(golden.case_weights(golden.MANIFEST["cases"][case]))
    assert report.complete
    graph = SegmentationGraph(net.eval(), task)
    model = tmp_path / "model.onnx"
    export_onnx(graph, model)
    intermediate = tmp_path / write_openvino(model, tmp_path).file
    reference = TorchBackend(graph)
    backends = [OnnxRuntimeBackend(model, threads=2, retained_pixels=48 * 64), OpenVinoBackend(intermediate, threads=2)]
    for shape in ((1, 64, 96), (2, 71, 90)):
        inputs = random_batch(task, shape)
        expected = reference.run(inputs)
        assert len(np.unique(expected["labels"])) > 1, "labels of one class would agree by chance"
        for backend in backends:
            got = backend.run(inputs)
            assert (got["labels"] == expected["labels"]).mean() >= 0.999, (backend.name, shape)
            np.testing.assert_allclose(got["confidence"], expected["confidence"], atol=1e-3)
            np.testing.assert_allclose(got["gate"], expected["gate"], atol=1e-3)

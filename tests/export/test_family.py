"""Every encoder, fusion and number of modalities exports with free sizes; weights are random, so labels are noisy."""

import numpy as np
import onnx
import pytest

from geminifusion_export.fusion_node import OP_TYPE
from geminifusion_export.graph import random_batch
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend

RGBD = ("rgb", "depth")
MEMBERS = [
    ("mit_b0", "geminifusion", RGBD),
    ("mit_b0", "geminifusion", ("rgb", "depth", "event", "lidar")),
    ("mit_b0", "pixel_attention_relation", RGBD),
    ("mit_b0", "none", RGBD),
    ("mit_b0", "token_exchange", RGBD),
    ("mit_b0", "channel_exchange", RGBD),
    ("mit_b0", "cross_attention", RGBD),
    ("swin_tiny", "geminifusion", RGBD),
]


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "fusion", "modalities"), MEMBERS)
def test_member_of_the_family_answers_as_torch_at_any_size(family_member, encoder, fusion, modalities):
    graph, path = family_member(encoder, fusion, modalities)
    backend, reference = OnnxRuntimeBackend(path, threads=2, retained_pixels=48 * 64), TorchBackend(graph)
    for shape in ((1, 64, 96), (3, 45, 71), (1, 101, 67)):
        inputs = random_batch(graph.task, shape)
        got, expected = backend.run(inputs), reference.run(inputs)
        np.testing.assert_allclose(got["confidence"], expected["confidence"], atol=1e-4, err_msg=str(shape))
        np.testing.assert_allclose(got["gate"], expected["gate"], atol=1e-4, err_msg=str(shape))
        assert (got["labels"] == expected["labels"]).mean() >= 0.999, shape
        assert len(np.unique(expected["labels"])) > 1
    if fusion == "geminifusion" or fusion.startswith("pixel_attention"):
        assert any(node.op_type == OP_TYPE for node in onnx.load(path).graph.node)

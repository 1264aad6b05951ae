"""Every encoder, fusion and number of modalities exports with free sizes; weights are random, so labels are noisy."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from geminifusion_export.fusion_node import OP_TYPE
from geminifusion_export.graph import SegmentationGraph, export_onnx
from geminifusion_export.runtimes import OnnxRuntime
from geminifusion_export.torch_reference import TorchReference, random_feeds
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task

RGB, DEPTH = nyuv2_task(13).modalities
OTHERS = {
    "depth": DEPTH,
    "event": dataclasses.replace(RGB, name="event"),
    "lidar": dataclasses.replace(DEPTH, name="lidar", range=(0.0, 80.0), mean=(12.0,), std=(9.0,)),
}
MEMBERS = [
    ("mit_b0", "geminifusion", ("depth", "event")),
    ("mit_b0", "geminifusion", ("depth", "event", "lidar")),
    ("mit_b3", "geminifusion", ("depth",)),
    ("swin_tiny", "geminifusion", ("depth",)),
    ("swin_tiny", "none", ("depth",)),
    ("mit_b0", "none", ("depth",)),
    ("mit_b0", "pixel_attention", ("depth",)),
    ("mit_b0", "pixel_attention_noise", ("depth",)),
    ("mit_b0", "pixel_attention_relation", ("depth",)),
    ("mit_b0", "token_exchange", ("depth",)),
    ("mit_b0", "channel_exchange", ("depth",)),
    ("mit_b0", "cross_attention", ("depth",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "fusion", "others"), MEMBERS)
def test_member_of_the_family_answers_as_torch_at_any_size(tmp_path, encoder, fusion, others):
    torch.manual_seed(0)
    names = ("rgb", *others)
    net = GeminiFusion(
        GeminiFusionConfig(encoder=encoder, fusion=fusion, modalities=names, num_classes=13, decoder_channels=32)
    ).eval()
    with torch.no_grad():
        net.decoder.classify.weight.normal_()
    task = dataclasses.replace(nyuv2_task(13), modalities=(RGB, *(OTHERS[name] for name in others)))
    graph = SegmentationGraph(net, task)
    path = tmp_path / "model.onnx"
    export_onnx(graph, path)
    runtime, reference = OnnxRuntime(path, threads=2), TorchReference(graph)
    for shape in ((1, 64, 96), (3, 45, 71), (1, 101, 67)):
        feeds = random_feeds(task, shape)
        got, expected = runtime.run(feeds), reference.run(feeds)
        np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-4, err_msg=str(shape))
        np.testing.assert_allclose(got.gate, expected.gate, atol=1e-4, err_msg=str(shape))
        assert (got.labels == expected.labels).mean() >= 0.999, shape
        assert len(np.unique(expected.labels)) > 1
    if fusion == "geminifusion" or fusion.startswith("pixel_attention"):
        assert any(node.op_type == OP_TYPE for node in onnx.load(path).graph.node)

"""Exported graphs of other sensors and of a fixed size against torch; weights are random, so labels are noisy."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion_export.graph import SegmentationGraph, export_onnx, random_batch
from geminifusion_export.openvino_ir import write_openvino
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.depth_encodings import hha_encoding, raw_encoding, raw_metres_encoding
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.encoder_sizes import ENCODER_SIZES, MIT_SIZES
from geminifusion_model.encoding import encode
from geminifusion_model.task import IMAGENET_RGB, InputPolicy
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.backends.openvino import OpenVinoBackend

S, M = 64, 32
THERMAL = dataclasses.replace(
    raw_encoding("thermal", 1, bits=16), range=(28_000.0, 31_000.0), mean=(115.0,), std=(4.0,)
)
FOUR = (IMAGENET_RGB, raw_metres_encoding("depth", 10 / 255), THERMAL, raw_encoding("event", 3))


def small_network(modalities):
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        size = dataclasses.replace(
            ENCODER_SIZES["mit_b0"], channels=(16, 32, 32, 64), depths=(1, 1, 1, 1), heads=(1, 2, 2, 4)
        )
        for table in (ENCODER_SIZES, MIT_SIZES):
            patch.setitem(table, "mit_b0", size)
        names = tuple(modality.name for modality in modalities)
        net = GeminiFusion(GeminiFusionConfig(modalities=names, num_classes=13, decoder_channels=32)).eval()
    with torch.no_grad():
        net.decoder.classify.weight.normal_()
    return net


def exported(modalities, directory, **changed):
    graph = SegmentationGraph(
        small_network(modalities), dataclasses.replace(nyuv2_task(13), modalities=modalities, **changed)
    )
    export_onnx(graph, directory / "model.onnx")
    return graph, directory / "model.onnx"


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return exported(FOUR, tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    return exported(
        (IMAGENET_RGB, hha_encoding("depth")),
        tmp_path_factory.mktemp("fixed"),
        input_policy=InputPolicy(shorter_side=S, multiple_of=M),
        label_upsampling="bicubic",
    )


def backends_of(path):
    yield OnnxRuntimeBackend(path, threads=1, retained_pixels=48 * 64)
    yield OpenVinoBackend(path.parent / write_openvino(path, path.parent).file, threads=1)


def assert_agrees(found, expected, shape):
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-4, err_msg=str(shape))
    np.testing.assert_allclose(found["gate"], expected["gate"], atol=1e-4, err_msg=str(shape))
    assert (found["labels"] == expected["labels"]).mean() >= 0.999, shape
    assert found["labels"].shape == shape


@pytest.mark.slow
def test_four_modalities_of_every_unit_answer_as_torch_with_their_weights(four):
    graph, path = four
    for backend in backends_of(path):
        for shape in ((1, 64, 96), (2, 45, 71)):
            inputs = random_batch(graph.task, shape)
            found, expected = backend.run(inputs), TorchBackend(graph).run(inputs)
            assert_agrees(found, expected, shape)
            assert expected["modality_weights"].shape == (shape[0], 3, -(-shape[1] // 4), -(-shape[2] // 4))
            np.testing.assert_allclose(found["modality_weights"], expected["modality_weights"], atol=1e-4)
            np.testing.assert_allclose(found["modality_weights"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_two_modalities_have_no_weights_to_share(fixed):
    graph, path = fixed
    found = OnnxRuntimeBackend(path, threads=1, retained_pixels=48 * 64).run(random_batch(graph.task, (1, 40, 50)))
    assert "modality_weights" not in found


@pytest.mark.slow
def test_depth_in_metres_is_what_the_network_saw_as_stored_numbers(four):
    graph, path = four
    backend = OnnxRuntimeBackend(path, threads=1, retained_pixels=48 * 64)
    inputs = random_batch(graph.task, (1, 64, 64))
    stored = np.random.default_rng(0).integers(0, 256, (1, 64, 64)).astype(np.float32)
    trained = dataclasses.replace(graph.task, modalities=(FOUR[0], raw_encoding("depth", 1), *FOUR[2:]))
    net = small_network(FOUR)
    on_stored = TorchBackend(SegmentationGraph(net, trained)).run(inputs | {"depth": stored})
    on_metres = backend.run(inputs | {"depth": stored * np.float32(10 / 255)})
    assert_agrees(on_metres, on_stored, (1, 64, 64))


def test_counts_are_clipped_to_the_range_and_what_is_no_number_is_its_low_end():
    low, middle, high = encode(torch.tensor([[[np.nan, 29_500.0, 65_535.0]]]), THERMAL)[0, 0, 0]
    assert low == pytest.approx((28_000 / 255 - 115) / 4, rel=1e-5)
    assert middle == pytest.approx((29_500 / 255 - 115) / 4, abs=1e-4)
    assert high == pytest.approx((31_000 / 255 - 115) / 4, rel=1e-5)


def original_labels(net, task, inputs):
    """The two resizes, network and cubic enlargement of the original, one step after the other."""
    height, width = inputs["rgb"].shape[1:3]
    factor = S / min(height, width)
    first = (round(height * factor), round(width * factor))
    second = tuple(int(np.ceil(side / M)) * M for side in first)
    images = []
    for modality in task.modalities:
        image = encode(torch.from_numpy(inputs[modality.name]), modality)
        for size in (first, second):
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=False)
        images.append(image)
    with torch.inference_mode():
        logits = net(*images).ensemble[0].permute(1, 2, 0).numpy()
    enlarged = [
        cv2.resize(np.ascontiguousarray(logits[..., k]), (width, height), interpolation=cv2.INTER_CUBIC)
        for k in range(logits.shape[2])
    ]
    return np.stack(enlarged).argmax(0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (96, 128), (53, 73), (73, 53), (101, 67), (40, 41)])
def test_the_graph_holds_the_input_policy(fixed, size):
    graph, path = fixed
    net = small_network(graph.task.modalities)
    smooth = [
        cv2.resize(image[0][:7, :9], size[::-1], interpolation=cv2.INTER_LINEAR)
        for image in random_batch(graph.task, (1, *size), 4).values()
    ]
    inputs = {name: image[np.newaxis] for name, image in zip(("rgb", "depth"), smooth, strict=True)}
    expected = original_labels(net, graph.task, inputs)
    assert len(np.unique(expected)) > 1
    for backend in backends_of(path):
        found = backend.run(inputs)
        assert (found["labels"][0] == expected).mean() >= 0.999
        assert found["confidence"].shape == found["gate"].shape == (1, -(-size[0] // 4), -(-size[1] // 4))

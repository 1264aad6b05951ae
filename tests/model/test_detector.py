"""Whole detectors at a tiny size: forms, weights of others, checkpoints and learning."""

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geminifusion_model.checkpoint import CheckpointError
from geminifusion_model.detection.checkpoint import DetectorInfo, write_detector
from geminifusion_model.detection.config import MVXNET, RESNET, DetectorConfig
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.image_pyramid import ImagePyramid, normalized
from geminifusion_model.detection.importing import load_mvxnet
from geminifusion_model.detection.losses import detection_losses
from geminifusion_model.detection.targets import batch_targets
from geminifusion_model.detection.task import DetectionTask
from geminifusion_model.import_commands import import_weights
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.mvxnet import MvxnetForm, fill_from_mvxnet, read_mvxnet
from geminifusion_model.weights.mvxnet_names import mvxnet_names
from geminifusion_runtime.detection.pillars import pillars

LOOKING_AHEAD = torch.tensor([[32.0, -32, 0, 0], [16.0, 0, -32, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def small_config(**changes):
    values = {
        "point_range": (0.0, -2.56, -3.0, 5.12, 2.56, 1.0),
        "point_channels": (8, 8),
        "fused_channels": 8,
        "pyramid_channels": 8,
        "bev_channels": (8, 16),
        "bev_depths": (1, 1),
        "bev_strides": (2, 2),
        "neck_channels": 8,
    }
    return DetectorConfig(**values | changes)


def cloud(number=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, span = torch.tensor([0.1, -2.5, -2.9, 0.0]), torch.tensor([5.0, 5.0, 3.8, 1.0])
    return low + torch.rand(number, 4, generator=generator) * span


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 32, 64, generator=generator)
    return images, [cloud(seed=0), cloud(40, seed=1)], LOOKING_AHEAD.expand(2, 4, 4)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return Detector(small_config()).eval()


@torch.no_grad()
def test_a_frame_does_not_depend_on_the_batch_it_came_in(detector):
    images, points, lidar2image = batch()
    together = detector(images, points, lidar2image)
    alone = detector(images[1:], points[1:], lidar2image[1:])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1:], other, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_traceable_part_equals_the_detector(detector):
    images, points, lidar2image = batch()
    outside = torch.tensor([[-1.0, 0, 0, 0], [1.0, 9, 0, 0]])
    found = pillars(torch.cat([outside, points[0]]).numpy(), detector.config.grid)
    index = torch.from_numpy(found.index)
    dense = detector.forward_pillars(images[:1], torch.from_numpy(found.points), index, lidar2image[:1])
    for one, other in zip(dense, detector(images[:1], points[:1], lidar2image[:1]), strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_points_see_the_image_where_they_are(detector):
    images, points, lidar2image = batch()
    other = images.clone()
    other[:, :, :, 32:] = 0  # the right half: y < 0
    before, after = (detector(each, points, lidar2image).classes for each in (images, other))
    assert (before - after).abs().max() > 1e-6
    turned = lidar2image @ torch.diag(torch.tensor([-1.0, 1, 1, 1]))  # nothing is before the camera any more
    blind, blind_after = (detector(each, points, turned).classes for each in (images, other))
    torch.testing.assert_close(blind, blind_after)


@pytest.mark.parametrize("fusion", ["none", "sum", "geminifusion"])
@pytest.mark.parametrize("layers", ["last", "both"])
def test_every_form_has_losses_and_a_gradient_for_every_trained_weight(fusion, layers):
    torch.manual_seed(0)
    detector = Detector(small_config(fusion=fusion, fusion_layers=layers)).train()
    images, points, lidar2image = batch()
    given = (images, points, lidar2image) if fusion != "none" else (None, points)
    output = detector(*given)
    boxes = [np.array([[2.0, 0.5, -1.5, 3.9, 1.6, 1.5, 0.1]], np.float32), np.zeros((0, 7), np.float32)]
    targets = batch_targets(boxes, [np.array([2]), np.array([], np.int64)], detector.config)
    losses = detection_losses(output, targets, 3)
    losses.total.backward()
    assert all(math.isfinite(loss.item()) and loss.item() > 0 for loss in losses)
    assert all(parameter.grad is not None for parameter in detector.parameters() if parameter.requires_grad)
    assert (detector.image is None) == (fusion == "none")


def test_one_frame_is_learned_in_a_few_steps():
    torch.manual_seed(0)
    detector = Detector(small_config()).train()
    images, points, lidar2image = (each[:1] for each in batch())
    wanted = np.array([[2.56, 0.0, -1.5, 3.9, 1.6, 1.5, 0.1]], np.float32)
    targets = batch_targets([wanted], [np.array([2])], detector.config)
    optimizer = torch.optim.AdamW(detector.parameters(), 1e-2)
    values = []
    for _ in range(30):
        losses = detection_losses(detector(images, points, lidar2image), targets, 3)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        values.append(losses.total.item())
    assert values[-1] < 0.2 * values[0]
    (found,) = detector.detect(detector(images, points, lidar2image))
    assert found.labels[0] == 2
    np.testing.assert_allclose(found.boxes[0, :3], wanted[0, :3], atol=0.5)


def test_inputs_that_do_not_belong_together_are_refused(detector):
    images, points, lidar2image = batch()
    with pytest.raises(ValueError, match="needs both"):
        detector(None, points)
    with pytest.raises(ValueError, match="2 samples, 1 images"):
        detector(images[:1], points, lidar2image)
    with pytest.raises(ValueError, match="expected P 4"):
        detector(images, [cloud[:, :3] for cloud in points], lidar2image)
    with pytest.raises(ValueError, match="multiples of 32"):
        detector(images[:, :, :30], points, lidar2image)


def test_only_pillars_can_be_traced():
    detector = Detector(small_config(middle="sparse", voxel_size=(0.16, 0.16, 4 / 24), fusion="none"))
    output = detector(None, [cloud(), cloud(seed=1)])
    assert output.classes.shape == (2, 18, 2, 2)
    with pytest.raises(ValueError, match="only one on pillars"):
        detector.forward_pillars(None, cloud(), torch.zeros(60, dtype=torch.long))


def test_images_are_normalized_as_each_encoder_was_trained():
    image = torch.tensor([[[[255, 0, 10]]]], dtype=torch.uint8)
    caffe = normalized(image, RESNET)[0, :, 0, 0]
    torch.testing.assert_close(caffe, torch.tensor([10 - 102.9801, 0 - 115.9465, 255 - 122.7717]))
    ours = normalized(image, "mit_b0")[0, :, 0, 0]
    torch.testing.assert_close(ours[0], torch.tensor((1 - 0.485) / 0.229))


def test_the_published_image_encoder_keeps_its_norms():
    pyramid = ImagePyramid(RESNET, 8).train()
    frozen = {name for name, parameter in pyramid.named_parameters() if not parameter.requires_grad}
    assert {"backbone.stem.conv.weight", "backbone.stages.0.0.reduce.conv.weight"} <= frozen
    assert "backbone.stages.1.0.reduce.conv.weight" not in frozen
    assert all("norm" in name for name in frozen if "stem" not in name and "stages.0" not in name)
    assert not any(module.training for module in pyramid.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert pyramid.neck.lateral[0].norm.training


@pytest.mark.parametrize("layout", ["spconv", "mmcv"])
def test_both_layouts_of_sparse_kernels_are_read(layout):
    kernel = torch.randn(3, 3, 3, 128, 16)
    stored = kernel.permute(4, 0, 1, 2, 3) if layout == "spconv" else kernel
    ours = {"middle.layers.0.weight": torch.zeros_like(kernel)}
    report = fill_from_mvxnet(
        ours,
        {
            "pts_middle_encoder.conv_input.0.weight": stored,
            "pts_middle_encoder.conv_input.1.num_batches_tracked": torch.tensor(3),
        },
        MvxnetForm("sum", "last"),
    )
    assert report.complete
    assert report.ignored
    assert torch.equal(ours["middle.layers.0.weight"], kernel)


def test_what_a_file_lacks_or_has_too_much_is_told():
    parameters = {"middle.layers.0.weight": torch.zeros(3, 3, 3, 128, 16), "head.classes.bias": torch.zeros(18)}
    tensors = {
        "pts_middle_encoder.conv_input.0.weight": torch.zeros(3, 3, 3, 4, 16),
        "pts_middle_encoder.x": torch.zeros(1),
    }
    report = fill_from_mvxnet(parameters, tensors, MvxnetForm("sum", "last"))
    assert report.missing == ("pts_bbox_head.conv_cls.bias",)
    assert report.unexpected == ("pts_middle_encoder.x",)
    assert report.mismatched[0][0] == "pts_middle_encoder.conv_input.0.weight"
    with pytest.raises(OfficialWeightsError, match="no MVX-Net"):
        read_mvxnet({"encoder.weight": torch.zeros(1)})
    with pytest.raises(OfficialWeightsError, match="missing"):
        load_mvxnet({"pts_voxel_encoder.vfe_layers.0.0.weight": torch.zeros(64, 10)}, small_config())


def test_a_checkpoint_gives_the_detector_back(detector, tmp_path):
    info = DetectorInfo(network=detector.config, task=DetectionTask(data="drawn", image_size=(32, 64)))
    write_detector(tmp_path / "checkpoint", detector.state_dict(), info)
    again = Detector.from_pretrained(tmp_path / "checkpoint")
    assert again.config == detector.config
    assert not again.training
    with torch.no_grad():
        for one, other in zip(again(*batch()), detector(*batch()), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        Detector.from_pretrained(tmp_path)


@pytest.mark.slow  # a network of 35 million parameters, stored twice
def test_a_file_of_mmengine_becomes_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    original = Detector(MVXNET)
    tensors = {}
    for name, tensor in original.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            names = mvxnet_names(name, tensor, several_fusions=True)
            tensors |= zip(names, tensor if len(names) > 1 else [tensor], strict=True)
    content = {"meta": {"epoch": 40, "experiment_name": "x"}, "state_dict": tensors, "message_hub": {}}
    torch.save(content, tmp_path / "geminifusion_mvxnet.pth")
    arguments = [
        str(tmp_path / "geminifusion_mvxnet.pth"),
        str(tmp_path / "checkpoint"),
        "--task",
        "object-detection-3d",
    ]
    result = CliRunner().invoke(import_weights, arguments)
    assert result.exit_code == 0, result.output
    assert "fusion geminifusion behind both point layers" in result.output
    again = Detector.from_pretrained(tmp_path / "checkpoint")
    for one, other in zip(again.state_dict().values(), original.state_dict().values(), strict=True):
        assert torch.equal(one, other)

"""The published detector, weights and all, against numbers of the original's code."""

import numpy as np
import pytest
import torch
from golden import FOLDER
from golden_detection import MANIFEST, config_of, inputs_of, weights_of

from geminifusion_model.detection.importing import load_mvxnet
from geminifusion_model.detection.losses import detection_losses
from geminifusion_model.detection.targets import batch_targets
from geminifusion_model.weights.mvxnet_names import mvxnet_names
from geminifusion_runtime.detection.anchors import anchor_boxes

CASES = tuple(MANIFEST)
MAPS = {"classes": "cls_score", "boxes": "bbox_pred", "directions": "dir_pred"}


class Run:
    """One case, run once: what came out of every part, the boxes and the losses."""

    def __init__(self, case):
        self.case = case
        self.golden = np.load(FOLDER / MANIFEST[case]["file"])
        self.detector, self.report = load_mvxnet(weights_of(case), config_of(case))
        self.detector.requires_grad_(True)  # the original's gradients are those of frozen parts too
        self.seen = {}
        parts = {
            "fpn": self.detector.image,
            "voxel_feats": self.detector.points,
            "bev": self.detector.middle,
            "block0": self.detector.bev.blocks[0],
            "block1": self.detector.bev.blocks[1],
            "neck": self.detector.bev,
        }
        for name, part in parts.items():
            part.register_forward_hook(lambda _, __, output, name=name: self.seen.__setitem__(name, output))
        fusion = self.detector.points.first_fusion or self.detector.points.last_fusion
        fusion.image_projection.register_forward_hook(lambda _, given, __: self.seen.__setitem__("sampled", given[0]))
        self.inputs = inputs_of(case, self.golden)
        self.output = self.detector(*self.inputs)
        frames = [[self.golden[f"{name}_{sample}"] for sample in (0, 1)] for name in ("gt_boxes", "gt_labels")]
        self.targets = batch_targets(*frames, self.detector.config)
        self.losses = detection_losses(self.output, self.targets, 3)


@pytest.fixture(params=CASES, scope="module")
def run(request):
    torch.set_num_threads(1)
    return Run(request.param)


def check(found, expected, tolerance=1e-4):
    """Compare the values the original's were stored of, spread evenly over the tensor."""
    flat = found.detach().flatten()
    index = np.linspace(0, len(flat) - 1, expected.size).astype(np.int64)
    np.testing.assert_allclose(flat[torch.from_numpy(index)].numpy(), expected.ravel(), rtol=0, atol=tolerance)


def test_every_tensor_of_the_file_is_used(run):
    assert run.report.complete
    parameters = sum(parameter.numel() for parameter in run.detector.parameters())
    assert parameters == MANIFEST[run.case]["n_params"]


def test_every_part_gives_the_originals_numbers(run):
    for level in range(5):
        check(run.seen["fpn"][level], run.golden[f"fpn{level}"])
    for name in ("sampled", "voxel_feats", "bev", "block0", "block1", "neck"):
        check(run.seen[name], run.golden[name])
    for name, stored in MAPS.items():
        check(getattr(run.output, name), run.golden[stored])


def test_voxels_are_the_originals(run):
    _, voxels = run.detector.middle.voxelize(run.inputs[1])
    np.testing.assert_array_equal(voxels.coordinates.numpy(), run.golden["voxel_coors"])


def test_boxes_are_the_originals(run):
    for sample, found in enumerate(run.detector.detect(run.output)):
        order = np.argsort(-run.golden[f"scores_{sample}"], kind="stable")  # the original sorts more than 50 only
        np.testing.assert_array_equal(found.labels, run.golden[f"labels_{sample}"][order])
        np.testing.assert_allclose(found.scores, run.golden[f"scores_{sample}"][order], atol=1e-4)
        difference = found.boxes - run.golden[f"boxes_{sample}"][order]
        difference[:, 6] = np.arcsin(np.sin(difference[:, 6] / 2)) * 2  # the original's yaw may be a turn more
        np.testing.assert_allclose(difference, 0, atol=1e-4)


def test_targets_are_the_originals(run):
    config, targets = run.detector.config, run.targets
    anchors = anchor_boxes(config.anchors, config.grid, config.anchor_shape)
    check(torch.from_numpy(anchors.copy()), run.golden["anchors"], 1e-6)
    np.testing.assert_array_equal(targets.labels.numpy(), run.golden["labels"])
    np.testing.assert_array_equal(targets.counted.numpy(), run.golden["label_weights"])
    positive = targets.labels < 3
    np.testing.assert_allclose(targets.boxes[positive].numpy(), run.golden["pos_targets"], atol=1e-5)
    np.testing.assert_array_equal(targets.directions[positive].numpy(), run.golden["pos_dir"])


def test_losses_and_gradients_are_the_originals(run):
    info = MANIFEST[run.case]["info"]
    for found, name in zip(run.losses, ("loss_cls", "loss_bbox", "loss_dir"), strict=True):
        assert found.item() == pytest.approx(info["losses"][name], rel=1e-4)
    run.losses.total.backward()
    several = any("fusion_layer.1." in name for name in info["grad_names"])
    gradients = {}
    for name, parameter in run.detector.named_parameters():
        names = mvxnet_names(name, parameter, several_fusions=several)
        gradients |= zip(names, parameter.grad if len(names) > 1 else [parameter.grad], strict=True)
    assert set(gradients) == set(info["grad_names"])
    for name, norm, total in zip(info["grad_names"], run.golden["grad_norm"], run.golden["grad_sum"], strict=True):
        gradient = gradients[name].double()
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-2), name
        # a sum cancels: its error is measured by what could cancel
        assert gradient.sum().item() == pytest.approx(total, abs=1e-2 * norm * gradient.numel() ** 0.5), name

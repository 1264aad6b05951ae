"""The parts of a detector on tiny grids, without numbers of the original."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion_model.detection.config import KITTI_ANCHORS, MVXNET, DetectorConfig
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.losses import focal_loss
from geminifusion_model.detection.pillars import PillarMap
from geminifusion_model.detection.projection import image_matrix, lidar2image_after, point_matrix
from geminifusion_model.detection.sparse_conv import Sites, SparseConv, same_site_pairs, strided_pairs
from geminifusion_model.detection.targets import assign, batch_targets, facing
from geminifusion_model.detection.voxels import (
    VoxelGrid,
    Voxels,
    keys_of_places,
    places_of_keys,
    voxel_max,
    voxel_mean,
    voxelize,
)
from geminifusion_runtime.detection.anchors import anchor_boxes
from geminifusion_runtime.detection.settings import GridSettings

GRID = VoxelGrid(low=(0.0, -1.0, -1.0), size=(0.5, 0.5, 1.0), shape=(2, 4, 6))


def random_sites(shape=(4, 5, 6), batch=2, count=30):
    cells = batch * math.prod(shape)
    keys = torch.randperm(cells, generator=torch.Generator().manual_seed(0))[:count].sort().values
    return Sites(places_of_keys(keys, shape), shape)


def dense(features, sites, batch=2):
    grid = features.new_zeros(batch, *sites.shape, features.shape[1])
    grid[sites.coordinates.unbind(1)] = features
    return grid.permute(0, 4, 1, 2, 3)


def kernel(conv):
    """As torch's dense convolution keeps it."""
    return conv.weight.permute(4, 3, 0, 1, 2)


def at(grid, sites):
    sample, z, y, x = sites.coordinates.unbind(1)
    return grid[sample, :, z, y, x]


def bare(conv):
    """The convolution alone: with these statistics the norm is the identity, and the shift hides the ReLU."""
    conv.eval()
    with torch.no_grad():
        conv.norm.running_var.fill_(1.0 - conv.norm.eps)
        conv.norm.bias.fill_(100.0)
    return conv


def test_submanifold_convolution_is_the_dense_one_at_its_sites():
    sites = random_sites()
    features = torch.randn(len(sites.coordinates), 3, requires_grad=True)
    conv = bare(SparseConv(3, 5, (3, 3, 3)))
    found = conv(features, same_site_pairs(sites), len(sites.coordinates)) - 100.0
    expected = at(F.conv3d(dense(features, sites), kernel(conv), padding=1), sites)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((out * weights).sum(), [features, conv.weight]) for out in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [((3, 3, 3), (2, 2, 2), (0, 1, 1)), ((3, 1, 1), (2, 1, 1), (0, 0, 0))]
)
def test_strided_convolution_is_the_dense_one_wherever_that_reaches(size, stride, padding):
    sites = random_sites()
    features = torch.rand(len(sites.coordinates), 3) + 0.1
    conv = bare(SparseConv(3, 4, size))
    reached, pairs = strided_pairs(sites, size, stride, padding)
    found = conv(features, pairs, len(reached.coordinates)) - 100.0
    expected = F.conv3d(dense(features, sites), kernel(conv), stride=stride, padding=padding)
    assert reached.shape == expected.shape[2:]
    torch.testing.assert_close(found, at(expected, reached), atol=2e-5, rtol=0)
    touched = F.conv3d(dense(torch.ones(len(features), 1), sites), torch.ones(1, 1, *size), None, stride, padding)
    assert len(reached.coordinates) == (touched > 0).sum()


def test_voxels_are_sorted_and_points_outside_are_left_out():
    clouds = [
        torch.tensor([[0.1, -0.9, 0.5, 1.0], [2.9, 0.9, -0.5, 1.0], [3.0, 0.0, 0.0, 1.0]]),
        torch.tensor([[0.2, -0.8, 0.9, 1.0], [0.3, -0.7, 0.1, 1.0], [0.0, 0.0, -1.01, 1.0]]),
    ]
    kept, voxels = voxelize(clouds, GRID)
    assert [len(cloud) for cloud in kept] == [2, 2]
    assert voxels.coordinates.tolist() == [[0, 0, 3, 5], [0, 1, 0, 0], [1, 1, 0, 0]]
    assert voxels.of_point.tolist() == [1, 0, 2, 2]
    torch.testing.assert_close(voxels.centers[0], torch.tensor([0.25, -0.75, 0.5]))
    assert torch.equal(places_of_keys(keys_of_places(voxels.coordinates, GRID.shape), GRID.shape), voxels.coordinates)


def test_statistics_of_voxels_are_those_of_their_points():
    voxels = Voxels(torch.tensor([2, 0, 2]), 3, torch.zeros(3, 3), None)
    values = torch.tensor([[1.0, 5.0], [2.0, 0.0], [3.0, 1.0]])
    assert voxel_mean(values, voxels).tolist() == [[2.0, 0.0], [0.0, 0.0], [2.0, 3.0]]
    assert voxel_max(values, voxels).tolist() == [[2.0, 0.0], [0.0, 0.0], [3.0, 5.0]]


def test_pillars_have_their_place_in_the_map_of_their_sample():
    middle = PillarMap(1, GridSettings(low=(0, -1, -3), high=(2, 2, 1), pillar_size=(1, 1)))
    clouds = [torch.tensor([[1.5, -0.5, 0.0, 0.0]]), torch.tensor([[0.5, 1.5, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0]])]
    kept, voxels = middle.voxelize(clouds)
    assert [len(cloud) for cloud in kept] == [1, 1]
    torch.testing.assert_close(voxels.centers, torch.tensor([[1.5, -0.5, -1.0], [0.5, 1.5, -1.0]]))
    found = middle(voxel_max(torch.tensor([[7.0], [8.0]]), voxels), voxels, 2)
    assert found.shape == (2, 1, 3, 2)
    assert found[0, 0, 0, 1] == 7
    assert found[1, 0, 2, 0] == 8
    assert found.sum() == 15


def test_augmentation_of_points_and_image_leaves_each_point_on_its_pixel():
    lidar2image = np.array([[60.0, -70, 1, 2], [20, 3, -70, 1], [1, 0.02, 0.01, -0.3], [0, 0, 0, 1]])
    points = np.random.default_rng(0).uniform((3, -4, -2), (20, 4, 1), (9, 3))
    yaw, scale, translation, width = 0.4, 1.03, np.array([0.2, -0.3, 0.1]), 150.0
    cosine, sine = math.cos(yaw), math.sin(yaw)
    moved = scale * points @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]) + translation
    moved[:, 1] *= -1
    after = lidar2image_after(
        lidar2image,
        point_matrix(yaw=yaw, scale=scale, translation=translation, mirrored=True),
        image_matrix(factors=(0.9, 1.1), mirrored_width=width),
    )

    def pixels(where, matrix):
        projected = np.column_stack([where, np.ones(len(where))]) @ matrix.T
        return projected[:, :2] / projected[:, 2:3]

    expected = pixels(points, lidar2image) * (0.9, 1.1)
    expected[:, 0] = width - expected[:, 0]
    np.testing.assert_allclose(pixels(moved, after), expected, atol=1e-9)


def test_every_box_gets_its_best_anchors_and_the_surest_overlap_wins():
    overlaps = np.array([[0.7, 0.5, 0.1, 0.3, 0.0], [0.65, 0.2, 0.44, 0.3, 0.1]], np.float32)
    assert assign(overlaps, 0.6, 0.45).tolist() == [1, -2, -1, -1, -1]  # the later box takes the anchor they share
    assert assign(overlaps[:, 1:], 0.6, 0.45).tolist() == [0, -1, -1, -1]  # the second's best, 0.44, is too little
    assert assign(np.array([[0.46, 0.46, 0.2]], np.float32), 0.6, 0.45).tolist() == [0, 0, -1]


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


def test_targets_of_a_box_on_an_anchor_are_zeros_and_its_class():
    config = small_config()
    anchors = anchor_boxes(config.anchors, config.grid, config.anchor_shape)
    assert config.anchor_shape == (16, 16)
    chosen = (5 * 16 + 7) * 6 + 4  # row 5, column 7, car, along x
    box = anchors[chosen : chosen + 1].copy()
    targets = batch_targets([box, box[:0]], [np.array([2]), np.array([], np.int64)], config)
    assert targets.labels[0, chosen] == 2
    assert targets.counted[0, chosen]
    assert not targets.boxes[0, chosen].any()
    assert targets.directions[0, chosen] == 0
    assert (targets.labels[1] == 3).all()
    assert targets.counted[1].all()
    other_classes = targets.labels[0].view(-1, 3, 2)[:, :2]
    assert (other_classes == 3).all()  # a car says nothing about anchors of pedestrians


def test_directions_tell_the_two_halves_of_a_turn_apart():
    yaws = np.array([0.0, 1.5, -1.5, 1.6, -1.6, 3.1], np.float32)
    assert facing(yaws).tolist() == [0, 0, 0, 1, 1, 1]


def test_focal_loss_is_a_weighted_cross_entropy():
    logits, wanted = torch.tensor([0.3, -1.2]), torch.tensor([1.0, 0.0])
    probability = logits.sigmoid()
    expected = [
        -0.25 * (1 - probability[0]) ** 2 * probability[0].log(),
        -0.75 * probability[1] ** 2 * (1 - probability[1]).log(),
    ]
    torch.testing.assert_close(focal_loss(logits, wanted), torch.stack(expected))


def test_widths_that_the_fusion_does_not_divide_are_free():
    for changes in ({"point_channels": (20, 12), "fusion_layers": "last"}, {"fused_channels": 20, "fusion": "sum"}):
        Detector(small_config(**changes))


def test_configurations_survive_json():
    for config in (small_config(), MVXNET):
        assert DetectorConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_encoder": "vgg"}, "image_encoder is 'vgg'"),
        ({"voxel_size": (0.17, 0.16, 4.0)}, "whole number of voxels"),
        ({"voxel_size": (0.16, 0.16, 1.0)}, "as high as the range"),
        ({"middle": "sparse"}, "at least 24 layers"),
        ({"point_range": (0.0, -2.56, 1.0, 5.12, 2.56, 1.0)}, "point_range is"),
        ({"bev_strides": (2, 3)}, "product"),
        ({"bev_depths": (1,)}, "same number of blocks"),
        ({"bev_channels": (0, 8)}, "bev_channels is"),
        ({"fused_channels": 20}, "fused_channels is 20; expected a multiple of 8"),
        ({"point_channels": (20, 8)}, r"point_channels is \(20, 8\) with fusion_layers both"),
        ({"positive_ious": (0.5,)}, "one for each"),
        ({"negative_ious": (0.2, 0.2, 0.7)}, "<= positive <= 1"),
        ({"anchors": dataclasses.replace(KITTI_ANCHORS, classes=KITTI_ANCHORS.classes[:2])}, "2 classes"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        small_config(**changes)

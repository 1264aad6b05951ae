import golden
import numpy as np
import pytest
import torch

from geminifusion_model.fusions.point_fusion import PointFusion, project_points
from geminifusion_model.weights.official_names import official_point_fusion_names


@pytest.fixture(params=[("vfe0", 64, 808_514), ("vfe1", 128, 1_748_098)], ids=["vfe0", "vfe1"])
def original(request):
    """A layer with the weights of the golden rule, the name of its case, and the original's parameter count."""
    case, channels, num_parameters = request.param
    layer = PointFusion([256] * 5, 64, channels).eval()
    for name, tensor in layer.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        names = official_point_fusion_names(name, tensor)
        shape = tensor.shape[1:] if len(names) > 1 else tensor.shape
        values = [torch.from_numpy(golden.tensor_value(name, shape)) for name in names]
        tensor.copy_(torch.stack(values) if len(names) > 1 else values[0])
    return layer, case, num_parameters


def test_output_equals_the_originals(original):
    layer, case, num_parameters = original
    expected = np.load(golden.FOLDER / "kitti_point_fusion.npz")
    with torch.no_grad():
        fused = layer.fuse(*(torch.from_numpy(expected[f"{case}_{part}"]) for part in ("img_pts", "pts")))
    np.testing.assert_allclose(fused.numpy(), expected[f"{case}_out"], rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in layer.parameters()) == num_parameters


def small_layer():
    torch.manual_seed(0)
    return PointFusion([4, 6], 5, 8).eval()


def pyramid(batch=2):
    return [torch.randn(batch, 4, 8, 12), torch.randn(batch, 6, 4, 6)]


def test_points_of_an_image_do_not_depend_on_the_batch_they_came_in():
    layer, levels = small_layer(), pyramid()
    places, points = [torch.rand(3, 2), torch.rand(5, 2)], torch.randn(8, 5)
    together = layer(levels, places, points)
    second = layer([level[1:] for level in levels], places[1:], points[3:])
    assert together.shape == (8, 8)
    torch.testing.assert_close(together[3:], second)


def test_the_middle_of_a_cell_takes_its_feature_and_places_outside_none():
    layer, levels = small_layer(), pyramid(1)  # the first has 8 rows of 12
    places = torch.tensor([[0.5 / 12, 0.5 / 8], [11.5 / 12, 0.5 / 8], [11.5 / 12, 7.5 / 8], [3.0, 0.5]])
    with torch.no_grad():
        found = layer.sample(levels, [places])
        reduced = layer.lateral[0](levels[0])[0]
    torch.testing.assert_close(found[:3, :8], torch.stack([reduced[:, 0, 0], reduced[:, 0, -1], reduced[:, -1, -1]]))
    assert not found[3].any()


def test_at_the_images_corner_three_of_four_neighbors_are_outside():
    layer, levels = small_layer(), pyramid(1)
    with torch.no_grad():
        found = layer.sample(levels, [torch.zeros(1, 2)])
        reduced = layer.lateral[0](levels[0])[0]
    torch.testing.assert_close(found[0, :8], reduced[:, 0, 0] / 4)


def test_points_are_projected_in_shares_of_the_padded_image_and_not_from_behind():
    focal, size = 20.0, (32, 64)
    lidar2image = torch.tensor([[30.0, -focal, 0, 0], [14.0, 0, -focal, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    points = torch.tensor([[10.0, 0, 0, 0.3], [10.0, 5, 2.5, 0.3], [-10.0, 0, 0, 0.3], [0.0, 1, 1, 0.3]])
    found = project_points(points, lidar2image, size)
    torch.testing.assert_close(found[:2], torch.tensor([[30 / 64, 14 / 32], [20 / 64, 9 / 32]]))
    layer = small_layer()
    assert not layer.sample(pyramid(1), [found[2:]]).any()


def test_stock_fusion_adds_both_and_has_no_parameters_of_the_other():
    layer = PointFusion([4, 6], 5, 8, fusion="sum").eval()
    image_features, points = torch.randn(3, 16), torch.randn(3, 5)
    expected = (layer.image_projection(image_features) + layer.point_projection(points)).relu()
    torch.testing.assert_close(layer.fuse(image_features, points), expected)
    assert {name.partition(".")[0] for name in layer.state_dict()} == {
        "lateral",
        "image_projection",
        "point_projection",
    }


def test_start_values_are_xaviers_also_in_the_fusion():
    layer = small_layer()
    for weight in (*layer.fusion.out_proj_weight, layer.fusion.relation.fc1.weight, layer.fusion.relation.fc2.weight):
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.5 * bound < weight.abs().max() <= bound


def test_gradients_reach_every_parameter():
    layer = small_layer().train()
    layer(pyramid(), [torch.rand(3, 2), torch.rand(5, 2)], torch.randn(8, 5)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_inputs_that_do_not_belong_together_are_refused():
    layer = small_layer()
    with pytest.raises(ValueError, match="1 levels; expected 2"):
        layer(pyramid()[:1], [torch.rand(3, 2)] * 2, torch.randn(6, 5))
    with pytest.raises(ValueError, match="6 places and 7 points"):
        layer(pyramid(), [torch.rand(3, 2)] * 2, torch.randn(7, 5))


@pytest.mark.parametrize("wrong", [{"channels": 12}, {"fusion": "max"}, {"level_channels": []}, {"point_channels": 0}])
def test_sizes_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PointFusion(**{"level_channels": [4], "point_channels": 5, "channels": 8, **wrong})

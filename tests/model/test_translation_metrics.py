"""Measures of translated images against numbers that can be computed by hand, and golden ones for the distances."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from geminifusion_model.distillation.efficientnet_lite import open_efficientnet_lite
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.translation.domains import FRAME_DOMAINS, RGB, TASKONOMY_DOMAINS
from geminifusion_model.translation.frechet import (
    frechet_distance,
    inception_features,
    kernel_distance,
    lite_features,
)
from geminifusion_model.translation.metrics import measure_view, measures_of, structural_similarity
from geminifusion_model.translation.scores import paired_difference, score, score_interval

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "i2i_metrics.npz")
DEPTH, NORMAL = FRAME_DOMAINS["depth"], FRAME_DOMAINS["normal"]
ALL = torch.ones(4, 6, dtype=torch.bool)


def measured(image, truth, domain, counted=None, known=None):
    counted = torch.ones(image.shape[-2:], dtype=torch.bool) if counted is None else counted
    return measure_view(image, truth, domain, counted, counted if known is None else known)


def test_frechet_distance_is_the_published_formula():
    assert frechet_distance(GOLDEN["fake"], GOLDEN["real"]) == pytest.approx(float(GOLDEN["fid"]), rel=1e-6)


def test_kernel_distance_is_the_published_formula():
    found = kernel_distance(GOLDEN["fake"][:140], GOLDEN["real"][:140])
    assert found == pytest.approx(float(GOLDEN["kid_first"]), rel=1e-6)


def test_distances_of_fewer_images_than_features():
    features = np.random.default_rng(0).normal(size=(5, 40))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 1) == pytest.approx(40)
    assert frechet_distance(features, 2 * features - features.mean(0)) > 1
    with pytest.raises(ValueError, match="two images"):
        kernel_distance(features[:1], features)


def test_lite_features_are_pooled_from_its_last_map():
    teacher, images = open_efficientnet_lite(2), torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    space = lite_features()
    features = space.of(images)
    assert features.shape == (2, 1280)
    assert features.std() > 0.01
    classes = teacher._net._fc(torch.from_numpy(features).float())
    expected = teacher(images.permute(0, 2, 3, 1)).class_map.mean(dim=(2, 3))
    torch.testing.assert_close(classes, expected, atol=1e-4, rtol=1e-4)
    assert "FID" not in space.frechet
    assert "KID" not in space.kernel


@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is not None, reason="torch-fidelity is installed")
def test_fid_without_its_package_says_what_to_install():
    with pytest.raises(ConfigError, match=r"pip install \"geminifusion\[fid\]\""):
        inception_features()


@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is None, reason="needs torch-fidelity")
def test_fid_with_a_file_that_holds_no_weights_says_which_is_wanted(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="weights-inception-2015-12-05"):
        inception_features(path)


def test_errors_in_the_scale_of_the_network_are_of_what_counts():
    truth = torch.zeros(3, 4, 6)
    image = torch.zeros(3, 4, 6)
    image[:, :2] = 0.5
    image[:, 2] = float("nan")
    counted = ALL.clone()
    counted[2] = False
    found = measured(image, truth, FRAME_DOMAINS["shade"], counted)
    assert found == pytest.approx({"mae": 1 / 3, "rmse": 1 / 6})
    assert [measure.name for measure in measures_of(FRAME_DOMAINS["shade"])] == ["mae", "rmse"]


def test_rmse_is_the_root_of_the_mean_over_views():
    values = np.array([[0.04, 0.16]])
    rmse = measures_of(DEPTH)[1]
    assert score(values, rmse) == pytest.approx(math.sqrt(0.1))
    assert score(np.array([[0.04], [0.16]]), rmse) == pytest.approx(0.3)  # seeds are averaged after the root


@pytest.mark.parametrize("domain", [DEPTH, TASKONOMY_DOMAINS["depth_zbuffer"]])
def test_depth_is_compared_in_metres(domain):
    truth, factors = np.full((4, 6), 2.0, np.float32), np.ones((4, 6), np.float32)
    factors[0] = 1.2
    factors[1] = 1.3
    image, target = (torch.from_numpy(domain.encode(metres)).expand(3, -1, -1) for metres in (truth * factors, truth))
    known = ALL.clone()
    known[3] = False
    found = measured(image, target, domain, ALL, known)
    assert found["abs_rel"] == pytest.approx(0.5 / 3, rel=1e-3)
    assert found["rmse_m"] == pytest.approx((0.4**2 + 0.6**2) / 3, rel=1e-3)
    assert found["delta_1"] == pytest.approx(200 / 3)


def test_a_view_without_measured_depth_is_left_out():
    nothing = torch.zeros(4, 6, dtype=torch.bool)
    found = measured(torch.zeros(3, 4, 6), torch.zeros(3, 4, 6), DEPTH, nothing)
    assert all(math.isnan(value) for value in found.values())
    values = np.array([[1.0, math.nan, 3.0]])
    mae = measures_of(DEPTH)[0]
    assert score(values, mae) == 2
    assert score_interval(values, mae).low >= 1
    assert math.isnan(score(np.full((1, 2), math.nan), mae))


def test_normals_are_compared_by_angles():
    truth = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 4, 6)
    degrees = torch.deg2rad(torch.tensor([0.0, 10.0, 20.0, 40.0]))[:, None].expand(4, 6)
    image = 0.7 * torch.stack([torch.sin(degrees), torch.zeros(4, 6), torch.cos(degrees)])  # of any length
    found = measured(image, truth, NORMAL)
    assert found["mean_angle"] == pytest.approx(17.5, abs=1e-3)
    assert found["median_angle"] == pytest.approx(15, abs=1e-3)
    assert (found["within_11.25"], found["within_22.5"], found["within_30"]) == (50, 75, 75)


def test_opposite_normals_are_180_degrees_apart():
    truth = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 4, 6)
    assert measured(-truth, truth, NORMAL)["mean_angle"] == pytest.approx(180)


def test_psnr_is_that_of_bytes():
    truth = torch.zeros(3, 16, 16)
    found = measured(truth + 2 * 10 / 255, truth, RGB)
    assert found["psnr"] == pytest.approx(20 * math.log10(255 / 10), rel=1e-5)
    assert measured(truth, truth, RGB)["psnr"] == math.inf


def test_ssim_is_wangs_formula():
    rng = np.random.default_rng(1)
    image, truth = rng.uniform(0, 255, (2, 1, 13, 12))
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    expected = []
    for y in range(3):
        for x in range(2):
            a, b = (array[0, y : y + 11, x : x + 11] for array in (image, truth))
            mean, other = (window * a).sum(), (window * b).sum()
            variances = (window * (a - mean) ** 2).sum() + (window * (b - other) ** 2).sum()
            covariance = (window * (a - mean) * (b - other)).sum()
            c1, c2 = 2.55**2, 7.65**2
            luminance = (2 * mean * other + c1) / (mean**2 + other**2 + c1)
            expected.append(luminance * (2 * covariance + c2) / (variances + c2))
    assert structural_similarity(*map(torch.from_numpy, (image, truth))) == pytest.approx(np.mean(expected))
    assert structural_similarity(torch.ones(3, 16, 16), torch.ones(3, 16, 16)) == pytest.approx(1)
    assert math.isnan(structural_similarity(torch.ones(3, 8, 16), torch.ones(3, 8, 16)))


def test_a_network_is_not_better_than_itself():
    values = np.random.default_rng(0).uniform(0, 1, (2, 30))
    mae = measures_of(DEPTH)[0]
    found = paired_difference(values, values, mae)
    assert (found.value, found.interval.low, found.interval.high, found.p_value) == (0, 0, 0, 1)


def test_a_small_difference_on_every_view_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (1, 40))
    mae = measures_of(DEPTH)[0]
    found = paired_difference(values, values + 0.01, mae)
    assert found.value == pytest.approx(-0.01)
    assert found.p_value < 0.01
    assert found.interval.high < 0
    assert score_interval(values, mae).high - score_interval(values, mae).low > 0.1  # unpaired it would drown
    assert paired_difference(values, rng.permuted(values, axis=1), mae).p_value > 0.05
    with pytest.raises(ValueError, match="40 and 39 views"):
        paired_difference(values, values[:, 1:], mae)

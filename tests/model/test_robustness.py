import numpy as np
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.corruptions import NOISE_LEVELS, Condition, NoiseLevel, conditions
from geminifusion_model.evaluation.evaluate import evaluate
from geminifusion_model.evaluation.robustness import RobustnessTable, evaluate_robustness

TASK = nyuv2_task(13)


class Frames:
    task = TASK

    def __len__(self):
        return 2

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        depth = random.uniform(0.5, 8, (48, 64)).astype(np.float32)
        return Sample(
            str(index), random.integers(0, 256, (48, 64, 3), np.uint8), {"depth": depth}, (depth > 3).astype(np.uint8)
        )


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16)).eval()


def inputs(size=200):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randn(1, 3, size, size, generator=generator)
    return rgb, torch.randn(1, 1, size, size, generator=generator).expand(-1, 3, -1, -1)


def hit(condition, seed=0):
    return condition.corruption(TASK, torch.Generator().manual_seed(seed))(inputs())


def test_two_modalities_make_twelve_conditions_and_four_make_sixty():
    names = [condition.name for condition in conditions(("rgb", "depth"))]
    assert names[:4] == [
        "all modalities intact",
        "EMM: rgb missing",
        "EMM: depth missing",
        "RMM: 25 % of rgb missing",
    ]
    assert names[-1] == "NM high: 20 % salt and pepper, sigma 0.5"
    assert len(set(names)) == 12
    assert len(list(conditions(("rgb", "depth", "event", "lidar")))) == 1 + 14 + 3 * 14 + 3


def test_missing_modality_is_zero_and_the_other_untouched():
    rgb, depth = hit(Condition(scenario="EMM", corrupted=("depth",)))
    assert torch.equal(rgb, inputs()[0])
    assert not depth.any()


def test_missing_depth_map_and_a_map_without_measurements_give_the_same_scores(net):
    class Unmeasured(Frames):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return Sample(sample.name, sample.rgb, {"depth": np.zeros((48, 64), np.float32)}, sample.labels)

    condition = Condition(scenario="EMM", corrupted=("depth",))
    corrupted = evaluate(net, Frames(), corruption=lambda index: condition.corruption(TASK, torch.Generator()))
    np.testing.assert_array_equal(corrupted.matrices, evaluate(net, Unmeasured()).matrices)


def test_random_missing_zeroes_the_given_share_of_measured_values():
    rgb, depth = hit(Condition(scenario="RMM", corrupted=("rgb", "depth"), ratio=0.25))
    assert (rgb == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(rgb[0, 0] == 0, rgb[0, 1] == 0)
    assert (depth == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(depth[0, 0], depth[0, 2])


def test_salt_and_pepper_take_half_of_the_density_each():
    rgb, _ = hit(Condition(scenario="NM", corrupted=("rgb",), noise=NoiseLevel("x", 0.2, 0.0)))
    clean = inputs()[0]
    assert (rgb == clean.max()).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (rgb == clean.min()).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (rgb == clean).float().mean() == pytest.approx(0.8, abs=0.01)


def test_gaussian_noise_has_the_levels_deviation():
    for level in NOISE_LEVELS:
        noise = NoiseLevel("gauss only", 0.0, level.sigma)
        rgb, depth = hit(Condition(scenario="NM", corrupted=("rgb", "depth"), noise=noise))
        assert (rgb - inputs()[0]).std() == pytest.approx(level.sigma, rel=0.02)
        assert torch.equal((depth - inputs()[1])[0, 0], (depth - inputs()[1])[0, 1])


def test_corruption_depends_on_nothing_but_the_seed():
    condition = Condition(scenario="NM", corrupted=("rgb", "depth"), noise=NOISE_LEVELS[0])
    assert all(torch.equal(a, b) for a, b in zip(hit(condition, 5), hit(condition, 5), strict=True))
    assert not torch.equal(hit(condition, 5)[0], hit(condition, 6)[0])


def test_means_are_weighted_as_worked_out_by_hand():
    clean = Condition(scenario="clean")
    rgb, depth = (Condition(scenario="EMM", corrupted=(name,)) for name in ("rgb", "depth"))
    table = RobustnessTable(
        protocol="p", frames=1, seed=0, modalities=("rgb", "depth"), miou={clean: 60.0, rgb: 30.0, depth: 45.0}
    )
    assert table.average("EMM") == pytest.approx((60 + 30 + 45) / 3)
    # p = 0.2: 0.64 intact, 0.16 for each alone missing, 0.04 that all are, which is left out
    assert table.expected("EMM", 0.2) == pytest.approx((0.64 * 60 + 0.16 * 30 + 0.16 * 45) / 0.96)
    assert table.kept(depth) == pytest.approx(75)


def test_suite_is_one_table_the_same_for_the_same_seed(net):
    done = []
    table = evaluate_robustness(net, Frames(), seed=3, on_frame=done.append)
    assert done == list(range(1, 25))
    assert table.clean == evaluate(net, Frames()).miou
    assert evaluate_robustness(net, Frames(), seed=3) == table
    text = table.to_text()
    for part in ("EMM: depth missing", "RMM r=0.5", "E(p=0.1)", "NM mid", "2 frames, protocol native-labels, seed 3"):
        assert part in text


def test_known_clean_scores_are_not_computed_again(net):
    clean = evaluate(net, Frames())
    done = []
    table = evaluate_robustness(net, Frames(), clean=clean, on_frame=done.append)
    assert len(done) == 22
    assert table.clean == clean.miou

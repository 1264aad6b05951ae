import golden
import numpy as np
import pytest
import torch

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.loop.schedule import rate_factor, warmup_cosine, warmup_poly


@pytest.mark.parametrize(
    ("step", "factor"),
    # the original's multiplier with its NYUDv2 settings (1500 warm-up steps of 40000)
    [(0, 1.0e-6), (1, 0.000667666), (750, 0.5000005), (1499, 0.999333334), (1500, 0.9625), (20000, 0.5),
     (39999, 2.5e-5), (40000, 2.5e-5), (66000, 2.5e-5)],
)  # fmt: skip
def test_factor_equals_the_originals(step, factor):
    assert warmup_poly(step, warmup_steps=1500, total_steps=40000) == pytest.approx(factor, rel=1e-6)


def test_fourteen_optimizer_steps_equal_the_originals():
    expected = np.load(golden.FOLDER / "poly_warmup_adamw.npz")
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in expected["p0"]]
    groups = [
        {"params": [p], "base_lr": rate, "weight_decay": decay}
        for p, rate, decay in zip(parameters, (6e-3, 6e-3, 6e-2), (0.01, 0.0, 0.01), strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.999), eps=1e-8)
    for step in range(14):
        for group, parameter, gradient in zip(optimizer.param_groups, parameters, expected["grads"][step], strict=True):
            group["lr"] = group["base_lr"] * warmup_poly(step, warmup_steps=4, total_steps=11)
            parameter.grad = torch.from_numpy(gradient.copy())
        found = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(found, expected["lrs"][step], rtol=1e-9)
        optimizer.step()
        values = np.stack([parameter.detach().numpy() for parameter in parameters])
        np.testing.assert_allclose(values, expected["params"][step], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "factor"),
    # 0.1 + 0.9 t / w, then (1 - (t - w) / (T - w))^0.9 with w = 10 epochs and T = 201 epochs of 497 steps
    [(0, 0.1), (497, 0.19), (4970, 1.0), (4970 + 497 * 19, (172 / 191) ** 0.9),
     (4970 + 94927 // 2, 0.5359), (200 * 497 - 1, (498 / 94927) ** 0.9)],
)  # fmt: skip
def test_factor_equals_the_originals_on_deliver(step, factor):
    found = warmup_poly(step, warmup_steps=4970, total_steps=201 * 497, power=0.9, ratio=0.1, decay_from=4970)
    assert found == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "factor"),
    # warm-up from 0 over 4 steps, then (1 + cos(pi t / 12)) / 2
    [(0, 0.0), (1, 0.25), (4, 1.0), (7, 0.853553), (10, 0.5), (13, 0.146447), (16, 0.0), (20, 0.0)],
)
def test_cosine_schedule_equals_values_worked_out_by_hand(step, factor):
    assert warmup_cosine(step, warmup_steps=4, total_steps=16, ratio=0.0) == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "factors"),
    # after two steps of warm-up from 0.1, at steps 0, 2, 6 and 9 of 10
    [
        ({}, (0.1, 0.8, 0.4, 0.1)),
        ({"decay_steps": 20, "decay_power": 2.0}, (0.1, 0.81, 0.49, 0.3025)),
        ({"schedule": "poly_after_warmup"}, (0.1, 1.0, 0.5, 0.125)),
        ({"schedule": "cosine"}, (0.1, 1.0, 0.5, 0.038060)),
    ],
)
def test_the_configuration_chooses_the_schedule(settings, factors):
    config = TrainingConfig(
        network=GeminiFusionConfig(),
        augmentation=Augmentation(crop=(32, 32)),
        steps=10,
        batch_size=1,
        learning_rate=1e-3,
        warmup_steps=2,
        warmup_ratio=0.1,
        **settings,
    )
    assert [rate_factor(config, step) for step in (0, 2, 6, 9)] == pytest.approx(factors, abs=1e-6)

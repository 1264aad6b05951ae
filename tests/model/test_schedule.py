import golden
import numpy as np
import pytest
import torch

from geminifusion_model.training.schedule import warmup_poly


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

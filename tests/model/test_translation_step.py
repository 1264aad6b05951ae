"""A step of a translator's training; the original's numbers are in test_translation_golden.py."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import translation_scenario as scenarios
from torch.nn import functional as F

from geminifusion_model.encoder_sizes import GENERATOR_SIZES
from geminifusion_model.training.errors import DivergedError
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.translation.dataset import TranslationBatch
from geminifusion_model.translation.losses import adversarial_loss, discriminator_loss, reconstruction_loss
from geminifusion_model.translation.state import build_state
from geminifusion_model.translation.step import TranslationStep, rate_factor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(GENERATOR_SIZES, "gen_b0", scenarios.TINY)


def batch(counted=None, inputs=2):
    images = torch.rand(inputs + 1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(3)).mul(2).sub(1)
    mask = torch.ones(2, 32, 32, dtype=torch.bool) if counted is None else counted
    return TranslationBatch(tuple(images[:-1]), images[-1], mask, mask)


def stepped(count=1, given=None, **changes):
    chosen = scenarios.config(**changes)
    state = build_state(chosen, CPU)
    step = TranslationStep(chosen, state, Processes())
    reports = []
    for _ in range(count):
        reports.append(step.take(given or batch()))
        state.step += 1
    return state, reports


def test_losses_are_those_of_the_definitions():
    logits = torch.tensor([[[[[0.3]]], [[[-1.0]]]], [[[[2.0]]], [[[0.0]]]]])  # two streams of two images
    cross = F.binary_cross_entropy(logits.sigmoid(), torch.ones_like(logits), reduction="none")
    assert adversarial_loss(logits).item() == pytest.approx(cross.mean((1, 2, 3, 4)).sum().item())
    both = discriminator_loss(logits, -logits)
    assert both.item() == pytest.approx(cross.mean((1, 2, 3, 4)).sum().item())  # half of the same twice
    image, target = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    counted = torch.tensor([[[True, False], [False, False]]])
    assert reconstruction_loss(image, target, counted).item() == pytest.approx(0.5)


def test_the_same_views_again_are_translated_better_and_judged_better():
    views = dataclasses.replace(batch(), target=torch.full((2, 3, 32, 32), 0.5))
    _, reports = stepped(30, views, learning_rate=2e-3)
    first, last = reports[0], reports[-1]
    assert last.parts["l1_ensemble"] < 0.8 * first.parts["l1_ensemble"]
    assert min(report.discriminator for report in reports) < 0.8 * first.discriminator
    assert first.scalars().keys() == {
        *("loss", "loss_l1_0", "loss_l1_1", "loss_l1_ensemble", "loss_adversarial", "loss_discriminator"),
        *("gradient_norm", "rate"),
    }
    weighted = 100 * sum(first.parts[f"l1_{output}"] for output in ("0", "1", "ensemble"))
    assert first.loss == pytest.approx(weighted + first.parts["adversarial"], rel=1e-5)


def test_without_its_weight_there_is_no_discriminator():
    state, (report,) = stepped(adversarial_weight=0.0)
    assert state.adversary is None
    assert report.discriminator is None
    assert set(report.parts) == {"l1_0", "l1_1", "l1_ensemble"}


def test_a_single_input_has_one_difference():
    _, (report,) = stepped(given=batch(inputs=1), inputs=("rgb",), fusion="none")
    assert set(report.parts) == {"l1_0", "adversarial"}


@pytest.mark.parametrize("fusion", ["token_fusion", "token_exchange", "channel_exchange"])
def test_exchanging_fusions_are_penalized(fusion):
    _, (report,) = stepped(fusion=fusion, fusion_penalty=0.5)
    rest = 100 * sum(report.parts[f"l1_{output}"] for output in ("0", "1", "ensemble")) + report.parts["adversarial"]
    assert report.parts["penalty"] > 0
    assert report.loss == pytest.approx(rest + 0.5 * report.parts["penalty"], rel=1e-5)


def test_pixels_that_do_not_count_change_nothing_about_the_generators_image():
    """Whatever the generator makes of them, both networks see and learn the same."""
    counted = torch.ones(2, 32, 32, dtype=torch.bool)
    counted[:, :, 16:] = False
    chosen = scenarios.config(learning_rate=1e-3)
    state = build_state(chosen, CPU)
    step = TranslationStep(chosen, state, Processes())
    state.net.eval()
    state.adversary.net.eval()  # its stochastic depth would draw anew each time
    prediction = state.net(*batch().inputs)
    changed = prediction._replace(
        per_stream=tuple(torch.where(counted[:, None], image, -image) for image in prediction.per_stream)
    )
    parts, loss = step._generator_loss(batch(counted), prediction)
    other_parts, other = step._generator_loss(batch(counted), changed)
    assert all(torch.equal(values, other_parts[name]) for name, values in parts.items())
    assert torch.equal(loss, other)
    everywhere, elsewhere = (step._generator_loss(batch(), images)[1] for images in (prediction, changed))
    assert loss != everywhere
    assert everywhere != elsewhere


def test_a_batch_without_a_pixel_that_counts_is_no_disaster():
    _, (report,) = stepped(given=batch(torch.zeros(2, 32, 32, dtype=torch.bool)))
    assert report.parts["l1_0"] == 0
    assert report.gradient_norm < float("inf")


def test_the_discriminator_does_not_learn_from_the_generators_step():
    """Its gradients are those of its own step alone, and it needs them again afterwards."""
    state, _ = stepped()
    own = [p.grad.clone() for p in state.adversary.net.parameters()]
    chosen = scenarios.config(reconstruction_weight=1000.0, adversarial_weight=3.0)
    other = build_state(chosen, CPU)
    TranslationStep(chosen, other, Processes()).take(batch())
    for mine, theirs in zip(own, other.adversary.net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.grad)
    assert all(p.requires_grad for p in state.adversary.net.parameters())


def test_what_is_not_finite_ends_the_run_before_weights_move():
    images = batch()
    images.inputs[0][0, 0, 0, 0] = float("nan")
    chosen = scenarios.config(adversarial_weight=0.0)
    state = build_state(chosen, CPU)
    before = {name: values.clone() for name, values in state.net.state_dict().items()}
    with pytest.raises(DivergedError, match="the loss is nan at step 0; start a new run with a lower learning_rate"):
        TranslationStep(chosen, state, Processes()).take(images)
    assert all(torch.equal(values, before[name]) for name, values in state.net.state_dict().items())


def test_clipping_bounds_the_gradient_and_the_report_has_it_before():
    state, (report,) = stepped(gradient_clip=0.01)
    norm = torch.stack([p.grad.norm() for p in state.net.parameters()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert report.gradient_norm > 0.01


def test_bfloat16_is_near_float32():
    _, (exact,) = stepped()
    _, (rough,) = stepped(precision="bfloat16")
    assert rough.loss == pytest.approx(exact.loss, rel=0.03)
    assert rough.loss != exact.loss


def test_rates():
    constant, cosine = scenarios.config(warmup_steps=3), scenarios.config(schedule="cosine", steps=10)
    assert [rate_factor(constant, step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate_factor(cosine, 0) == 1.0
    assert rate_factor(cosine, 5) == pytest.approx(0.5)


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_batch(tmp_path):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
        *(scenarios.__file__, str(tmp_path / "found.pt")),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    found = torch.load(Path(tmp_path / "found.pt"), weights_only=True)
    for name in scenarios.SCENARIOS:
        expected = scenarios.steps(scenarios.scenario(name), Processes())
        torch.testing.assert_close(found[name]["reports"], expected["reports"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[name]["gradients"], expected["gradients"], rtol=1e-3, atol=1e-5)

"""The translation networks and a step of their training give the original's numbers (see tests/golden/README.md)."""

import numpy as np
import pytest
import torch
from golden import FOLDER, case_inputs
from golden_translation import MANIFEST, case_weights, fill, original_names

from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.translation.config import TOKEN_FUSION, TranslatorConfig
from geminifusion_model.translation.dataset import TranslationBatch
from geminifusion_model.translation.discriminator import Discriminator
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.state import build_state
from geminifusion_model.translation.step import TranslationStep
from geminifusion_model.translation.training_config import TranslationTrainingConfig
from geminifusion_model.translation.transforms import TranslationAugmentation

GAINS = next(iter(MANIFEST["generators"].values()))["gain"]
UNUSED = 2048  # numbers of the norms that the original has behind its upsampling layers of b0 and never calls


def config_of(case):
    fusion = TOKEN_FUSION if case["fusion"] == "token_exchange" else case["fusion"]
    where = case.get("where", "encoder")
    return TranslatorConfig(size=f"gen_{case['size']}", fusion=fusion, where=where, drop_path_rate=0.0)


def params_of(case, part):
    """Names and shapes of a step's networks, which are those of the cases of the networks alone."""
    if part == "d":
        return MANIFEST["discriminators"]["i2i_dis_b0"]["params"]
    name = {"geminifusion": "i2i_gen_b0_gemini", "token_exchange": "i2i_gen_b0_token"}[case["fusion"]]
    return MANIFEST["generators"][name]["params"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if "b1" in n else ()) for n in MANIFEST["generators"]],
)
def test_generator(name):
    case = MANIFEST["generators"][name]
    weights = case_weights(case["params"], case["weight_seed"], case["gain"], case["weights_sha256"])
    net = fill(Generator(config_of(case)), weights).eval()
    inputs = case_inputs(case["input_seed"], 2, case["batch"], case["height"], case["width"])
    with torch.no_grad():
        found = net(*inputs)
    expected = np.load(FOLDER / case["file"])
    for image, key in zip((*found.per_stream, found.ensemble), ("out_0", "out_1", "out_ens"), strict=True):
        np.testing.assert_allclose(image.numpy(), expected[key], rtol=0, atol=1e-4)
    if case["size"] == "b0":
        assert sum(parameter.numel() for parameter in net.parameters()) == case["n_params"] - UNUSED


@pytest.mark.parametrize("name", MANIFEST["discriminators"])
def test_discriminator(name):
    case = MANIFEST["discriminators"][name]
    weights = case_weights(case["params"], case["weight_seed"], case["gain"], case["weights_sha256"])
    net = fill(Discriminator(TranslatorConfig(drop_path_rate=0.0)), weights).eval()
    images = case_inputs(case["input_seed"], 4, case["batch"], case["height"], case["width"])
    with torch.no_grad():
        found = net(images[:2], images[2:]).sigmoid()
    expected = np.load(FOLDER / case["file"])
    for stream in range(2):
        np.testing.assert_allclose(found[stream].numpy(), expected[f"patch_{stream}"], rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in net.parameters()) == case["n_params"]


def keys_of(original, values):
    """How many of a bias's numbers are of keys: they do not change what softmax gives, so their gradient is rounding,
    of which Adam makes whole steps.
    """
    if original.endswith("kv.module.bias"):
        return values.numel() // 2
    return values.numel() // 3 if original.endswith("in_proj_bias") else 0


@pytest.mark.parametrize("name", MANIFEST["steps"])
def test_step(name):
    case = MANIFEST["steps"][name]
    config = TranslationTrainingConfig(
        network=config_of(case), size=(64, 64), augmentation=TranslationAugmentation(), steps=1, batch_size=2
    )
    state = build_state(config, torch.device("cpu"))
    known = {}
    for part, net in (("g", state.net), ("d", state.adversary.net)):
        known[part] = case_weights(params_of(case, part), case[f"{part}_weight_seed"], GAINS, None)
        fill(net, known[part])
    rgb, other, third = case_inputs(case["input_seed"], 3, case["batch"], case["height"], case["width"])
    everywhere = torch.ones(case["batch"], case["height"], case["width"], dtype=torch.bool)
    batch = TranslationBatch((rgb, other), third.tanh(), everywhere, everywhere)
    report = TranslationStep(config, state, Processes()).take(batch)

    l1 = [report.parts[f"l1_{output}"] for output in ("0", "1", "ensemble")]
    np.testing.assert_allclose(l1, case["g_l1"], rtol=1e-3)
    assert report.discriminator == pytest.approx(case["d_loss"], rel=1e-3)
    assert report.parts["adversarial"] == pytest.approx(case["g_adv"], rel=1e-3)
    assert report.parts.get("penalty", 0.0) == pytest.approx(case["g_slim"], rel=1e-3)
    assert report.loss == pytest.approx(case["g_loss"], rel=1e-3)

    expected = np.load(FOLDER / case["file"])
    for part, net in (("g", state.net), ("d", state.adversary.net)):
        places = {name: index for index, name in enumerate(case[f"{part}_names"])}
        for ours, parameter in net.named_parameters():
            originals = original_names(ours, parameter, known[part])
            stacked = parameter.detach() if len(originals) > 1 else parameter.detach()[None]
            gradients = parameter.grad if len(originals) > 1 else parameter.grad[None]
            for original, values, gradient in zip(originals, stacked, gradients, strict=True):
                place = places[original]
                norm = expected[f"{part}_grad_norm"][place]
                assert gradient.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-5), original
                total, length = expected[f"{part}_after"][place]
                free = 2 * config.learning_rate * keys_of(original, values)
                assert values.norm().item() == pytest.approx(length, rel=1e-3, abs=free), original
                assert values.sum().item() == pytest.approx(total, rel=1e-3, abs=1e-3 * length + free), original

"""The original's numbers, through `load_official`, at the tolerances of DESIGN: 1e-4 on logits, 1e-5 on the fusion."""

import gzip
import json

import golden
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion_model import load_official
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.training.loop.loss import segmentation_losses
from geminifusion_model.training.loop.optimizer import parameter_groups
from geminifusion_model.weights.official_names import official_names

CASES = [pytest.param(name, marks=pytest.mark.slow if "large" in name else []) for name in golden.MANIFEST["cases"]]
TRAIN_STEPS = {
    "train_step_mit_b0": ("mit_b0_b1_64x96", 2, (64, 96)),
    "train_step_swin_tiny": ("swin_tiny_b1_64x64", 1, (64, 64)),
    "deliver_train_step_b0_rgbdel": ("deliver_b0_rgbdel_b1_64x96", 1, (64, 64)),
}


@pytest.fixture(scope="module", params=CASES)
def parity(request):
    """A case, its network with the import's report, inputs and the original's outputs."""
    case = golden.MANIFEST["cases"][request.param]
    net, report = load_official(golden.case_weights(case))
    inputs = golden.case_inputs(case["input_seed"], case["n_modal"], case["batch"], case["height"], case["width"])
    return case, net, report, inputs, np.load(golden.FOLDER / case["file"])


def sampled(logits, case):
    """As the case's file holds them (see tests/golden/README.md)."""
    return logits.flatten()[:: golden.DELIVER_STEP] if case["kind"] == "deliver" else logits


def test_every_weight_of_the_original_finds_its_place(parity):
    case, net, report, _, _ = parity
    assert report.complete
    assert {golden.without_prefix(name) for name, _ in case["params"]} <= {*report.used, *report.ignored}
    inert = sum(np.prod(shape) for name, shape in case["params"] if golden.without_prefix(name) in report.ignored)
    assert sum(parameter.numel() for parameter in net.parameters()) == case["n_params"] - inert


def test_logits_equal_the_originals(parity):
    case, net, _, inputs, expected = parity
    with torch.no_grad():
        prediction = net(*inputs)
    for logits, key in zip((*prediction.per_stream, prediction.ensemble), ("rgb", "x", "ens"), strict=True):
        np.testing.assert_allclose(sampled(logits.numpy(), case), expected[f"logits_{key}"], rtol=0, atol=1e-4)


def test_stages_equal_the_originals(parity):
    _, net, _, inputs, expected = parity
    with torch.no_grad():
        pyramid = net.encoder(torch.cat(inputs))
    for stage, feature in enumerate(pyramid, start=1):
        for stream, values in enumerate(feature.chunk(2)):
            found = values.contiguous().flatten()[expected[f"stage{stage}_m{stream}_idx"]]
            np.testing.assert_allclose(found.numpy(), expected[f"stage{stage}_m{stream}_val"], rtol=0, atol=1e-4)


def test_inference_form_equals_the_original(parity):
    case, net, _, inputs, expected = parity
    with torch.no_grad():
        logits = InferenceForm(net)(*inputs).logits
    if net.config.upsample_logits:
        logits = F.interpolate(logits, size=inputs[0].shape[2:], mode="bilinear")
    np.testing.assert_allclose(sampled(logits.numpy(), case), expected["logits_ens"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", golden.MANIFEST["fusion_cases"])
def test_fusion_module_equals_the_originals(name):
    case = golden.MANIFEST["fusion_cases"][name]
    expected = np.load(golden.FOLDER / case["file"])
    weights = {key.removeprefix("w."): torch.from_numpy(expected[key]) for key in expected if key.startswith("w.")}
    fusion = GeminiFusionBlock(case["dim"], case["heads"])
    own = fusion.state_dict()
    for parameter, tensor in own.items():
        full = f"encoder.stages.0.blocks.0.attention.fusion.{parameter}"
        originals = [n.removeprefix("encoder.block1.0.attn.") for n in official_names(full, tensor, "mit_b0")]
        found = [weights.pop(original) for original in originals]
        tensor.copy_(torch.stack(found) if len(found) > 1 else found[0])
    assert not weights, "weights of the original that ours does not have"
    x = torch.stack([torch.from_numpy(expected["x0"]), torch.from_numpy(expected["x1"])]).flatten(1, 2)
    with torch.no_grad():
        fused = fusion(x)
        relation = fusion.relation(x)
    for stream in range(2):
        np.testing.assert_allclose(fused[stream].numpy(), expected[f"y{stream}"].reshape(-1, 32), rtol=0, atol=1e-5)
        wanted = expected[f"relation_{stream}"].reshape(-1, 32)
        np.testing.assert_allclose(relation[stream].numpy(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", TRAIN_STEPS)
def test_training_step_has_the_originals_losses_and_gradients(step):
    name, batch, size = TRAIN_STEPS[step]
    case = golden.MANIFEST["cases"][name]
    expected = np.load(golden.FOLDER / f"{step}.npz")
    net, _ = load_official(golden.case_weights(case))  # in eval mode: no dropout, BatchNorm by running statistics
    inputs = golden.case_inputs(0, case["n_modal"], batch, *size)
    labels = torch.from_numpy(expected["target"].astype(np.int64))
    losses = segmentation_losses(net(*inputs), labels)
    sum(losses).backward()
    np.testing.assert_allclose([loss.item() for loss in losses], expected["losses"], rtol=1e-5)
    norms = {
        golden.without_prefix(original): norm
        for original, norm in zip(expected["names"], expected["grad_l2"], strict=True)
    }
    checked = set()
    for name, parameter in net.named_parameters():
        originals = official_names(name, parameter, net.config.encoder)
        gradients = parameter.grad if len(originals) > 1 else parameter.grad[None]
        for original, gradient in zip(originals, gradients, strict=True):
            np.testing.assert_allclose(gradient.norm().item(), norms[original], rtol=1e-3, err_msg=original)
            checked.add(original)
    assert checked == set(norms), "what the original trains and ours does not"


def test_ensemble_loss_reaches_only_the_ensemble_weights():
    net, _ = load_official(golden.case_weights(golden.MANIFEST["cases"]["mit_b0_b1_64x96"]))
    ensemble = net(*golden.case_inputs(0, 2, 1, 64, 96)).ensemble
    F.mse_loss(ensemble, torch.zeros_like(ensemble)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["ensemble_logits"]


@pytest.mark.parametrize("name", ["mit_b0_b1_64x96", "swin_tiny_b1_64x64"])
def test_optimizer_groups_hold_the_originals_parameters(name):
    encoder = golden.MANIFEST["cases"][name]["model"]
    expected = json.loads(gzip.decompress((golden.FOLDER / f"param_groups_{encoder}.json.gz").read_bytes()))
    net, _ = load_official(golden.case_weights(golden.MANIFEST["cases"][name]))
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, learning_rate=6e-5, decoder_factor=10, weight_decay=0.01)
    found = [
        {original for p in group["params"] for original in official_names(names[id(p)], p, encoder)} for group in groups
    ]
    assert found == [set(expected[key]) for key in ("encoder_decay", "encoder_norm_nodecay", "decoder")]
    assert [group["lr"] for group in groups] == pytest.approx([6e-5, 6e-5, 6e-4])
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.01]

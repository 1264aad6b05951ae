"""Which parameter decays; the authors' groups for NYUv2 and SUN RGB-D are checked in test_parity.py."""

import golden
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig, load_official
from geminifusion_model.training.loop.optimizer import build_optimizer, parameter_groups
from geminifusion_model.weights.official_names import official_names

RATES = {"learning_rate": 2e-4, "decoder_factor": 10, "weight_decay": 0.01}


def shapes_only(**changes):
    """A network without values: grouping looks at names and shapes."""
    with torch.device("meta"):
        return GeminiFusion(GeminiFusionConfig(num_classes=3, **changes))


@pytest.mark.parametrize("case", ["deliver_b0_rgbd_b2_64x64", "deliver_b0_rgbdel_b1_64x96"])
def test_deliver_groups_go_by_the_originals_number_of_axes(case):
    """The rule of the authors' code, applied to the names and shapes that their own network has."""
    case = golden.MANIFEST["cases"][case]
    shapes = {golden.without_prefix(name): shape for name, shape in case["params"]}
    net, report = load_official(golden.case_weights(case))
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, **RATES, style="deliver")
    found = [
        {original for p in group["params"] for original in official_names(names[id(p)], p, net.config.encoder)}
        for group in groups
    ]
    trained = {
        name for name in shapes if name not in report.ignored and not name.endswith(("running_mean", "running_var"))
    }
    backbone = {name for name in trained if name.startswith("encoder.")}
    vectors = {name for name in backbone if len(shapes[name]) == 1}
    decoder = {name for name in trained if name.startswith("decoder.")}
    assert found == [backbone - vectors, vectors | {"alpha"}, decoder]
    assert [group["lr"] for group in groups] == pytest.approx([2e-4, 2e-4, 2e-3])
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.01]


@pytest.mark.parametrize("style", ["original", "deliver"])
@pytest.mark.parametrize("fusion", ["geminifusion", "token_exchange", "channel_exchange", "cross_attention", "none"])
def test_no_parameter_is_in_two_groups_and_only_the_ensemble_in_none(style, fusion):
    net = shapes_only(fusion=fusion)
    optimizer = build_optimizer(net, **RATES, style=style)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    left_out = [name for name, p in net.named_parameters() if id(p) not in held]
    assert left_out == ([] if style == "deliver" else ["ensemble_logits"])


def test_stacked_biases_of_every_fusion_do_not_decay_in_deliver_style():
    for fusion in ("geminifusion", "token_exchange", "channel_exchange", "cross_attention"):
        net = shapes_only(fusion=fusion)
        names = {id(p): name for name, p in net.named_parameters()}
        decayed = [names[id(p)] for p in parameter_groups(net, **RATES, style="deliver")[0]["params"]]
        assert not [name for name in decayed if name.endswith("bias") or "norm" in name]


def test_position_biases_of_swin_are_tables_and_decay_in_deliver_style():
    net = shapes_only(encoder="swin_tiny")
    names = {id(p): name for name, p in net.named_parameters()}
    decayed = {names[id(p)] for p in parameter_groups(net, **RATES, style="deliver")[0]["params"]}
    assert {name for name in names.values() if name.endswith("position_bias")} <= decayed

import subprocess
import sys

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.inference_form import InferenceForm


def images(batch, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, height, width, generator=generator) for _ in range(2)]


def network(**changes):
    """A small random network whose biases, norms and running statistics are away from their trivial start values."""
    torch.manual_seed(1)
    net = GeminiFusion(GeminiFusionConfig(num_classes=5, decoder_channels=16, **changes)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        net.decoder.norm.running_mean.normal_()
        net.decoder.norm.running_var.uniform_(0.5, 2.0)
    return net


def test_logits_have_a_quarter_of_the_size_rounded_up():
    prediction = network()(*images(2, 33, 50))
    assert prediction.ensemble.shape == (2, 5, 9, 13)
    assert [logits.shape for logits in prediction.per_stream] == [(2, 5, 9, 13)] * 2


def test_upsampled_logits_are_the_bilinear_enlargement():
    config = {"num_classes": 5, "decoder_channels": 16}
    torch.manual_seed(1)
    small = GeminiFusion(GeminiFusionConfig(**config)).eval()
    large = GeminiFusion(GeminiFusionConfig(**config, upsample_logits=True)).eval()
    large.load_state_dict(small.state_dict())
    x = images(1, 40, 56)
    wanted = torch.nn.functional.interpolate(small(*x).per_stream[0], size=(40, 56), mode="bilinear")
    torch.testing.assert_close(large(*x).per_stream[0], wanted)


def test_batch_equals_one_by_one():
    net = network()
    rgb, depth = images(3, 64, 64)
    together = net(rgb, depth).ensemble
    alone = torch.cat([net(rgb[i : i + 1], depth[i : i + 1]).ensemble for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("shape", [(2, 64, 96), (1, 29, 29), (3, 70, 45)])
def test_inference_form_equals_the_training_form(fusion, shape):
    net = network(fusion=fusion)
    x = images(*shape)
    with torch.no_grad():
        torch.testing.assert_close(InferenceForm(net)(*x).logits, net(*x).ensemble, rtol=0, atol=1e-5)


def test_inference_form_leaves_the_network_trainable():
    net = network()
    InferenceForm(net)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_gate_is_a_share_and_depends_on_both_streams():
    form = InferenceForm(network())
    rgb, depth = images(1, 64, 64)
    gate = form(rgb, depth).gate
    assert gate.shape == (1, 16, 16)
    assert 0 <= gate.min() < gate.max() <= 1
    assert not torch.allclose(gate, form(rgb, torch.zeros_like(depth)).gate)


def test_drop_path_is_drawn_for_each_stream_and_sample():
    from geminifusion_model.streams import StreamDropPath

    torch.manual_seed(0)
    dropped = StreamDropPath(0.5).train()(torch.ones(2, 64, 3, 4))
    kept = dropped[:, :, 0, 0]
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(dropped, kept[:, :, None, None].expand_as(dropped))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([torch.zeros(1, 3, 64, 64)], "got 1 inputs; expected 2: rgb, depth"),
        ([torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 60)], "expected the same B 3 H W"),
        ([torch.zeros(1, 1, 64, 64)] * 2, "expected the same B 3 H W"),
        ([torch.zeros(1, 3, 28, 64)] * 2, "expected at least 29x29"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        network()(*inputs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": "mit_b9"},
        {"fusion": "sum"},
        {"num_classes": 0},
        {"modalities": ("depth", "rgb")},
        {"num_fusion_heads": 7},
        {"drop_path_rate": 1.0},
        {"decoder_channels": 0},
    ],
)
def test_configuration_names_the_field_that_is_wrong(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GeminiFusionConfig(**wrong)


def test_configuration_survives_a_round_trip_and_refuses_unknown_fields():
    config = GeminiFusionConfig(encoder="mit_b2", num_classes=7)
    assert GeminiFusionConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="wings"):
        GeminiFusionConfig.from_dict({**config.to_dict(), "wings": 2})


def test_configuration_is_checked_without_importing_torch():
    code = (
        "import sys\n"
        "from geminifusion_model.config import GeminiFusionConfig\n"
        "GeminiFusionConfig(fusion='cross_attention')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.encoders.modality_merge import ModalityMerge
from geminifusion_model.inference_form import InferenceForm

FOUR = ("rgb", "depth", "event", "lidar")


def network(modalities=FOUR, **changes):
    torch.manual_seed(1)
    config = GeminiFusionConfig(num_classes=5, decoder_channels=16, modalities=modalities, **changes)
    return GeminiFusion(config).eval()


def images(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 48, 64, generator=generator) for _ in range(number)]


def test_two_modalities_have_no_merge_and_the_same_parameters_whatever_the_second_is():
    depth, thermal = network(("rgb", "depth")), network(("rgb", "thermal"))
    assert not any("merge" in name for name in depth.state_dict())
    thermal.load_state_dict(depth.state_dict())


@pytest.mark.parametrize("number", [3, 4])
def test_more_modalities_predict_for_rgb_and_for_the_merged_rest(number):
    prediction = network(FOUR[:number])(*images(number))
    assert [logits.shape for logits in prediction.per_stream] == [(2, 5, 12, 16)] * 2
    assert prediction.ensemble.shape == (2, 5, 12, 16)


def test_every_modality_matters():
    net, x = network(), images(4)
    with torch.no_grad():
        before = net(*x).ensemble
        for index in range(4):
            changed = [image.roll(7, -1) if i == index else image for i, image in enumerate(x)]
            assert not torch.allclose(net(*changed).ensemble, before, atol=1e-4), FOUR[index]


def test_gradients_reach_every_parameter():
    net = network()
    prediction = net(*images(4))
    (sum(logits.square().mean() for logits in prediction.per_stream) + prediction.ensemble.square().mean()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_merge_weighs_each_modality_by_its_score_and_keeps_the_larger_value():
    merge = ModalityMerge(2, 3)
    for net, bias in zip(merge.score_nets, (0.0, 100.0), strict=True):
        torch.nn.init.zeros_(net.pointwise.weight)
        torch.nn.init.constant_(net.pointwise.bias, bias)  # scores of 1/2 and 1 everywhere
    tokens = torch.randn(3, 1, 8, 3)
    pair, extras = merge(tokens, 2, 4)
    torch.testing.assert_close(extras, torch.stack([1.5 * tokens[1], 2.0 * tokens[2]]))
    torch.testing.assert_close(pair[0], tokens[0])
    torch.testing.assert_close(pair[1], torch.maximum(1.5 * tokens[1], 2.0 * tokens[2]))


@pytest.mark.parametrize("number", [3, 4])
def test_inference_form_equals_the_training_form(number):
    net, x = network(FOUR[:number]), images(number)
    with torch.no_grad():
        torch.testing.assert_close(InferenceForm(net)(*x).logits, net(*x).ensemble, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "modalities",
    [
        (),
        ("depth",),
        ("rgb", "depth", "depth"),
        ("depth", "rgb", "event"),
        ("rgb", "depth", "smell"),
        ("rgb", "depth", "thermal", "event", "lidar"),
    ],
)
def test_modalities_must_be_up_to_four_different_known_ones_with_rgb_first(modalities):
    with pytest.raises(ValueError, match=r"modalities are .* expected 'rgb', alone or followed by up to three"):
        GeminiFusionConfig(modalities=modalities)

"""The baseline fusions on cases small enough to work out by hand."""

import math

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.fusions.channel_exchange import ChannelExchange
from geminifusion_model.fusions.cross_attention import CrossAttention
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.fusions.registry import FUSIONS, fusion_penalty
from geminifusion_model.fusions.token_exchange import TokenExchange


@pytest.fixture
def sign_scored():
    """A token exchange whose score is about 1 for tokens with a first channel of 1, and 0.007 for -1."""
    fusion = TokenExchange(channels=8)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.zero_()
        fusion.fc1_weight[:, 0, 0] = 10.0
        fusion.fc2_weight[:, 0, 0] = 10.0
        fusion.fc2_bias.fill_(-5.0)
    return fusion.eval()


def tokens(first_channels):
    """`2 1 N 8`: each token's first channel as given, the others tell stream and place apart."""
    streams = []
    for stream, firsts in enumerate(first_channels):
        x = torch.arange(8.0).repeat(len(firsts), 1) + 100 * stream + 10 * torch.arange(len(firsts))[:, None]
        x[:, 0] = torch.tensor(firsts)
        streams.append(x)
    return torch.stack(streams)[:, None]


def test_tokens_below_the_threshold_come_from_the_other_stream(sign_scored):
    x = tokens([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    out = sign_scored(x)
    rgb, depth = x[:, 0]
    expected_rgb = torch.stack([rgb[0], depth[1], rgb[2], depth[3]])
    expected_depth = torch.stack([depth[0], depth[1], rgb[2], rgb[3]])
    torch.testing.assert_close(out[:, 0], torch.stack([expected_rgb, expected_depth]))


def test_scores_are_penalized_and_learn_from_the_choice(sign_scored):
    sign_scored.train()
    x = tokens([[1.0, -1.0], [1.0, 1.0]])
    out = sign_scored(x)
    torch.testing.assert_close(out.detach(), sign_scored.eval()(x), msg="training must choose as inference does")
    sign_scored.train()
    sign_scored(x)[..., 1:].sum().backward()
    assert sign_scored.fc2_bias.grad[0].abs() > 0, "the exchanged token must tell its score which way to go"
    assert sign_scored.penalty().item() == pytest.approx((3 + 1 / (1 + math.exp(5))) / 4, abs=1e-3)


def test_no_token_is_exchanged_at_the_start():
    torch.manual_seed(0)
    fusion = TokenExchange(channels=32).eval()
    fusion.init_weights()
    x = torch.randn(2, 2, 50, 32)
    torch.testing.assert_close(fusion(x), x)


def test_channels_with_a_vanishing_scale_come_from_the_other_stream():
    fusion = ChannelExchange(channels=2, threshold=0.1)
    with torch.no_grad():
        fusion.norm.weight.copy_(torch.tensor([[1.0, 0.05], [2.0, -3.0]]))
        fusion.norm.bias.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    # the norm of (v, -v) is (1, -1), whatever v > 0
    out = fusion(torch.tensor([[[[4.0, -4.0]]], [[[0.5, -0.5]]]]))
    # stream 0 keeps its first channel, 1·1, and takes the other's second, -1·-3 + 1; stream 1 keeps both
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 4.0, 3.0, 4.0]), atol=1e-4, rtol=0)


def test_sparsity_falls_on_a_different_half_of_each_streams_scales():
    fusion = ChannelExchange(channels=4)
    with torch.no_grad():
        fusion.norm.weight.copy_(torch.tensor([[1.0, -2.0, 50.0, 50.0], [50.0, 50.0, 3.0, 4.0]]))
    penalty = fusion.penalty()
    assert penalty.item() == pytest.approx((1 + 2 + 3 + 4) / 4)
    penalty.backward()
    assert (fusion.norm.weight.grad != 0).tolist() == [[True, True, False, False], [False, False, True, True]]


def test_cross_attention_equals_its_formula():
    torch.manual_seed(0)
    fusion = CrossAttention(channels=4, num_heads=2)
    fusion.init_weights()
    with torch.no_grad():
        fusion.in_proj_bias.normal_()
    x = torch.randn(2, 3, 5, 4)
    expected = x.clone()
    for i in range(2):
        query_w, key_w, value_w = fusion.in_proj_weight[i].split(4)
        query_b, key_b, value_b = fusion.in_proj_bias[i].split(4)
        query, key, value = x[i] @ query_w.T + query_b, x[1 - i] @ key_w.T + key_b, x[1 - i] @ value_w.T + value_b
        for head in (slice(0, 2), slice(2, 4)):
            weights = (query[..., head] @ key[..., head].mT / math.sqrt(2)).softmax(-1)
            expected[i, ..., head] += weights @ value[..., head]
    torch.testing.assert_close(fusion(x), expected)


def test_cross_attention_over_one_pixel_takes_the_other_streams_value():
    fusion = CrossAttention(channels=2, num_heads=1)
    with torch.no_grad():
        fusion.in_proj_weight.copy_(torch.cat([torch.eye(2)] * 3).expand(2, 6, 2))
    x = torch.tensor([[[[1.0, 2.0]]], [[[10.0, 20.0]]]])
    torch.testing.assert_close(fusion(x).flatten(), torch.tensor([11.0, 22.0, 11.0, 22.0]))


@pytest.mark.parametrize("encoder", ["mit_b0", "swin_tiny"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_trains_in_every_encoder(encoder, fusion):
    torch.manual_seed(0)
    net = GeminiFusion(GeminiFusionConfig(encoder=encoder, fusion=fusion, num_classes=3, decoder_channels=16)).train()
    rgb, depth = torch.randn(2, 1, 3, 32, 32)
    total = sum(logits.square().mean() for logits in net(rgb, depth).per_stream)
    penalty = fusion_penalty(net)
    assert (penalty is not None) == (fusion in ("token_exchange", "channel_exchange"))
    (total if penalty is None else total + penalty).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None and name != "ensemble_logits"]
    assert not without


def test_ablations_lack_exactly_their_part():
    def parameters(fusion):
        with torch.device("meta"):
            net = GeminiFusion(GeminiFusionConfig(fusion=fusion))
        return {name for name, _ in net.named_parameters()}

    full = parameters("geminifusion")
    assert full - parameters("pixel_attention_relation") == {n for n in full if "_noise" in n}
    assert full - parameters("pixel_attention_noise") == {n for n in full if ".relation." in n}
    assert full - parameters("pixel_attention") == {n for n in full if "_noise" in n or ".relation." in n}


def test_plain_pixel_attention_is_attention_over_a_pixel_and_its_counterpart():
    torch.manual_seed(0)
    fusion = GeminiFusionBlock(8, 2, noise=False, relation=False)
    fusion.init_weights()
    with torch.no_grad():
        fusion.in_proj_bias.normal_()
    x = torch.randn(2, 5, 8)
    for i in range(2):
        reference = torch.nn.MultiheadAttention(8, 2)
        with torch.no_grad():
            reference.in_proj_weight.copy_(fusion.in_proj_weight[i])
            reference.in_proj_bias.copy_(fusion.in_proj_bias[i])
            reference.out_proj.weight.copy_(fusion.out_proj_weight[i])
            reference.out_proj.bias.copy_(fusion.out_proj_bias[i])
        candidates = torch.stack([x[i], x[1 - i]])
        expected = x[i] + reference(x[i : i + 1], candidates, candidates)[0][0]
        torch.testing.assert_close(fusion(x)[i], expected)

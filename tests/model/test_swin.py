import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.encoders.windows import FORBIDDEN, merge_neighbors, window_plan
from geminifusion_model.inference_form import InferenceForm


def tokens_of(batch, height, width):
    return torch.randn(batch, height * width, 3, generator=torch.Generator().manual_seed(0))


def windows_by_reshaping(tokens, height, width, window, shift):
    """The textbook way: pad, roll, reshape."""
    maps = tokens.unflatten(1, (height, width))
    maps = F.pad(maps, (0, 0, 0, -width % window, 0, -height % window)).roll((-shift, -shift), (1, 2))
    batch, rows, columns, channels = maps.shape
    maps = maps.view(batch, rows // window, window, columns // window, window, channels)
    return maps.transpose(2, 3).reshape(batch, -1, window * window, channels)


@pytest.mark.parametrize("size", [(7, 7), (14, 21), (10, 9), (3, 2), (16, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_those_of_padding_rolling_and_reshaping(size, shifted):
    tokens = tokens_of(2, *size)
    plan = window_plan(*size, 7, shifted, tokens)
    windows = plan.split(tokens, 7)
    torch.testing.assert_close(windows, windows_by_reshaping(tokens, *size, 7, 3 if shifted else 0), rtol=0, atol=0)
    torch.testing.assert_close(plan.join(windows), tokens, rtol=0, atol=0)


def test_shifted_windows_forbid_pairs_from_opposite_borders():
    height, width, window = 8, 12, 4
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, columns], -1).flatten(0, 1)[None].float()
    plan = window_plan(height, width, window, True, place)
    places = plan.split(place, window)[0]
    apart = (places[:, :, None] - places[:, None]).abs().amax(-1) >= window
    np.testing.assert_array_equal((plan.mask == FORBIDDEN).numpy(), apart.numpy())
    assert plan.mask[0].count_nonzero() == 0, "the first window lies inside the map"


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1)])
def test_merging_stacks_two_by_two_squares_column_by_column(size):
    tokens = tokens_of(2, *size)
    merged, height, width = merge_neighbors(tokens, *size)
    maps = F.pad(tokens.unflatten(1, size), (0, 0, 0, size[1] % 2, 0, size[0] % 2))
    wanted = torch.cat([maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
    assert (height, width) == wanted.shape[1:3]
    torch.testing.assert_close(merged, wanted.flatten(1, 2), rtol=0, atol=0)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return GeminiFusion(GeminiFusionConfig(encoder="swin_tiny", num_classes=5, decoder_channels=16)).eval()


def images(batch, height, width):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 3, height, width, generator=generator) for _ in range(2)]


def test_sides_that_are_no_multiple_of_a_patch_are_padded_with_zeros(net):
    x = images(1, 38, 45)
    padded = [F.pad(image, (0, 3, 0, 2)) for image in x]
    with torch.no_grad():
        torch.testing.assert_close(net(*x).ensemble, net(*padded).ensemble)


def test_batch_equals_one_by_one(net):
    rgb, depth = images(2, 64, 60)
    with torch.no_grad():
        together = net(rgb, depth).ensemble
        alone = torch.cat([net(rgb[i : i + 1], depth[i : i + 1]).ensemble for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", ["geminifusion", "none"])
def test_inference_form_equals_the_training_form(fusion):
    torch.manual_seed(1)
    config = GeminiFusionConfig(encoder="swin_tiny", num_classes=5, decoder_channels=16, fusion=fusion)
    net = GeminiFusion(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # away from trivial norms and biases
            parameter.add_(0.03 * torch.randn_like(parameter))
        form = InferenceForm(net)
        for shape in [(2, 64, 96), (1, 29, 29), (1, 70, 45)]:
            x = images(*shape)
            logits, gate, _ = form(*x)
            torch.testing.assert_close(logits, net(*x).ensemble, rtol=0, atol=1e-5)
            assert gate.shape == (logits.shape[0], *logits.shape[2:])
            assert 0 <= gate.min() <= gate.max() <= 1


@pytest.mark.parametrize("enabled", [False, True])
def test_gradients_reach_every_parameter_with_and_without_autocast(net, enabled):
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        prediction = net(*images(1, 40, 60))
    losses = [logits.float().square().mean() for logits in (*prediction.per_stream, prediction.ensemble)]
    sum(losses).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_start_values_follow_swin():
    torch.manual_seed(0)
    fresh = GeminiFusion(GeminiFusionConfig(encoder="swin_tiny")).encoder
    attention = fresh.stages[2].blocks[0].attention
    assert attention.position_bias.std().item() == pytest.approx(0.02, rel=0.1)
    assert attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not attention.qkv.bias.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_fusion_heads": 4},
        {"modalities": ("rgb", "depth", "event")},
    ],
)
def test_options_that_swin_networks_do_not_have_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GeminiFusionConfig(encoder="swin_tiny", **wrong)

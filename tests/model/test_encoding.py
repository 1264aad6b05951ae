import math

import pytest
import torch

from geminifusion_model.data.depth_encodings import depth_encoding, hha_encoding, raw_encoding
from geminifusion_model.encoding import encode, encode_inputs
from geminifusion_model.task import IMAGENET_RGB, ModalityEncoding, Task

DEPTH = ModalityEncoding(name="depth", encoding="metric", unit="metre", range=(0, 10), mean=(2.0,), std=(4.0,))


def test_rgb_is_scaled_and_normalized_per_channel():
    pixel = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    found = encode(pixel, IMAGENET_RGB)
    assert found.shape == (1, 3, 1, 1)
    wanted = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted))


def test_depth_is_clipped_normalized_and_repeated():
    found = encode(torch.tensor([[[4.0, 12.0]]]), DEPTH)
    assert found.shape == (1, 3, 1, 2)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[0.5, 2.0]] * 3))


@pytest.mark.parametrize("reading", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_no_measurement_is_encoded_as_the_mean(reading):
    assert encode(torch.tensor([[[reading]]]), DEPTH).abs().max() == 0


def pointwise(encoding, mean, std):
    return ModalityEncoding(name="depth", encoding=encoding, unit="metre", range=(0.5, 10), mean=(mean,), std=(std,))


def test_inverse_depth_is_one_over_metres_within_the_range():
    found = encode(torch.tensor([[[2.0, 0.1, 50.0]]]), pointwise("inverse", 0.5, 0.25))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[0.0, 6.0, -1.6]] * 3))


def test_log_depth_is_the_natural_logarithm():
    found = encode(torch.tensor([[[math.e, 0.1]]]), pointwise("log", 1.0, 2.0))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[0.0, (math.log(0.5) - 1) / 2]] * 3))


@pytest.mark.parametrize("encoding", ["inverse", "log"])
@pytest.mark.parametrize("reading", [0.0, -1.0, math.nan, math.inf])
def test_no_measurement_is_the_mean_in_every_depth_encoding(encoding, reading):
    assert encode(torch.tensor([[[reading]]]), pointwise(encoding, 0.4, 0.2)).abs().max() == 0


@pytest.mark.parametrize("encoding", ["metric", "inverse", "log"])
def test_statistics_of_metres_carry_over_to_every_encoding(encoding):
    how = depth_encoding(encoding, near_m=0.5, far_m=10, mean_m=2.8, std_m=1.4)
    at_mean, nearer, farther = encode(torch.tensor([[[2.8, 2.7, 2.9]]]), how)[0, 0, 0]
    assert at_mean.abs() < 1e-6
    assert abs(farther - nearer).item() == pytest.approx(0.2 / 1.4, rel=0.01)


def test_raw_values_are_divided_by_255_like_the_originals_depth():
    one, three = raw_encoding("depth", 1, bits=16), raw_encoding("event", 3)
    found = encode(torch.tensor([[[51.0, 5100.0, math.nan]]]), one)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[0.2, 20.0, 0.0]] * 3))
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(encode(image, three).flatten(), torch.tensor([0.0, 0.2, 1.0]))
    torch.testing.assert_close(encode(image.float(), hha_encoding()).flatten(), torch.tensor([0.0, 0.2, 1.0]))


@pytest.mark.parametrize("how", [raw_encoding("x", 1), raw_encoding("x", 3), pointwise("inverse", 0.4, 0.2)])
def test_every_encoding_can_be_exported_with_dynamic_sizes(how):
    class Encode(torch.nn.Module):
        def forward(self, values):
            return encode(values, how)

    shape = (2, 6, 8, 3) if how.channels == 3 else (2, 6, 8)
    axes = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(Encode(), (torch.rand(shape),), dynamic_shapes=(axes,))
    other = torch.rand((3, 5, 9, *shape[3:]))
    torch.testing.assert_close(program.module()(other), encode(other, how))


@pytest.mark.parametrize("encoding", ["inverse", "log"])
def test_inverse_and_log_refuse_a_range_from_zero(encoding):
    with pytest.raises(ValueError, match="positive low end"):
        ModalityEncoding(name="depth", encoding=encoding, unit="metre", range=(0, 10), mean=(2,), std=(4,))


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "hha"}, {"encoding": "jet"}, {"mean": (1.0, 2.0)}, {"std": (0.0,)}, {"range": (3.0, 3.0)}],
)
def test_encoding_that_makes_no_sense_is_refused(wrong):
    fields = {
        "name": "depth",
        "encoding": "metric",
        "unit": "metre",
        "range": (0, 10),
        "mean": (2,),
        "std": (4,),
    }
    with pytest.raises(ValueError, match="depth"):
        ModalityEncoding(**{**fields, **wrong})


def task(input_scale):
    return Task(
        data="",
        modalities=(IMAGENET_RGB, DEPTH),
        class_names=("a",),
        palette=((0, 0, 0),),
        input_scale=input_scale,
    )


def test_reduced_rgb_is_the_mean_of_its_pixels_and_reduced_depth_one_of_them():
    rgb = torch.randint(0, 256, (1, 6, 8, 3), dtype=torch.uint8)
    depth = torch.arange(1.0, 49.0).reshape(1, 6, 8) / 8
    whole, half = encode_inputs((rgb, depth), task(1.0)), encode_inputs((rgb, depth), task(0.5))
    torch.testing.assert_close(half[0], torch.nn.functional.avg_pool2d(whole[0], 2))
    torch.testing.assert_close(half[1], whole[1][:, :, ::2, ::2])


def test_odd_sizes_are_rounded_down():
    raw = (torch.zeros(1, 61, 83, 3, dtype=torch.uint8), torch.ones(1, 61, 83))
    assert [tuple(values.shape) for values in encode_inputs(raw, task(0.75))] == [(1, 3, 45, 62)] * 2


@pytest.mark.parametrize("scale", [0.0, 0.2, 0.3, 1.5])
def test_input_scale_out_of_range_is_refused(scale):
    with pytest.raises(ValueError, match="multiple of 1/16"):
        task(scale)

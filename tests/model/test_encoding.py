import math

import pytest
import torch

from geminifusion_model.encoding import encode, encode_inputs
from geminifusion_model.task import IMAGENET_RGB, ModalityEncoding, Task

DEPTH = ModalityEncoding(name="depth", encoding="metric", unit="metre", range=(0, 10), mean=(2.0,), std=(4.0,))


def test_rgb_is_scaled_and_normalised_per_channel():
    pixel = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    found = encode(pixel, IMAGENET_RGB)
    assert found.shape == (1, 3, 1, 1)
    wanted = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted))


def test_depth_is_clipped_normalised_and_repeated():
    found = encode(torch.tensor([[[4.0, 12.0]]]), DEPTH)
    assert found.shape == (1, 3, 1, 2)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[0.5, 2.0]] * 3))


@pytest.mark.parametrize("reading", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_no_measurement_is_encoded_as_the_mean(reading):
    assert encode(torch.tensor([[[reading]]]), DEPTH).abs().max() == 0


@pytest.mark.parametrize("wrong", [{"encoding": "hha"}, {"mean": (1.0, 2.0)}, {"std": (0.0,)}, {"range": (3.0, 3.0)}])
def test_encoding_that_makes_no_sense_is_refused(wrong):
    fields = {"name": "depth", "encoding": "metric", "unit": "metre", "range": (0, 10), "mean": (2,), "std": (4,)}
    with pytest.raises(ValueError, match="depth"):
        ModalityEncoding(**{**fields, **wrong})


def task(input_scale):
    return Task(
        data="", modalities=(IMAGENET_RGB, DEPTH), class_names=("a",), palette=((0, 0, 0),), input_scale=input_scale
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

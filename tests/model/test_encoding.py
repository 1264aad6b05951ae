import math

import pytest
import torch

from geminifusion_model.encoding import encode
from geminifusion_model.task import IMAGENET_RGB, ModalityEncoding

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

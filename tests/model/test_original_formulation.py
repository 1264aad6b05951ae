"""The baseline of the benchmarks must compute what it is compared with."""

import dataclasses

import pytest
import torch

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.encoder_sizes import ENCODER_SIZES, SWIN_SIZES


@pytest.mark.parametrize(
    ("encoder", "fusion"), [("mit_b0", "geminifusion"), ("mit_b0", "none"), ("swin_tiny", "geminifusion")]
)
def test_per_sample_per_stream_formulation_gives_the_same_logits(encoder, fusion, monkeypatch):
    size = SWIN_SIZES["swin_tiny"]
    small = dataclasses.replace(size, channels=(24, 48, 96, 192), depths=(2, 2, 2, 2), heads=(3,) * 4)
    for table in (ENCODER_SIZES, SWIN_SIZES):
        monkeypatch.setitem(table, "swin_tiny", small)
    torch.manual_seed(0)
    config = GeminiFusionConfig(encoder=encoder, num_classes=7, decoder_channels=16, fusion=fusion)
    net = GeminiFusion(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        images = torch.randn(2, 2, 3, 64, 96).unbind()
        per_stream, ensemble = OriginalFormulation(net)(*images)
        ours = net(*images)
    torch.testing.assert_close(ensemble, ours.ensemble, rtol=0, atol=2e-5)
    for found, expected in zip(per_stream, ours.per_stream, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)

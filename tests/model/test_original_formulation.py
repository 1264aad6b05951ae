"""The baseline of the benchmarks must compute what it is compared with."""

import importlib.util
from pathlib import Path

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig

_PATH = Path(__file__).parents[2] / "benchmarks" / "original_formulation.py"


@pytest.mark.parametrize("fusion", ["geminifusion", "none"])
def test_per_sample_per_stream_formulation_gives_the_same_logits(fusion):
    spec = importlib.util.spec_from_file_location("original_formulation", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    net = GeminiFusion(GeminiFusionConfig(num_classes=7, decoder_channels=16, fusion=fusion)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        images = torch.randn(2, 2, 3, 64, 96).unbind()
        per_stream, ensemble = module.OriginalFormulation(net)(*images)
        ours = net(*images)
    torch.testing.assert_close(ensemble, ours.ensemble, rtol=0, atol=2e-5)
    for found, expected in zip(per_stream, ours.per_stream, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)

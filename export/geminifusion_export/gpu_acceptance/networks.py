"""Networks and frames to measure with: random weights cost the same time as trained ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.graph import SegmentationGraph
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.encoding import encode_inputs

NUM_CLASSES = 39
SIZE = (480, 640)


def random_network(encoder: str, fusion: str = "geminifusion") -> GeminiFusion:
    """A network in eval mode, the same at every call; with another fusion, all other weights are the same."""
    torch.manual_seed(0)
    net = GeminiFusion(GeminiFusionConfig(encoder=encoder, num_classes=NUM_CLASSES, fusion="geminifusion"))
    if fusion != "geminifusion":
        other = GeminiFusion(GeminiFusionConfig(encoder=encoder, num_classes=NUM_CLASSES, fusion=fusion))
        weights = net.state_dict()
        other.load_state_dict({name: weights[name] for name in other.state_dict()})
        net = other
    return net.eval()


def graph_of(net: GeminiFusion) -> SegmentationGraph:
    """The network from raw frames to labels."""
    return SegmentationGraph(net, nyuv2_task(NUM_CLASSES))


class OriginalGraph(nn.Module):
    """The original formulation from raw frames to labels."""

    def __init__(self, net: GeminiFusion) -> None:
        super().__init__()
        self.network = OriginalFormulation(net).eval()
        self.task = nyuv2_task(NUM_CLASSES)

    def forward(self, *modalities: Tensor) -> Tensor:
        """Raw modalities to labels `B H W`."""
        _, logits = self.network(*encode_inputs(modalities, self.task))
        full = F.interpolate(logits, size=modalities[0].shape[1:3], mode="bilinear", align_corners=False)
        return full.argmax(1)

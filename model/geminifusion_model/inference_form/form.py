"""The whole network, folded."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.encoders.swin import SwinTransformer
from geminifusion_model.inference_form.decoder import FoldedDecoder
from geminifusion_model.inference_form.mit import FoldedMixTransformer
from geminifusion_model.inference_form.swin import FoldedSwinTransformer
from geminifusion_model.network import GeminiFusion


class InferenceOutput(NamedTuple):
    """Ensemble logits `B K H/4 W/4`, the gate `B H/4 W/4`, and of more than two modalities their weights.

    The gate is the share 0…1 of attention the RGB stream gives to the other modality: the mean over heads in the last
    block of each stage, bilinearly upsampled, averaged over the stages. 0 without a fusion or another modality.

    `modality_weights`, `B E H/4 W/4` of E modalities beside RGB, are their scores in the merge of the first stage,
    divided by their sum; None where nothing is merged.
    """

    logits: Tensor
    gate: Tensor
    modality_weights: Tensor | None = None


class InferenceForm(nn.Module):
    """A trained network, folded; equal to it within float rounding, without dropout or training outputs.

    Logits are at 1/4 of the input size whatever `upsample_logits` says. The network given is copied, not changed.
    """

    def __init__(self, net: GeminiFusion) -> None:
        super().__init__()
        net = copy.deepcopy(net)
        self.config = net.config
        encoder = net.encoder
        self.encoder: FoldedSwinTransformer | FoldedMixTransformer = (
            FoldedSwinTransformer(encoder) if isinstance(encoder, SwinTransformer) else FoldedMixTransformer(encoder)
        )
        self.decoder = FoldedDecoder(net.decoder, net.ensemble_logits.softmax(0))
        self.requires_grad_(False)
        self.eval()

    def forward(self, *modalities: Tensor) -> InferenceOutput:
        """Normalized `B 3 H W` per modality, as for `GeminiFusion`, to logits, gate and weights."""
        pyramids, own_weights, scores = self.encoder(list(modalities))
        logits = self.decoder(pyramids)
        shares = None if scores is None else scores / scores.sum(1, keepdim=True)
        if not own_weights:
            return InferenceOutput(logits, torch.zeros_like(logits[:, 0]), shares)
        gates = [
            F.interpolate(1.0 - weight.unsqueeze(1), size=logits.shape[-2:], mode="bilinear", align_corners=False)
            for weight in own_weights
        ]
        return InferenceOutput(logits, torch.stack(gates).mean(0).squeeze(1), shares)

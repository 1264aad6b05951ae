"""From measurements to network input, in torch, the same in training, evaluation and the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor

from geminifusion_model.task import ModalityEncoding


def encode(values: Tensor, encoding: ModalityEncoding) -> Tensor:
    """Encode one modality as its `ModalityEncoding` says.

    Args:
        values: `B H W 3` uint8 for `imagenet`, `B H W` float32 metres for `metric`.

    Returns:
        `B 3 H W` float32.
    """
    low, high = encoding.range
    scale = 1.0 / torch.tensor(encoding.std, device=values.device)
    shift = -torch.tensor(encoding.mean, device=values.device) * scale
    if encoding.encoding == "imagenet":
        intensity = values.to(torch.float32)
        if (low, high) != (0.0, 1.0):
            intensity = intensity.clamp(255.0 * low, 255.0 * high)
        return (intensity * (scale / 255.0) + shift).permute(0, 3, 1, 2)
    measured = (values > 0) & (values < torch.inf)  # false for NaN too
    normalised = values.clamp(low, high) * scale + shift
    return torch.where(measured, normalised, 0.0).unsqueeze(1).expand(-1, 3, -1, -1)

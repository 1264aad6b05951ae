"""The linear layers and norms of the inference form: frozen, one per stream where streams differ.

Axes: C channels, O outputs.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_model.streams import StreamLayerNorm


class Affine(nn.Module):
    """`x @ weight.T + bias`, weights frozen.

    Always run on a matrix: exporters turn that into one GEMM with its bias, and a stack of matrices into two passes.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """`… C` to `… O`."""
        return F.linear(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


def split_norm(norm: StreamLayerNorm) -> nn.ModuleList:
    """One ordinary LayerNorm per stream."""
    layers = nn.ModuleList()
    for weight, bias in zip(norm.weight, norm.bias, strict=True):
        layer = nn.LayerNorm(weight.shape[0], eps=norm.eps)
        layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        layers.append(layer)
    return layers

"""BatchNorm with statistics over the frames of all processes.

Axes: B the frames of one process, C channels, H W the map, P processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from geminifusion_model.network import GeminiFusion


def synchronize_batch_norm(net: GeminiFusion, device: torch.device) -> None:
    """Replace the decoder's norm by one over all processes; names in the state dict stay.

    On CUDA it is `nn.SyncBatchNorm`, which supports no other device.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(net.decoder)
        return
    own = net.decoder.norm
    everyones = GlobalBatchNorm2d(own.num_features, own.eps, own.momentum)
    everyones.load_state_dict(own.state_dict())
    net.decoder.norm = everyones


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` as a single process would compute it on all frames (arXiv:1803.08904).

    Every process has to have maps of one shape, and to take part in each forward and each backward pass in training.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`B C H W` to `B C H W`; in evaluation the plain norm."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = input.float()  # half precision is too coarse for sums over pixels
        axes = (0, 2, 3)
        count = values.numel() // values.shape[1] * torch.distributed.get_world_size()
        mean = _sum_over_processes(values.sum(axes)) / count
        centered = values - mean[:, None, None]
        variance = _sum_over_processes(centered.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None, None], centered, scale[:, None, None]).to(input.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes. Every process's loss depends on every summand, so gradients are summed too."""

    @staticmethod
    def forward(context: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(values)  # type: ignore[no-untyped-call]
    return total

"""Comparing any kernel of the fusion with the specification: types, odd shapes, misaligned tensors, NaN and infinity.

The kernel comes as a function, so the same cases judge the plugin's kernels and the Triton kernels on a GPU, and the
comparison itself is tested on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_model.fusion_tolerance import worst_fusion_error

# From q, k_diff, v_self, v_cross and the number of heads to the result.
Fuse = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Channels and heads of B0, B3 and Swin-T at every stage, then sizes that no network has: one channel a head, a prime,
# heads longer than a warp's load; tokens that fill no block.
SHAPES = (
    ((2, 1201, 32), 8),
    ((3, 77, 64), 8),
    ((1, 301, 160), 8),
    ((1, 299, 256), 8),
    ((1, 75, 320), 8),
    ((2, 33, 512), 8),
    ((1, 601, 96), 8),
    ((1, 1, 8), 8),
    ((2, 5, 9), 3),
    ((17, 37), 1),
    ((1, 3, 600), 2),
    ((1, 2, 3, 5, 16), 4),
)


class FusionCase(NamedTuple):
    """Tensors on the device, and a name that says what is special about them."""

    name: str
    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    num_heads: int


def check_fusion(report: Report, fuse: Fuse, device: torch.device, what: str) -> None:
    """Run every case and record one check for each type: the worst error in units of what is allowed."""
    for dtype in DTYPES:
        kind = str(dtype).removeprefix("torch.")
        worst, worst_case, count = 0.0, "", 0
        for case in fusion_cases(dtype, device):
            error = worst_fusion_error(fuse(*case.inputs, case.num_heads), *case.inputs, case.num_heads)
            count += 1
            if not error <= worst:
                worst, worst_case = error, case.name
        passed = worst <= 1.0  # false for NaN
        report.check(
            f"{what}, {kind}", passed, f"{count} cases, worst error {worst:.2f} of what is allowed, at {worst_case}"
        )


def fusion_cases(dtype: torch.dtype, device: torch.device) -> Iterator[FusionCase]:
    """Random values of every shape, each as it is and one element off; then values that are not finite."""
    generator = torch.Generator().manual_seed(0)
    for shape, num_heads in SHAPES:
        values = [torch.randn(shape, generator=generator).to(dtype) for _ in range(4)]
        name = f"{'x'.join(map(str, shape))}, {num_heads} heads"
        for offset in (0, 1):
            q, k_diff, v_self, v_cross = (_placed(value, device, offset) for value in values)
            yield FusionCase(f"{name}, {offset} off", (q, k_diff, v_self, v_cross), num_heads)
    for name, value in (("NaN", math.nan), ("infinity", math.inf), ("-infinity", -math.inf)):
        for position, tensor in enumerate(("q", "k_diff", "v_self", "v_cross")):
            values = [torch.randn(2, 9, 32, generator=generator).to(dtype) for _ in range(4)]
            values[position][0, ::2, 5] = value
            q, k_diff, v_self, v_cross = (_placed(each, device, 0) for each in values)
            yield FusionCase(f"{name} in {tensor}", (q, k_diff, v_self, v_cross), 4)


def _placed(values: Tensor, device: torch.device, offset: int) -> Tensor:
    """A copy on the device that begins `offset` elements after where memory was allocated."""
    room = torch.empty(values.numel() + offset, dtype=values.dtype, device=device)
    placed = room[offset:].view(values.shape)
    placed.copy_(values)
    return placed

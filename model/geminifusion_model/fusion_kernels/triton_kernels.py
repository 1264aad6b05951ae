"""The fusion in the Triton language: one pass over memory forward, and one backward.

A row is one head of one token. A program takes `BLOCK_ROWS` rows; inputs may be columns of a wider matrix (`stride` is
the distance of two tokens), so that what one matrix product wrote need not be copied apart. Sums and weights are
float32 whatever the tensors are. The weight of a row is computed again in the backward pass instead of being kept.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_ELEMENTS = 2048  # of one program and tensor: 16 for each of 128 threads


@triton.jit
def _weight(query, key, scale):
    """The share of the own value, one for each row."""
    return 1.0 / (1.0 + tl.exp(-tl.sum(query * key, axis=1) * scale))


@triton.jit
def _forward_kernel(
    q,
    k_diff,
    v_self,
    v_cross,
    mixed,
    q_stride,
    k_stride,
    own_stride,
    cross_stride,
    rows,
    scale,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    lane = tl.arange(0, BLOCK_DIM)
    token = row // HEADS
    inside = (row < rows)[:, None] & (lane < HEAD_DIM)[None, :]
    column = ((row % HEADS) * HEAD_DIM)[:, None] + lane[None, :]
    query = tl.load(q + token[:, None] * q_stride + column, mask=inside, other=0.0).to(tl.float32)
    key = tl.load(k_diff + token[:, None] * k_stride + column, mask=inside, other=0.0).to(tl.float32)
    own = tl.load(v_self + token[:, None] * own_stride + column, mask=inside, other=0.0).to(tl.float32)
    cross = tl.load(v_cross + token[:, None] * cross_stride + column, mask=inside, other=0.0).to(tl.float32)
    weight = _weight(query, key, scale)
    result = cross + weight[:, None] * (own - cross)
    tl.store(mixed + row[:, None] * HEAD_DIM + lane[None, :], result.to(mixed.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad,
    q,
    k_diff,
    v_self,
    v_cross,
    grad_q,
    grad_k,
    grad_own,
    grad_cross,
    grad_stride,
    q_stride,
    k_stride,
    own_stride,
    cross_stride,
    rows,
    scale,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    lane = tl.arange(0, BLOCK_DIM)
    token = row // HEADS
    inside = (row < rows)[:, None] & (lane < HEAD_DIM)[None, :]
    column = ((row % HEADS) * HEAD_DIM)[:, None] + lane[None, :]
    outer = tl.load(grad + token[:, None] * grad_stride + column, mask=inside, other=0.0).to(tl.float32)
    query = tl.load(q + token[:, None] * q_stride + column, mask=inside, other=0.0).to(tl.float32)
    key = tl.load(k_diff + token[:, None] * k_stride + column, mask=inside, other=0.0).to(tl.float32)
    own = tl.load(v_self + token[:, None] * own_stride + column, mask=inside, other=0.0).to(tl.float32)
    cross = tl.load(v_cross + token[:, None] * cross_stride + column, mask=inside, other=0.0).to(tl.float32)
    weight = _weight(query, key, scale)
    logit = tl.sum(outer * (own - cross), axis=1) * weight * (1.0 - weight) * scale
    place = row[:, None] * HEAD_DIM + lane[None, :]
    to_own = weight[:, None] * outer
    tl.store(grad_own + place, to_own.to(grad_own.dtype.element_ty), mask=inside)
    tl.store(grad_cross + place, (outer - to_own).to(grad_cross.dtype.element_ty), mask=inside)
    tl.store(grad_q + place, (logit[:, None] * key).to(grad_q.dtype.element_ty), mask=inside)
    tl.store(grad_k + place, (logit[:, None] * query).to(grad_k.dtype.element_ty), mask=inside)


class _TritonFusion(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k_diff: Tensor,
        v_self: Tensor,
        v_cross: Tensor,
        num_heads: int,
    ) -> Tensor:
        rows = tuple(_token_rows(tensor) for tensor in (q, k_diff, v_self, v_cross))
        ctx.save_for_backward(*rows)
        ctx.num_heads, ctx.shape = num_heads, q.shape
        mixed = torch.empty(rows[0].shape, dtype=q.dtype, device=q.device)
        _launch(_forward_kernel, (*rows, mixed), rows, num_heads)
        return mixed.view(q.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.saved_tensors
        outer = _token_rows(grad)
        found = tuple(torch.empty(outer.shape, dtype=outer.dtype, device=outer.device) for _ in rows)
        _launch(_backward_kernel, (outer, *rows, *found), (outer, *rows), ctx.num_heads)
        return (*(each.view(ctx.shape) for each in found), None)


def triton_fusion(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
    """`pixelwise_fusion_reference` by the kernels, with gradients; arguments and result are the same."""
    mixed: Tensor = _TritonFusion.apply(q, k_diff, v_self, v_cross, num_heads)
    return mixed


def _token_rows(tensor: Tensor) -> Tensor:
    """`… C` as a matrix `tokens C` whose columns lie side by side; copied only where no view is one."""
    matrix = tensor.reshape(-1, tensor.shape[-1])
    return matrix if matrix.stride(-1) == 1 else matrix.contiguous()


def _launch(kernel: Any, tensors: tuple[Tensor, ...], strided: tuple[Tensor, ...], num_heads: int) -> None:
    """Start a kernel on all rows; none if there are none."""
    tokens, channels = tensors[0].shape
    head_dim = channels // num_heads
    rows = tokens * num_heads
    if rows == 0:
        return
    block_dim = triton.next_power_of_2(head_dim)
    block_rows = max(1, min(triton.next_power_of_2(rows), _BLOCK_ELEMENTS // block_dim))
    kernel[(triton.cdiv(rows, block_rows),)](
        *tensors,
        *(tensor.stride(0) for tensor in strided),
        rows,
        1.0 / math.sqrt(head_dim),
        HEADS=num_heads,
        HEAD_DIM=head_dim,
        BLOCK_ROWS=block_rows,
        BLOCK_DIM=block_dim,
    )

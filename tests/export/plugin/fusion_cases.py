"""Inputs for the fusion in every type, and how far from the specification a correct kernel may end up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geminifusion_model.fusion_tolerance import exact_fusion, fusion_tolerance

NAMES = ("q", "k_diff", "v_self", "v_cross")
TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class FusionCase:
    """Arrays as raw bits (`uint32` or `uint16`), the specification's answer to them in float64, and the tolerance."""

    kind: str
    shape: tuple[int, ...]
    num_heads: int
    inputs: dict[str, np.ndarray]
    truth: np.ndarray
    allowed: np.ndarray

    def worst(self, mixed: np.ndarray) -> float:
        """Largest error of an answer (raw bits) in units of what is allowed; above 1, or NaN, is wrong."""
        found = values_of(mixed, self.kind).reshape(self.shape)
        return float((np.abs(found - self.truth) / self.allowed).max())


def fusion_case(kind: str, shape: tuple[int, ...], num_heads: int, *, misaligned: bool = False) -> FusionCase:
    """Normal random numbers rounded to `kind`; `misaligned` puts each array one element off a 16-byte boundary."""
    random = np.random.default_rng([*shape, num_heads])
    tensors = [torch.from_numpy(random.standard_normal(shape)).to(TORCH_TYPES[kind]) for _ in NAMES]
    truth = exact_fusion(*tensors, num_heads).numpy()
    allowed = fusion_tolerance(*tensors, num_heads).numpy()
    inputs = {name: _placed(_to_bits(tensor), misaligned) for name, tensor in zip(NAMES, tensors, strict=True)}
    return FusionCase(kind, shape, num_heads, inputs, truth, allowed)


def empty_like(case: FusionCase, *, misaligned: bool = False) -> np.ndarray:
    """Room for the answer, filled with a bit pattern that is a NaN in every type."""
    return _placed(np.full(case.shape, -1).astype(case.inputs["q"].dtype), misaligned)


def _placed(bits: np.ndarray, misaligned: bool) -> np.ndarray:
    """A copy at a multiple of 16 bytes, or one element behind it."""
    room = np.zeros(bits.nbytes + 48, np.uint8)
    start = -room.ctypes.data % 16 + (bits.itemsize if misaligned else 0)
    copy = room[start : start + bits.nbytes].view(bits.dtype).reshape(bits.shape)
    copy[...] = bits
    return copy


def _to_bits(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.float32:
        return tensor.numpy().view(np.uint32)
    return tensor.view(torch.int16).numpy().view(np.uint16)


def values_of(bits: np.ndarray, kind: str) -> np.ndarray:
    """Raw bits as float64."""
    if kind == "bf16":
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float32 if kind == "f32" else np.float16).astype(np.float64)

"""Encoding of measurements as network input, in torch: the same in training, evaluation and the exported graph."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.task import ModalityEncoding, Task


def encode(values: Tensor, encoding: ModalityEncoding) -> Tensor:
    """Encode one modality as its `ModalityEncoding` says.

    Args:
        values: `B H W 3` uint8 for `imagenet`; `B H W` float32 metres for unit `metre`; otherwise `B H W` or `B H W 3`
            uint8 or float32 stored values, for `hha` of 0…255.

    Returns:
        `B 3 H W` float32.
    """
    low, high = encoding.range
    scale = 1.0 / _constant(encoding.std, values.device)
    shift = -_constant(encoding.mean, values.device) * scale
    if encoding.encoding == "imagenet":
        intensity = values.to(torch.float32)
        if (low, high) != (0.0, 1.0):
            intensity = intensity.clamp(255.0 * low, 255.0 * high)
        return _normalized(intensity, scale, shift)
    if encoding.encoding in ("hha", "raw"):
        stored = _stored(values.to(torch.float32), encoding)
        if encoding.channels == 3:
            return _normalized(stored, scale, shift)
        return (stored * (scale / 255.0) + shift).unsqueeze(1).expand(-1, 3, -1, -1)
    measured = (values > 0) & (values < torch.inf)  # false for NaN too
    metres = values.clamp(low, high)
    if encoding.encoding == "inverse":
        metres = metres.reciprocal()
    elif encoding.encoding == "log":
        metres = metres.log()
    normalized = metres * scale + shift
    return torch.where(measured, normalized, 0.0).unsqueeze(1).expand(-1, 3, -1, -1)


def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    return _kept_on_gpu(values, device) if device.type == "cuda" else torch.tensor(values, device=device)


@functools.cache
def _kept_on_gpu(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Copied once for each device: every copy from the host waits for the GPU, and none may be in a CUDA graph."""
    with torch.inference_mode(False):  # training may use it too
        return torch.tensor(values, device=device)


def _stored(values: Tensor, encoding: ModalityEncoding) -> Tensor:
    """Stored values within the range; what is no number, or no distance, is the stored value 0."""
    low, high = encoding.range
    if encoding.unit == "metre":
        assert encoding.metres_per_unit is not None, "the encoding checks it"
        measured = (values > 0) & (values < torch.inf)
        return torch.where(measured, values.clamp(low, high) / encoding.metres_per_unit, 0.0)
    finite = torch.where(values.abs() < torch.inf, values, 0.0)
    full_scale = 1.0 if encoding.unit == "count" else 255.0
    return finite.clamp(full_scale * low, full_scale * high)


def _normalized(stored: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`B H W 3` of 0…255 to `B 3 H W`: channels first, because runtimes vectorise over the innermost axis."""
    return stored.permute(0, 3, 1, 2) * (scale / 255.0)[:, None, None] + shift[:, None, None]


def encode_inputs(raw: tuple[Tensor, ...], task: Task) -> tuple[Tensor, ...]:
    """Encode all modalities of a task and reduce them by its `input_scale`.

    Args:
        raw: in the task's order, each as `encode` takes it, all of one height and width.

    Returns:
        `B 3 H·scale W·scale` float32 each, rounded down.
    """
    encoded = tuple(encode(values, how) for values, how in zip(raw, task.modalities, strict=True))
    return _reduced(encoded, task)


def network_inputs(raw: tuple[Tensor, ...], task: Task) -> tuple[Tensor, ...]:
    """What the network sees of frames of any size: encoded, resized as the task's `input_policy` says, and reduced.

    Every operator takes symbolic sizes, so that the exported graph holds the policy.

    Args:
        raw: see `encode_inputs`.

    Returns:
        `B 3 H' W'` float32 each.
    """
    encoded = tuple(encode(values, how) for values, how in zip(raw, task.modalities, strict=True))
    policy = task.input_policy
    if policy.shorter_side is not None:
        encoded = tuple(_to_policy(values, policy.shorter_side, policy.multiple_of) for values in encoded)
    return _reduced(encoded, task)


def _to_policy(values: Tensor, shorter_side: int, multiple_of: int) -> Tensor:
    """Bilinearly in two steps, as the original: the shorter side, then both sides up to the multiple."""
    height, width = values.shape[-2:]
    shorter = torch.sym_min(height, width)
    # half up; integers alone, which stay symbolic in an exported graph
    sides = tuple((2 * side * shorter_side + shorter) // (2 * shorter) for side in (height, width))
    values = F.interpolate(values, size=sides, mode="bilinear", align_corners=False)
    if multiple_of == 1:
        return values
    sides = tuple((side + multiple_of - 1) // multiple_of * multiple_of for side in sides)
    return F.interpolate(values, size=sides, mode="bilinear", align_corners=False)


def _reduced(encoded: tuple[Tensor, ...], task: Task) -> tuple[Tensor, ...]:
    if task.input_scale == 1.0:
        return encoded
    sixteenths = round(16 * task.input_scale)
    height, width = (side * sixteenths // 16 for side in encoded[0].shape[-2:])
    return tuple(
        # at 1/2 bilinear is the mean of four pixels; a mean of two depths would be a place where nothing is
        F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)
        if how.encoding == "imagenet"
        else F.interpolate(values, size=(height, width), mode="nearest")
        for values, how in zip(encoded, task.modalities, strict=True)
    )

"""Reading mmdetection3d's MVX-Net files, stock or as GeminiFusion's authors trained it, without running code in them.

Such a file is mmengine's: the tensors are under `state_dict`, beside counters and messages that are not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.mvxnet_names import mvxnet_names
from geminifusion_model.weights.report import OfficialReport

_FUSION = "pts_voxel_encoder.fusion_layer."
_COUNTER = "num_batches_tracked"
_KERNEL_AXES = 3  # z, y, x


class MvxnetForm(NamedTuple):
    """What the names in a file say of the fusion."""

    fusion: Literal["none", "sum", "geminifusion"]
    fusion_layers: Literal["last", "both"]


def read_mvxnet(source: str | Path | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], MvxnetForm]:
    """The tensors of a file by their own names, and the form of the network.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: it holds something else, is damaged, or would run code.
    """
    tensors = {name.removeprefix("module."): tensor for name, tensor in read_tensors(source).items()}
    if not any(name.startswith("pts_voxel_encoder.") for name in tensors):
        shown = source if isinstance(source, str | Path) else "the mapping"
        raise OfficialWeightsError(f"{shown} holds no MVX-Net: no name begins with pts_voxel_encoder.")
    fusion: Literal["none", "sum", "geminifusion"] = "none"
    if any(name.startswith(_FUSION) for name in tensors):
        fusion = "geminifusion" if any("cross_attn_0_to_1" in name for name in tensors) else "sum"
    both = any(name.startswith(f"{_FUSION}1.") for name in tensors)
    return tensors, MvxnetForm(fusion, "both" if both else "last")


def fill_from_mvxnet(
    parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], form: MvxnetForm
) -> OfficialReport:
    """Copy the values of a file into a detector, those that fit.

    Args:
        parameters: the state dict of a detector like `MVXNET`.
        tensors: as `read_mvxnet` gives them; kernels of sparse convolutions as spconv 2 keeps them (output, z, y, x,
            input) or as mmcv does (z, y, x, input, output).
    """
    used: list[str] = []
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, parameter in parameters.items():
        if name.endswith(_COUNTER):
            continue
        names = mvxnet_names(name, parameter, several_fusions=form.fusion_layers == "both")
        absent = [each for each in names if each not in tensors]
        if absent:
            missing += absent
            continue
        target = parameter if len(names) == 1 else parameter[0]
        parts = [_kernel(tensors[each], target) for each in names]
        wrong = [
            (each, tuple(part.shape), tuple(target.shape))
            for each, part in zip(names, parts, strict=True)
            if part.shape != target.shape
        ]
        mismatched += wrong
        if not wrong:
            used += names
            parameter.copy_(torch.stack(parts) if len(names) > 1 else parts[0])
    known = {*used, *(name for name, _, _ in mismatched)}
    left_over = sorted(set(tensors) - known)
    return OfficialReport(
        used=tuple(used),
        missing=tuple(missing),
        unexpected=tuple(name for name in left_over if not name.endswith(_COUNTER)),
        mismatched=tuple(mismatched),
        ignored=tuple(name for name in left_over if name.endswith(_COUNTER)),
    )


def _kernel(found: Tensor, target: Tensor) -> Tensor:
    """A sparse kernel with its output axis last; anything else as it is."""
    if target.dim() != _KERNEL_AXES + 2 or found.shape == target.shape:
        return found
    return found.permute(1, 2, 3, 4, 0) if found.dim() == target.dim() else found

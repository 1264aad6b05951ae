"""Write an encoder as image classifiers' files have it: what `load_imagenet` reads, written.

A MiT file is a plain mapping, as NVlabs' `mit_b0.pth`; a Swin file has it under `model`, as Microsoft's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from geminifusion_model.encoder_sizes import SWIN_SIZES
from geminifusion_model.weights.filling import is_stacked, single_stream_name
from geminifusion_model.weights.official_names import official_names
from geminifusion_runtime import strict_json


def classifier_layout(
    encoder: str, tensors: Mapping[str, Tensor], head: tuple[Tensor, Tensor] | None = None
) -> dict[str, Tensor]:
    """The tensors of an encoder of one stream under the names of a classifier's file.

    Args:
        encoder: one of `ENCODER_SIZES`.
        tensors: its state dict.
        head: weight `K C` and bias `K` of a linear classifier on the mean of the last map. The published Swin has
            one norm, before its head, and ours one for each stage's output: the last becomes that one, and the
            others have no place in the file.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        original = official_names(f"encoder.{name}", tensor, encoder)[0]
        kept = single_stream_name(original)
        if kept is not None:
            found[kept] = tensor[0] if is_stacked(original) else tensor
    if head is not None:
        if encoder in SWIN_SIZES:
            found |= {f"norm.{part}": tensors[f"stages.3.norm.{part}"][0] for part in ("weight", "bias")}
        found |= {"head.weight": head[0], "head.bias": head[1]}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def write_encoder_file(path: Path, encoder: str, tensors: Mapping[str, Tensor], record: Mapping[str, object]) -> None:
    """Write what `classifier_layout` returns, and beside it, as JSON of the same stem, where it comes from.

    Each file replaces its predecessor as a whole.

    Args:
        record: for JSON; its `description` is the sentence that `describe_encoder_file` returns.

    Raises:
        OSError: one cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content: object = {"model": dict(tensors)} if encoder in SWIN_SIZES else dict(tensors)
    partial = path.with_name(f".{path.name}.partial")
    torch.save(content, partial)
    partial.replace(path)
    partial.write_text(strict_json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path.with_suffix(".json"))


def describe_encoder_file(path: Path) -> str | None:
    """Where a weight file says its weights come from; None if there is no record beside it."""
    try:
        description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["description"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return description if isinstance(description, str) else None

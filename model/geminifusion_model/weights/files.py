"""Reading weight files of others: a mapping from names to tensors, never by running code from the file."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from geminifusion_model.weights.stored_scalars import allowed_scalars

_WRAPPERS = ("segmenter", "model_state_dict", "state_dict", "model")


class OfficialWeightsError(ValueError):
    """The weights do not fit the network; the message lists the first offenders of each kind."""


def read_tensors(source: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a `.pth`, `.pth.tar`, `.bin` or `.safetensors` file by name; a mapping is returned as it is.

    Optimizer states, counters and scores beside the weights are skipped.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds something else, is damaged, or would run code.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    content = _content(path)
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper) if isinstance(content, Mapping) else None
        if isinstance(inner, Mapping):
            content = inner
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise OfficialWeightsError(
            f"{path} holds a {type(content).__name__}; expected a mapping from names to tensors, bare or under one of "
            f"{', '.join(_WRAPPERS)}"
        )
    return content


def _content(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with allowed_scalars():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise OfficialWeightsError(_unreadable(path, error)) from None
        raise OfficialWeightsError(
            f"{path} wants to run {wanted[1]} while it is read, and only weights are read here (weights_only): where "
            "you trust the file, load it and store its state dict alone by torch.save"
        ) from None
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # a damaged file runs into any of torch's and zip's own errors
        raise OfficialWeightsError(_unreadable(path, error)) from None


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return f"{path} cannot be read as a weight file: {reason}; is the download complete?"

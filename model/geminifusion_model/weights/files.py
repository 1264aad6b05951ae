"""Reading weight files of others: a mapping from names to tensors, never by running code from the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

_WRAPPERS = ("segmenter", "model_state_dict", "state_dict", "model")


class OfficialWeightsError(ValueError):
    """The weights do not fit the network; the message lists the first offenders of each kind."""


def read_tensors(source: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a `.pth`, `.pth.tar` or `.safetensors` file by name; a mapping is returned as it is.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds something else.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_file(path)
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise OfficialWeightsError(
            f"{path} holds a {type(content).__name__}; expected a mapping from names to tensors, bare or under one of "
            f"{', '.join(_WRAPPERS)}"
        )
    return content

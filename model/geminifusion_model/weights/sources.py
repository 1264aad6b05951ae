"""What a path to weights holds: one of our checkpoints, the original authors' file, or a SegFormer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from geminifusion_model.checkpoint import CONFIG_NAME, FORMAT
from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.official import official_config
from geminifusion_model.weights.segformer import encoder_of, segformer_tensors
from geminifusion_model.weights.segformer_names import segformer_layout

_TRANSFORMERS_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_KINDS = "a checkpoint of ours, GeminiFusion's weights in the original authors' layout, or a SegFormer"


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """Weights and what they belong to.

    Args:
        path: as it was given.
        kind: `checkpoint` is a directory of ours, whose tensors are not read here.
        name: the kind in words.
        labels: class names beside a SegFormer of transformers, if its configuration has any.
    """

    path: Path
    kind: Literal["checkpoint", "official", "segformer"]
    name: str
    tensors: Mapping[str, Tensor]
    labels: tuple[str, ...] = ()


def open_weights(path: Path) -> WeightSource:
    """Recognize what `path` holds, by its configuration and the names of its tensors.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        OfficialWeightsError: it holds something else, or would run code.
    """
    if not path.exists():
        raise FileNotFoundError(2, "there is no such file or directory", str(path))
    if path.is_dir():
        return _of_directory(path)
    tensors = read_tensors(path)
    bare = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    layout = segformer_layout(bare)
    if layout is not None:
        return WeightSource(path=path, kind="segformer", name=layout.name, tensors=bare)
    if any(name.startswith("encoder.stages.") for name in bare):
        raise OfficialWeightsError(
            f"{path} is the weight file of a checkpoint of ours, which does not say what network it belongs to; give "
            f"its directory, with {CONFIG_NAME} beside it"
        )
    if any(name.startswith("pts_voxel_encoder.") for name in bare):
        raise OfficialWeightsError(
            f"{path} holds an MVX-Net, which detects objects; import it with --task object-detection-3d"
        )
    if "backbone.layers.0.0.projection.weight" in bare:
        raise OfficialWeightsError(
            f"{path} holds mmsegmentation's own SegFormer, whose decoder has a norm and an activation behind every "
            "projection, so it is another network than ours; give NVlabs' or transformers' weights"
        )
    try:
        official_config(tensors)
    except OfficialWeightsError as error:
        raise OfficialWeightsError(f"{path}: {error}; expected {_KINDS}") from None
    name = "GeminiFusion in the original authors' layout"
    return WeightSource(path=path, kind="official", name=name, tensors=tensors)


def _of_directory(path: Path) -> WeightSource:
    config_path = path / CONFIG_NAME
    if not config_path.is_file():
        raise OfficialWeightsError(f"{path} has no {CONFIG_NAME}; give {_KINDS}, with its {CONFIG_NAME} or as one file")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OfficialWeightsError(f"{config_path} cannot be read as JSON: {error}") from None
    if isinstance(config, dict) and (config.get("format") == FORMAT or "network" in config):
        return WeightSource(path=path, kind="checkpoint", name="a checkpoint of ours", tensors={})
    if not isinstance(config, dict) or config.get("model_type") != "segformer":
        found = config.get("model_type") or "nothing known" if isinstance(config, dict) else "no mapping"
        raise OfficialWeightsError(f"{config_path} describes {found}; expected {_KINDS}")
    file = next((path / name for name in _TRANSFORMERS_WEIGHTS if (path / name).is_file()), None)
    if file is None:
        raise OfficialWeightsError(f"{path} has no {' or '.join(_TRANSFORMERS_WEIGHTS)} beside its {CONFIG_NAME}")
    tensors, layout = segformer_tensors(read_tensors(file))
    _check_config(config_path, config, encoder_of(tensors, layout))
    labels = config.get("id2label") or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int)) if isinstance(labels, dict) else ()
    return WeightSource(path=path, kind="segformer", name=layout.name, tensors=tensors, labels=names)


def _check_config(path: Path, config: dict[str, Any], encoder: str) -> None:
    """What no tensor shows has to be as in the published SegFormers."""
    size = MIT_SIZES[encoder]
    expected = {
        "num_attention_heads": list(size.heads),
        "sr_ratios": list(size.reductions),
        "mlp_ratios": [size.mlp_ratio] * 4,
        "strides": [4, 2, 2, 2],
        "hidden_act": "gelu",
    }
    for field, value in expected.items():
        found = config.get(field, value)
        if found != value:
            raise OfficialWeightsError(f"{path} says {field} is {found}; SegFormer with {encoder} has {value}")

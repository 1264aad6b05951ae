"""The names that mmdetection3d's MVX-Net, stock or by GeminiFusion's authors, has for our detector's parameters."""

from __future__ import annotations

import re

from torch import Tensor

from geminifusion_model.weights.official_names import official_point_fusion_names

_BACKBONE_CONV = {"reduce": "1", "spatial": "2", "expand": "3"}
_NECK = {"lateral": "lateral_convs", "smooth": "fpn_convs"}
_POINT_LAYER = {"first": "0", "second": "1"}
_FUSION = {"first": "0", "last": "1"}
_HEAD = {"classes": "conv_cls", "boxes": "conv_reg", "directions": "conv_dir_cls"}
# Layers of the sparse encoder in their order: the input's, those of each of its four levels, and the output's.
_SPARSE = (
    "conv_input",
    "encoder_layers.encoder_layer1.0",
    *(f"encoder_layers.encoder_layer{level}.{index}" for level in (2, 3, 4) for index in range(3)),
    "conv_out",
)
_ENTRIES_PER_CONV = 3  # of a block of the bird's-eye view, which lists convolution, norm and activation


def mvxnet_names(name: str, tensor: Tensor, *, several_fusions: bool) -> tuple[str, ...]:
    """The original's name of one parameter of a detector like `MVXNET`, or one name per stream if it is stacked.

    Args:
        several_fusions: whether the file numbers its fusion layers, because it has two.
    """
    fusion = re.fullmatch(r"points\.(first|last)_fusion\.(.+)", name)
    if fusion:
        number = f".{_FUSION[fusion[1]]}" if several_fusions else ""
        prefix = f"pts_voxel_encoder.fusion_layer{number}."
        return tuple(prefix + inner for inner in official_point_fusion_names(fusion[2], tensor))
    for pattern, rename in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            return (rename(match),)
    raise AssertionError(f"no rule for parameter {name} of a detector")


def _conv_norm(prefix: str, conv: str, norm: str, inner: str) -> str:
    """A parameter of a convolution and its norm, which the original names or numbers."""
    part, _, parameter = inner.partition(".")
    return f"{prefix}{conv if part == 'conv' else norm}.{parameter}"


def _backbone(match: re.Match[str]) -> str:
    stage, block, part, inner = match.groups()
    prefix = f"img_backbone.layer{int(stage) + 1}.{block}."
    if part == "shortcut":
        return _conv_norm(prefix, "downsample.0", "downsample.1", inner)
    return _conv_norm(prefix, f"conv{_BACKBONE_CONV[part]}", f"bn{_BACKBONE_CONV[part]}", inner)


def _sparse(match: re.Match[str]) -> str:
    inner = "0.weight" if match[2] == "weight" else match[2].replace("norm", "1")
    return f"pts_middle_encoder.{_SPARSE[int(match[1])]}.{inner}"


def _bev_block(match: re.Match[str]) -> str:
    first = _ENTRIES_PER_CONV * int(match[2])
    return _conv_norm(f"pts_backbone.blocks.{match[1]}.", str(first), str(first + 1), match[3])


_CONV_NORM = r"((?:conv|norm)\.\w+)"
_RULES = (
    (rf"image\.backbone\.stem\.{_CONV_NORM}", lambda m: _conv_norm("img_backbone.", "conv1", "bn1", m[1])),
    (rf"image\.backbone\.stages\.(\d)\.(\d)\.(\w+)\.{_CONV_NORM}", _backbone),
    (
        rf"image\.neck\.(lateral|smooth)\.(\d)\.{_CONV_NORM}",
        lambda m: _conv_norm(f"img_neck.{_NECK[m[1]]}.{m[2]}.", "conv", "bn", m[3]),
    ),
    (
        r"points\.(first|second)\.(linear|norm)\.(\w+)",
        lambda m: f"pts_voxel_encoder.vfe_layers.{_POINT_LAYER[m[1]]}.{0 if m[2] == 'linear' else 1}.{m[3]}",
    ),
    (r"middle\.layers\.(\d+)\.(.+)", _sparse),
    (rf"bev\.blocks\.(\d)\.(\d)\.{_CONV_NORM}", _bev_block),
    (
        rf"bev\.upsample\.(\d)\.{_CONV_NORM}",
        lambda m: _conv_norm(f"pts_neck.deblocks.{m[1]}.", "0", "1", m[2]),
    ),
    (r"head\.(classes|boxes|directions)\.(\w+)", lambda m: f"pts_bbox_head.{_HEAD[m[1]]}.{m[2]}"),
)

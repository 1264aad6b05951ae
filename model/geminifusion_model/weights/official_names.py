"""The original's names of our parameters.

Ours stacks over a leading stream axis what the original keeps once per stream, so one of our parameters may have
several originals.
"""

from __future__ import annotations

import re

from torch import Tensor

from geminifusion_model.encoder_sizes import SWIN_SIZES

# Ours -> original. `<n>` is a number that the original counts from 1; `{m}` and `{o}` are a stream and the other.
_FUSION_RULES: tuple[tuple[str, str], ...] = (
    (r"in_proj_(weight|bias)", r"cross_attn_{m}_to_{o}.in_proj_\1"),
    (r"out_proj_(weight|bias)", r"cross_attn_{m}_to_{o}.out_proj.\1"),
    (r"key_noise", r"k_noise.weight"),
    (r"value_noise", r"v_noise.weight"),
    (r"relation\.(fc[12]\.\w+)", r"relation_judger.0.\1"),
)

_MIT_BLOCK_RULES: tuple[tuple[str, str], ...] = (
    (r"(norm[12])\.(\w+)", r"\1.ln_{m}.\2"),
    (r"attention\.query\.(\w+)", r"attn.q.module.\1"),
    (r"attention\.key_value\.(\w+)", r"attn.kv.module.\1"),
    (r"attention\.output\.(\w+)", r"attn.proj.module.\1"),
    (r"attention\.reduce\.conv\.(\w+)", r"attn.sr.module.\1"),
    (r"attention\.reduce\.norm\.(\w+)", r"attn.norm.ln_{m}.\1"),
    (r"mlp\.(fc[12])\.(\w+)", r"mlp.\1.module.\2"),
    (r"mlp\.depthwise\.(\w+)", r"mlp.dwconv.dwconv.\1"),
    *((r"attention\.fusion\." + ours, "attn." + original) for ours, original in _FUSION_RULES),
)

_MIT_RULES: tuple[tuple[str, str], ...] = (
    (r"encoder\.stages\.(\d)\.patch_embed\.conv\.(\w+)", r"encoder.patch_embed<\1>.proj.module.\2"),
    (r"encoder\.stages\.(\d)\.patch_embed\.norm\.(\w+)", r"encoder.patch_embed<\1>.norm.ln_{m}.\2"),
    (r"encoder\.stages\.(\d)\.norm\.(\w+)", r"encoder.norm<\1>.ln_{m}.\2"),
    (
        r"encoder\.stages\.(\d)\.merge\.score_nets\.(\d)\.depthwise\.(\w+)",
        r"encoder.extra_score_predictor.\1.score_nets.\2.0.\3",
    ),
    (
        r"encoder\.stages\.(\d)\.merge\.score_nets\.(\d)\.pointwise\.(\w+)",
        r"encoder.extra_score_predictor.\1.score_nets.\2.1.\3",
    ),
)

_SWIN_BLOCK_RULES: tuple[tuple[str, str], ...] = (
    (r"(norm[12])\.(\w+)", r"\1.module.\2"),
    (r"attention\.qkv\.(\w+)", r"attn.module.qkv.\1"),
    (r"attention\.output\.(\w+)", r"attn.module.proj.\1"),
    (r"attention\.position_bias", r"attn.module.relative_position_bias_table"),
    (r"mlp\.(fc[12])\.(\w+)", r"mlp.\1.module.\2"),
    *((r"fusion\." + ours, original) for ours, original in _FUSION_RULES),
)

_SWIN_RULES: tuple[tuple[str, str], ...] = (
    (r"encoder\.patch_embed\.conv\.(\w+)", r"encoder.body.patch_embed.proj.module.\1"),
    (r"encoder\.patch_embed\.norm\.(\w+)", r"encoder.body.patch_embed.norm.ln_{m}.\1"),
    (r"encoder\.stages\.(\d)\.norm\.(\w+)", r"encoder.body.norm\1.ln_{m}.\2"),
    (r"encoder\.stages\.(\d)\.merge\.(\w+)\.(\w+)", r"encoder.body.layers.\1.downsample.module.\2.\3"),
)

_HEAD_RULES: tuple[tuple[str, str], ...] = (
    (r"ensemble_logits", r"alpha"),
    (r"decoder\.project\.(\d)\.(\w+)", r"decoder.linear_c<\1>.proj.\2"),
    (r"decoder\.fuse\.weight", r"decoder.linear_fuse.conv.weight"),
    (r"decoder\.norm\.(\w+)", r"decoder.linear_fuse.bn.\1"),
    (r"decoder\.classify\.(\w+)", r"decoder.linear_pred.\1"),
)

_POINT_FUSION_RULES: tuple[tuple[str, str], ...] = (
    (r"share_logits", r"alpha"),
    (r"lateral\.(\d)\.(\w+)", r"lateral_convs.\1.conv.\2"),
    (r"image_projection\.linear\.(\w+)", r"img_transform.0.\1"),
    (r"image_projection\.norm\.(\w+)", r"img_transform.1.\1"),
    (r"point_projection\.linear\.(\w+)", r"pts_transform.0.\1"),
    (r"point_projection\.norm\.(\w+)", r"pts_transform.1.\1"),
    *((r"fusion\." + ours, original) for ours, original in _FUSION_RULES),
)

# Tensors of the original's files that nothing computes with: a counter, and the index of Swin's bias table, which
# follows from the window.
_INERT = re.compile(
    r"decoder\.linear_fuse\.bn\.num_batches_tracked"
    r"|encoder\.body\.layers\.\d\.blocks\.\d+\.attn\.module\.relative_position_index"
)


def official_names(name: str, tensor: Tensor, encoder: str) -> tuple[str, ...]:
    """The original's name of one parameter of a network with this encoder, or one name per stream if it is stacked."""
    original = _renamed(name, encoder)
    if original is None:
        raise AssertionError(f"no rule for parameter {name} of a network with {encoder}")
    return _per_stream(re.sub(r"<(\d)>", lambda stage: str(int(stage[1]) + 1), original), tensor)


def official_point_fusion_names(name: str, tensor: Tensor) -> tuple[str, ...]:
    """The same for a `PointFusion` layer, named as within that layer in the original's KITTI branch."""
    original = _first_match(name, _POINT_FUSION_RULES)
    if original is None:
        raise AssertionError(f"no rule for parameter {name} of a point fusion")
    return _per_stream(original, tensor)


def is_inert(original: str, num_modalities: int) -> bool:
    """True if the original computes nothing with this tensor of its files."""
    # one score net per modality, RGB included, although only the others are scored: the last never runs
    unused_net = rf"encoder\.extra_score_predictor\.\d\.score_nets\.{num_modalities - 1}\.[01]\.(weight|bias)"
    return bool(_INERT.fullmatch(original) or re.fullmatch(unused_net, original))


def _per_stream(original: str, tensor: Tensor) -> tuple[str, ...]:
    if "{m}" not in original:
        return (original,)
    streams = tensor.shape[0]
    return tuple(original.format(m=stream, o=streams - 1 - stream) for stream in range(streams))


def _renamed(name: str, encoder: str) -> str | None:
    swin = encoder in SWIN_SIZES
    block = re.fullmatch(r"encoder\.stages\.(\d)\.blocks\.(\d+)\.(.+)", name)
    if block:
        stage, index, inner = block.groups()
        prefix = f"encoder.body.layers.{stage}.blocks.{index}." if swin else f"encoder.block<{stage}>.{index}."
        original = _first_match(inner, _SWIN_BLOCK_RULES if swin else _MIT_BLOCK_RULES)
        return None if original is None else prefix + original
    return _first_match(name, _HEAD_RULES + (_SWIN_RULES if swin else _MIT_RULES))


def _first_match(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, template in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(template)
    return None

"""Import weights in the original authors' layout.

Accepts a bare mapping, the main branch's files (`{"segmenter": …}` with keys prefixed `module.` by DDP) and the DeLiVER
branch's (`backbone.`/`decode_head.` instead of `encoder.`/`decoder.`). Files are read without unpickling code.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.encoder_sizes import MIT_SIZES, SWIN_SIZES
from geminifusion_model.encoders.windows import relative_position_index
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.official_names import is_inert, official_names
from geminifusion_model.weights.report import OfficialReport

# The order in which the original's DeLiVER branch gives its modalities; a file does not name them.
DELIVER_MODALITIES = ("rgb", "depth", "event", "lidar")

_FUSIONS = ("geminifusion", "pixel_attention", "pixel_attention_noise", "pixel_attention_relation", "none")


def load_official(
    source: str | Path | Mapping[str, Tensor], config: GeminiFusionConfig | None = None, strict: bool = True
) -> tuple[GeminiFusion, OfficialReport]:
    """A network, in eval mode, with weights in the original layout.

    Args:
        source: a `.pth`, `.pth.tar` or `.safetensors` file, or a mapping from the original's names to tensors.
        config: the network; inferred from names and shapes if none. What these do not tell is assumed: 8 fusion heads,
            and modalities called `rgb`, `depth`, `event`, `lidar` in that order.
        strict: raise if anything is missing, left over or of another shape; otherwise see the report, and what did not
            fit keeps its start value.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds no such weights, the configuration has a fusion that such files do not
            hold, or `strict` and they do not fit.
    """
    raw = read_tensors(source)
    tensors = _without_prefixes(raw)
    _refuse_token_fusion(tensors)
    if config is not None and config.fusion not in _FUSIONS:
        raise OfficialWeightsError(
            f"fusion is {config.fusion!r}, which the original's files do not hold; expected {', '.join(_FUSIONS)}"
        )
    if config is None:
        config = official_config(raw)
    renumbered = _renumbered_windows(config.encoder, tensors)
    if strict and renumbered:
        raise OfficialWeightsError(
            f"{renumbered[0]} does not number a window as {config.encoder} does; the weights are of another network, "
            "give its configuration, or strict=False to load them all the same"
        )
    net = GeminiFusion(config)
    report = _fill(net, tensors, renumbered)
    if strict and not report.complete:
        raise OfficialWeightsError(report.describe())
    return net.eval(), report


def _refuse_token_fusion(tensors: Mapping[str, Tensor]) -> None:
    if any(name.startswith("encoder.score_predictor.") for name in tensors):
        raise OfficialWeightsError(
            "these are TokenFusion weights: its score predictors (four layers per stage, tokens scaled by their scores "
            "and exchanged behind the projection) do not map onto our token_exchange, so they cannot be imported; "
            "train with fusion=token_exchange, or give weights of GeminiFusion or SegFormer"
        )


def official_config(tensors: Mapping[str, Tensor]) -> GeminiFusionConfig:
    """The network of these weights, as `load_official` infers it.

    Raises:
        OfficialWeightsError: they are none of a GeminiFusion network.
    """
    # only the DeLiVER branch names its parts so, and it enlarges the logits inside the network
    deliver = any(name.removeprefix("module.").startswith("decode_head.") for name in tensors)
    renamed = _without_prefixes(tensors)
    _refuse_token_fusion(renamed)
    return dataclasses.replace(infer_config(renamed), upsample_logits=deliver)


def _fill(net: GeminiFusion, tensors: Mapping[str, Tensor], renumbered: tuple[str, ...]) -> OfficialReport:
    own = net.state_dict()
    layout = {name: official_names(name, own[name], net.config.encoder) for name in own}
    used: list[str] = []
    missing: list[str] = []
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, originals in layout.items():
        stacked = len(originals) > 1
        for stream, original in enumerate(originals):
            target = own[name][stream] if stacked else own[name]
            if original not in tensors:
                if not is_inert(original, len(net.config.modalities)):  # older files lack the batch counter
                    missing.append(original)
            elif tensors[original].shape != target.shape:
                mismatched.append((original, tuple(tensors[original].shape), tuple(target.shape)))
            else:
                target.copy_(tensors[original])  # state_dict tensors share the parameters' memory
                used.append(original)
    known = {original for originals in layout.values() for original in originals}
    left_over = sorted(set(tensors) - known)
    ignored = tuple(n for n in left_over if is_inert(n, len(net.config.modalities)) and n not in renumbered)
    return OfficialReport(
        used=tuple(used),
        missing=tuple(missing),
        unexpected=tuple(name for name in left_over if name not in ignored),
        mismatched=tuple(mismatched),
        ignored=ignored,
    )


def _renumbered_windows(encoder: str, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Indices of bias tables that differ from ours: such weights would load and compute something else."""
    found = [name for name in tensors if name.endswith(".relative_position_index")]
    if encoder not in SWIN_SIZES or not found:
        return tuple(found)
    own = relative_position_index(SWIN_SIZES[encoder].window)
    return tuple(name for name in found if not torch.equal(tensors[name], own))


def infer_config(tensors: Mapping[str, Tensor]) -> GeminiFusionConfig:
    """Read the configuration off the original's names and shapes.

    Raises:
        OfficialWeightsError: they are not those of a GeminiFusion network.
    """
    swin = any(name.startswith("encoder.body.") for name in tensors)
    norms = [f"encoder.body.norm{i}" if swin else f"encoder.norm{i + 1}" for i in range(4)]
    blocks = [f"encoder.body.layers.{i}.blocks." if swin else f"encoder.block{i + 1}." for i in range(4)]
    try:
        channels = tuple(tensors[f"{norm}.ln_0.weight"].shape[0] for norm in norms)
        num_classes, decoder_channels = tensors["decoder.linear_pred.weight"].shape[:2]
        table = tensors[f"{blocks[0]}0.attn.module.relative_position_bias_table"] if swin else None
    except KeyError as error:
        raise OfficialWeightsError(
            f"no weights of a GeminiFusion network: {error.args[0]} is absent. "
            f"Found {len(tensors)} tensors, the first ones: {', '.join(list(tensors)[:3]) or 'none'}"
        ) from None
    depths = tuple(
        len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
        for prefix in blocks
    )
    num_modalities = sum(f"encoder.patch_embed1.norm.ln_{i}.weight" in tensors for i in range(len(DELIVER_MODALITIES)))
    return GeminiFusionConfig(
        encoder=_encoder_of(channels, depths, table),
        num_classes=num_classes,
        modalities=DELIVER_MODALITIES[: max(num_modalities, 2)],
        decoder_channels=decoder_channels,
        fusion="geminifusion" if any(name.endswith(".k_noise.weight") for name in tensors) else "none",
    )


def _encoder_of(channels: tuple[int, ...], depths: tuple[int, ...], bias_table: Tensor | None) -> str:
    if bias_table is None:
        for encoder, mit in MIT_SIZES.items():
            if (mit.channels, mit.depths) == (channels, depths):
                return encoder
        raise OfficialWeightsError(f"no MiT encoder has channels {channels} and depths {depths}")
    window = (math.isqrt(bias_table.shape[0]) + 1) // 2
    for encoder, swin in SWIN_SIZES.items():
        if (swin.channels, swin.depths, swin.window) == (channels, depths, window):
            return encoder
    raise OfficialWeightsError(f"no Swin encoder has channels {channels}, depths {depths} and windows of {window}")


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        # only a leading `module.` is DDP's; `.module.` inside a name is the original's own
        name = name.removeprefix("module.")
        name = re.sub(r"^backbone\.", "encoder.", name)
        renamed[re.sub(r"^decode_head\.", "decoder.", name)] = tensor
    return renamed

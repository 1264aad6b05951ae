"""SegFormer's weights: the network of RGB alone is SegFormer, and both streams of any other can start from its encoder.

Read are the files of Hugging Face transformers and of NVlabs (see `segformer_names`). mmsegmentation's own
implementation has a norm and an activation behind every projection of its decoder, so it is another network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.files import OfficialWeightsError, read_tensors
from geminifusion_model.weights.filling import any_of, plan_filling
from geminifusion_model.weights.report import OfficialReport
from geminifusion_model.weights.segformer_names import SegformerLayout, segformer_layout

# What nothing computes with: the classifier that mmcv gives every decoder, and a second head for training.
_INERT = any_of(r"decode_head\.conv_seg\..+", r"auxiliary_head\..+")
_HEADS = any_of(r"decode_head\..+", r"auxiliary_head\..+", r"classifier\..+", r"head\..+")


def load_segformer(
    source: str | Path | Mapping[str, Tensor], *, strict: bool = True
) -> tuple[GeminiFusion, OfficialReport]:
    """The network of RGB alone, in eval mode, with the weights of a SegFormer for segmentation.

    Args:
        source: a `.pth`, `.bin` or `.safetensors` file, or a mapping from its names to tensors.
        strict: raise if anything is missing, left over or of another shape; otherwise see the report.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds no SegFormer for segmentation, or `strict` and it does not fit.
    """
    tensors, layout = segformer_tensors(read_tensors(source))
    net = GeminiFusion(segformer_config(tensors, layout))
    folded = _with_folded_bias(tensors, layout)
    filling = plan_filling(net, folded, layout.names, not_needed=_INERT)
    if strict and not filling.report.complete:
        raise OfficialWeightsError(f"expected {layout.name}, but {filling.report.describe()}")
    filling.apply()
    return net.eval(), filling.report


def start_from_segformer(net: GeminiFusion, source: str | Path | Mapping[str, Tensor]) -> OfficialReport:
    """Fill the encoder of any MiT network, every stream with the same values, and what fits of its decoder.

    The decoder is filled if it is as wide as the file's, its classifier if it has as many classes; otherwise they keep
    their start values. Files without a decoder (an encoder, a classifier) fill the encoder alone.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: the file holds no SegFormer with this encoder; the network is then unchanged.
    """
    tensors, layout = segformer_tensors(read_tensors(source))
    encoder = plan_filling(net, tensors, layout.encoder_names, not_needed=_HEADS)
    if not encoder.report.complete:
        raise OfficialWeightsError(f"expected {layout.name} for {net.config.encoder}, but {encoder.report.describe()}")
    encoder.apply()
    decoder = plan_filling(
        net,
        _with_folded_bias(tensors, layout),
        lambda official: layout.names(official) if official.startswith("decoder.") else None,
        not_needed=lambda _: True,
    )
    classifier = {name for kind in ("weight", "bias") for name in layout.names(f"decoder.linear_pred.{kind}") or ()}
    fits = not decoder.report.missing and {name for name, _, _ in decoder.report.mismatched} <= classifier
    if not fits:
        return encoder.report
    decoder.apply()
    return dataclasses.replace(
        encoder.report,
        used=encoder.report.used + decoder.report.used,
        ignored=tuple(name for name in encoder.report.ignored if name not in decoder.report.used),
    )


def segformer_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], SegformerLayout]:
    """The tensors without DDP's prefix, and their layout.

    Raises:
        OfficialWeightsError: they are none of SegFormer's.
    """
    bare = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    layout = segformer_layout(bare)
    if layout is None:
        first = ", ".join(list(bare)[:3]) or "none"
        raise OfficialWeightsError(f"no weights of a SegFormer network: found {len(bare)} tensors, the first: {first}")
    return bare, layout


def segformer_config(tensors: Mapping[str, Tensor], layout: SegformerLayout) -> GeminiFusionConfig:
    """Read the configuration off names and shapes.

    Raises:
        OfficialWeightsError: there is no decoder, or no MiT has such an encoder.
    """
    fuse, classify = (
        next((n for n in layout.names(f"decoder.{part}.weight") or () if n in tensors), None)
        for part in ("linear_fuse.conv", "linear_pred")
    )
    if fuse is None or classify is None:
        raise OfficialWeightsError(
            f"this is {layout.name} without a decoder for segmentation, so it has no classes to serve; start training "
            "from it with --set start_from=FILE"
        )
    return GeminiFusionConfig(
        encoder=encoder_of(tensors, layout),
        num_classes=tensors[classify].shape[0],
        modalities=("rgb",),
        fusion="none",
        decoder_channels=tensors[fuse].shape[0],
        norm_eps=layout.norm_eps,
        embed_norm_eps=layout.embed_norm_eps,
    )


def encoder_of(tensors: Mapping[str, Tensor], layout: SegformerLayout) -> str:
    """The MiT with the widths and depths of these tensors.

    Raises:
        OfficialWeightsError: there is none.
    """
    channels, depths = [], []
    for stage in range(1, 5):
        norm = layout.encoder_names(f"encoder.norm{stage}.ln_0.weight") or ("",)
        channels.append(tensors[norm[0]].shape[0] if norm[0] in tensors else 0)
        depth = 0
        while (layout.encoder_names(f"encoder.block{stage}.{depth}.norm1.ln_0.weight") or ("",))[0] in tensors:
            depth += 1
        depths.append(depth)
    for encoder, size in MIT_SIZES.items():
        if (size.channels, size.depths) == (tuple(channels), tuple(depths)):
            return encoder
    raise OfficialWeightsError(f"no MiT encoder has channels {tuple(channels)} and depths {tuple(depths)}")


def _with_folded_bias(tensors: Mapping[str, Tensor], layout: SegformerLayout) -> dict[str, Tensor]:
    """Without a bias of `linear_fuse`, which its BatchNorm takes away again: the running mean takes it over."""
    (bias,) = layout.names("decoder.linear_fuse.conv.bias") or ("",)
    (mean,) = layout.names("decoder.linear_fuse.bn.running_mean") or ("",)
    if bias not in tensors or mean not in tensors or tensors[bias].shape != tensors[mean].shape:
        return dict(tensors)
    folded = {name: tensor for name, tensor in tensors.items() if name != bias}
    return {**folded, mean: tensors[mean] - tensors[bias]}

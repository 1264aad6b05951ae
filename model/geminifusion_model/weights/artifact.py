"""Read a network back from an artifact's graph, to train it further where its checkpoint is not at hand.

The graph holds the inference form under its own names. What that folds is taken apart again, into one of the many
networks that compute the same:

- the fusion's noises and output projections are solved for, by least squares;
- the biases of output projection and fusion are one: what the streams share goes to the projection;
- the matrices of a decoder's stage are one, and are split in halves by their singular values.

The statistics of the decoder's BatchNorm are not in the graph: the network that is returned has a norm that changes
nothing in eval mode. Training it further needs `freeze_decoder_norm`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.encoders.mit import Block, FusedAttention, Stage
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_runtime.artifact import (
    METADATA_NAME,
    MODEL_NAME,
    ArtifactMetadata,
    open_artifact,
    require_segmentation,
)

_NETWORK = re.compile(r"(part\d+\.)?network\.")  # a graph that resizes is joined from numbered parts
_STORED_IN_HALF = ".float16"
_SMALLEST_SINGULAR = 1e-3  # of a solved matrix, as a share of its largest: half precision has rounded the rest away


def trained_network(directory: Path) -> GeminiFusion:
    """The network of a checkpoint, or of an artifact.

    Raises:
        CheckpointError: a checkpoint is damaged.
        ArtifactError, OfficialWeightsError: see `network_of_artifact`.
    """
    return network_of_artifact(directory) if is_artifact(directory) else GeminiFusion.from_pretrained(directory)


def is_artifact(directory: Path) -> bool:
    """Whether a directory is an artifact, by its metadata."""
    return (directory / METADATA_NAME).is_file()


def network_of_artifact(directory: Path) -> GeminiFusion:
    """The network of an artifact, in eval mode; it computes what the artifact's graph does, but for rounding.

    Raises:
        ArtifactError: `directory` holds no artifact.
        OfficialWeightsError: the network is of a kind that cannot be read back, or the graph lacks weights of it.
    """
    metadata = open_artifact(directory)
    if metadata.encoder not in MIT_SIZES or metadata.fusion != "geminifusion" or len(metadata.modalities) != 2:
        raise OfficialWeightsError(
            f"{directory} holds {metadata.encoder} with fusion {metadata.fusion} and {len(metadata.modalities)} "
            "modalities; only a MiT with fusion geminifusion and two modalities can be read back: give its checkpoint"
        )
    graph = _graph(directory / MODEL_NAME)
    tensors = _tensors(graph)
    net = GeminiFusion(_config(metadata, graph, tensors)).double()
    with torch.no_grad():
        _Unfolding(directory, tensors).fill(net)
    return net.float().eval()


def _graph(path: Path) -> Any:  # noqa: ANN401 - onnx has no types for its messages
    try:
        onnx = importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise OfficialWeightsError(
            f'reading {path} needs onnx, which is not installed; run: pip install "geminifusion[export]"'
        ) from None
    return onnx.load(path).graph


def _tensors(graph: Any) -> dict[str, Tensor]:  # noqa: ANN401
    to_array = importlib.import_module("onnx.numpy_helper").to_array
    return {
        _NETWORK.sub("", each.name, count=1).removesuffix(_STORED_IN_HALF): torch.from_numpy(
            to_array(each).astype(np.float64)
        )
        for each in graph.initializer
        if _NETWORK.match(each.name)
    }


def _config(metadata: ArtifactMetadata, graph: Any, tensors: Mapping[str, Tensor]) -> GeminiFusionConfig:  # noqa: ANN401
    heads = _attributes(graph, "PixelwiseFusion", "num_heads", "i")
    epsilons = {round(value, 9) for value in _attributes(graph, "LayerNormalization", "epsilon", "f")}
    classify = tensors.get("decoder.classify.weight")
    if classify is None or len(heads) != 1 or epsilons != {1e-6}:
        raise OfficialWeightsError(
            f"the graph of {metadata.name} has no decoder, or fusions or norms that differ among each other or from "
            "those that can be read back; give its checkpoint"
        )
    return GeminiFusionConfig(
        encoder=metadata.encoder,
        fusion=metadata.fusion,
        num_classes=len(require_segmentation(metadata).classes),
        modalities=tuple(modality.name for modality in metadata.modalities),
        num_fusion_heads=heads.pop(),
        decoder_channels=classify.shape[1],
    )


def _attributes(graph: Any, operator: str, name: str, field: Literal["i", "f"]) -> set[Any]:  # noqa: ANN401
    """The values that an attribute has among all nodes of one kind."""
    nodes = (node for node in graph.node if node.op_type == operator)
    return {getattr(each, field) for node in nodes for each in node.attribute if each.name == name}


class _Unfolding:
    """Fills a network of double precision from the tensors of its inference form."""

    def __init__(self, directory: Path, tensors: Mapping[str, Tensor]) -> None:
        self._directory, self._tensors = directory, tensors

    def fill(self, net: GeminiFusion) -> None:
        for index, stage in enumerate(net.encoder.stages):
            self._stage(cast(Stage, stage), f"encoder.stages.{index}")
        self._decoder(net)

    def _get(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise OfficialWeightsError(
                f"{self._directory} lacks {name} in {MODEL_NAME}; export it again from its checkpoint"
            )
        return self._tensors[name]

    def _linear(self, module: nn.Module, name: str) -> None:
        weight, bias = cast(Tensor, module.weight), cast(Tensor, module.bias)
        weight.copy_(self._get(f"{name}.weight").view_as(weight))
        bias.copy_(self._get(f"{name}.bias"))

    def _norm(self, module: nn.Module, name: str) -> None:
        for part in ("weight", "bias"):
            values = cast(Tensor, getattr(module, part))
            for stream in range(len(values)):
                values[stream] = self._get(f"{name}.{stream}.{part}")

    def _stage(self, stage: Stage, name: str) -> None:
        self._linear(stage.patch_embed.conv, f"{name}.conv")
        self._norm(stage.patch_embed.norm, f"{name}.embed_norm")
        self._norm(stage.norm, f"{name}.norm")
        for index, each in enumerate(stage.blocks):
            block, prefix = cast(Block, each), f"{name}.blocks.{index}"
            self._norm(block.norm1, f"{prefix}.norm1")
            self._norm(block.norm2, f"{prefix}.norm2")
            for layer in ("fc1", "depthwise", "fc2"):
                self._linear(getattr(block.mlp, layer), f"{prefix}.{layer}")
            self._attention(block.attention, f"{prefix}.attention")

    def _attention(self, attention: FusedAttention, name: str) -> None:
        self._linear(attention.query, f"{name}.query")
        self._linear(attention.key_value, f"{name}.key_value")
        if attention.reduce is not None:
            self._linear(attention.reduce.conv, f"{name}.reduce")
            self._norm(attention.reduce.norm, f"{name}.reduce_norm")
        output = self._get(f"{name}.from_context.0.weight")
        attention.output.weight.copy_(output)
        biases = [self._get(f"{name}.from_context.{stream}.bias") for stream in range(2)]
        shared = (biases[0] + biases[1]) / 2
        attention.output.bias.copy_(shared)
        fusion = cast(GeminiFusionBlock, attention.fusion)
        for stream in range(2):
            mixed = self._get(f"{name}.from_mixed.{stream}").T  # output times the fusion's own projection
            fusion.out_proj_weight[stream] = _solved(output, mixed)
            fusion.out_proj_bias[stream] = _solved(output, biases[stream] - shared)
        self._fusion(fusion, f"{name}.fusion")

    def _fusion(self, fusion: GeminiFusionBlock, name: str) -> None:
        weights = [self._get(f"{name}.inner.{stream}.weight").split(fusion.channels) for stream in range(2)]
        biases = [self._get(f"{name}.inner.{stream}.bias").split(fusion.channels) for stream in range(2)]
        assert fusion.key_noise is not None
        assert fusion.value_noise is not None
        assert fusion.relation is not None
        for stream in range(2):
            query, value = weights[stream][:2]
            key = self._get(f"{name}.key.{stream}.weight")
            value_bias = biases[1 - stream][2]  # as the other stream reads it: without the noise
            fusion.in_proj_weight[stream] = torch.cat([query, key, value])
            fusion.in_proj_bias[stream] = torch.cat([biases[stream][0], torch.zeros_like(value_bias), value_bias])
            fusion.key_noise[stream] = _solved(key, self._get(f"{name}.key.{stream}.bias"))
            fusion.value_noise[stream] = _solved(value, biases[stream][1] - value_bias)
        fusion.relation.fc1.weight.copy_(torch.cat(weights[0][3:], dim=1))
        fusion.relation.fc1.bias.copy_(biases[0][3])
        self._linear(fusion.relation.fc2, f"{name}.relation")

    def _decoder(self, net: GeminiFusion) -> None:
        """The streams' decoders differ by their shares in the ensemble alone, which sum to 1."""
        decoder, name = net.decoder, "decoder.streams"
        stages = [[self._get(f"{name}.{stream}.{stage}.weight") for stage in range(4)] for stream in range(2)]
        sizes = torch.tensor([sum(weight.norm() for weight in weights) for weights in stages], dtype=torch.float64)
        shares = sizes / sizes.sum()
        net.ensemble_logits.copy_(shares.log() - shares.log().mean() + 1.0)
        halves = []
        for project, own, other in zip(decoder.project, *stages, strict=True):
            left, singular, right = torch.linalg.svd(own + other, full_matrices=False)
            rank = len(singular)
            half = torch.zeros(decoder.fuse.weight.shape[0], decoder.fuse.weight.shape[0], dtype=torch.float64)
            half[:, :rank] = left * singular.sqrt()
            halves.append(half)
            layer = cast(nn.Linear, project)
            layer.weight[:rank] = singular.sqrt()[:, None] * right
            layer.bias.zero_()
        decoder.fuse.weight.copy_(torch.cat(halves[::-1], dim=1)[:, :, None, None])
        norm = decoder.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
        norm.weight.fill_(1.0)
        norm.bias.copy_(self._get(f"{name}.0.0.bias") / shares[0])
        self._linear(decoder.classify, "decoder.classify")


def _solved(matrix: Tensor, product: Tensor) -> Tensor:
    """The smallest `x` for which `matrix @ x` comes nearest to `product`, a vector or a matrix."""
    columns = product if product.dim() == 2 else product[:, None]
    found = torch.linalg.lstsq(matrix, columns, rcond=_SMALLEST_SINGULAR, driver="gelsd").solution
    return found if product.dim() == 2 else found[:, 0]

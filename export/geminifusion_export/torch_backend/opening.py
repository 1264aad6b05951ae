"""Opening an artifact, or a checkpoint in its place, with torch: what the entry point `torch` names."""

from __future__ import annotations

from pathlib import Path

import torch

from geminifusion_export.graph import SegmentationGraph
from geminifusion_export.torch_backend.inference_graph import DTYPES, InferenceGraph
from geminifusion_export.torch_backend.serving import ServingBackend
from geminifusion_model.checkpoint import CheckpointError, read_info
from geminifusion_model.evaluation.served import ServedModel
from geminifusion_model.network import GeminiFusion
from geminifusion_model.weights.artifact import network_of_artifact
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_runtime.artifact import ArtifactMetadata, Precision, SegmentationMetadata, require_segmentation
from geminifusion_runtime.backends.protocol import BackendError


def open_torch(
    directory: Path,
    metadata: ArtifactMetadata,
    *,
    threads: int,
    device: str,
    location: str = "",
    precision: Precision = "float32",
) -> ServingBackend:
    """Load an artifact's network, or another checkpoint of its task.

    Args:
        directory: of the artifact.
        metadata: of the artifact, whose modalities and classes the checkpoint must have.
        threads: of torch on a CPU.
        device: `auto`, `cpu` or `cuda:N`; `auto` is the first GPU that torch sees, or else the CPU.
        location: the checkpoint's directory; empty reads the weights out of the artifact's graph.
        precision: what the network computes in; encodings and outputs are float32.

    Raises:
        RuntimeError: there is no such checkpoint, it is for other modalities or classes, the artifact's network cannot
            be read back, torch does not compute in this precision, or the device is not there.
    """
    if precision not in DTYPES:
        raise BackendError(f"torch was asked to compute in {precision}; expected one of {', '.join(DTYPES)}")
    target = _device(device)
    graph = (
        _of_checkpoint(Path(location), directory, require_segmentation(metadata))
        if location
        else _of_artifact(directory, metadata)
    )
    return ServingBackend(InferenceGraph(graph, DTYPES[precision]), device=target, threads=threads)


def _device(name: str) -> torch.device:
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise BackendError(f"torch sees no GPU here; give --devices cpu instead of {name}")
        if (index := torch.device(name).index or 0) >= (count := torch.cuda.device_count()):
            raise BackendError(f"torch sees {count} GPU(s), and {name} is none of them; count from 0")
        return torch.device("cuda", index)
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("cpu")


def _of_artifact(directory: Path, metadata: ArtifactMetadata) -> SegmentationGraph:
    try:
        network = network_of_artifact(directory)
    except OfficialWeightsError as error:
        raise BackendError(f"{error}; for example: --backend torch:CHECKPOINT") from None
    served = require_segmentation(metadata)
    return SegmentationGraph(network, ServedModel.of(served, "torch").task(), served.temperature or 1.0)


def _of_checkpoint(checkpoint: Path, directory: Path, metadata: SegmentationMetadata) -> SegmentationGraph:
    try:
        info = read_info(checkpoint)
        network = GeminiFusion.from_pretrained(checkpoint)
    except CheckpointError as error:
        raise BackendError(str(error)) from None
    if info.task is None:
        raise BackendError(
            f"{checkpoint} does not say what its inputs and classes are; train it with geminifusion train"
        )
    ours = ([modality.name for modality in info.task.modalities], len(info.task.class_names))
    theirs = ([spec.name for spec in metadata.modalities], len(metadata.classes))
    if ours != theirs:
        raise BackendError(
            f"{checkpoint} has modalities {ours[0]} and {ours[1]} classes, but {metadata.reference} in {directory} has "
            f"{theirs[0]} and {theirs[1]}; give the checkpoint the artifact was made of, or another of the same task"
        )
    return SegmentationGraph(network, info.task, metadata.temperature or 1.0)

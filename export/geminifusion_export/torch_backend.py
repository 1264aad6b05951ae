"""The network in torch behind the service, for development: what a change of weights or code does, without an export.

The service finds `open_torch` by the entry point `torch` of the group `geminifusion.backends`. It never imports torch
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geminifusion_export.graph import SegmentationGraph
from geminifusion_model.checkpoint import CheckpointError, read_info
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import ArtifactMetadata


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """One batch of answers, as the graph of an artifact gives them. Axes: B batch, H W image, h w a quarter of it."""

    labels: NDArray[np.uint8]  # B H W
    confidence: NDArray[np.float32]  # B h w, 0…1
    gate: NDArray[np.float32]  # B h w, 0…1


class TorchBackend:
    """A checkpoint in its inference form on one device; `threads` of a CPU are those of the whole process."""

    name = "torch"

    def __init__(self, graph: SegmentationGraph, *, device: torch.device, threads: int) -> None:
        if device.type == "cpu":
            torch.set_num_threads(threads)
        self._graph = graph.eval().to(device)
        self._device = device

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Outputs:
        """Run one batch; `inputs` by name, `B H W 3` uint8 or `B H W` as the metadata says."""
        names = [modality.name for modality in self._graph.task.modalities]
        with torch.inference_mode():
            tensors = [torch.tensor(inputs[name], device=self._device) for name in names]
            labels, confidence, gate = (tensor.cpu().numpy() for tensor in self._graph(*tensors))
        return Outputs(labels=labels, confidence=confidence, gate=gate)


def open_torch(
    directory: Path, metadata: ArtifactMetadata, *, threads: int, device: str, location: str
) -> TorchBackend:
    """Load a checkpoint in place of an artifact's graph.

    Args:
        directory: of the artifact; nothing of it is read.
        metadata: of the artifact, whose modalities and classes the checkpoint must have.
        threads: on a CPU.
        device: `auto`, `cpu` or `cuda:N`; `auto` is the CPU. Not run on a GPU by us.
        location: the checkpoint's directory.

    Raises:
        RuntimeError: there is no such checkpoint, it is for other modalities or classes, or the device is not there.
    """
    if not location:
        raise RuntimeError("backend torch needs a checkpoint; give --backend torch:CHECKPOINT")
    checkpoint = Path(location)
    try:
        info = read_info(checkpoint)
        network = GeminiFusion.from_pretrained(checkpoint)
    except CheckpointError as error:
        raise RuntimeError(str(error)) from None
    if info.task is None:
        raise RuntimeError(
            f"{checkpoint} does not say what its inputs and classes are; train it with geminifusion train"
        )
    modalities = [spec.name for spec in metadata.modalities]
    ours = ([modality.name for modality in info.task.modalities], len(info.task.class_names))
    theirs = (modalities, len(metadata.classes))
    if ours != theirs:
        raise RuntimeError(
            f"{checkpoint} has modalities {ours[0]} and {ours[1]} classes, but {metadata.reference} in {directory} has "
            f"{theirs[0]} and {theirs[1]}; give the checkpoint the artifact was made of, or another of the same task"
        )
    target = torch.device(device if device.startswith("cuda") else "cpu")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"torch sees no GPU here; give --devices cpu instead of {device}")
    graph = SegmentationGraph(network, info.task, metadata.temperature or 1.0)
    return TorchBackend(graph, device=target, threads=threads)

"""The network in eager torch as a backend: the reference of every verification, and for development behind the service.

`geminifusion serve --backend torch:CHECKPOINT` shows the effect of a change of weights or code without an export. The
service never imports torch itself: it finds `open_torch` by the entry point `torch` of the group
`geminifusion.backends`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from geminifusion_export.graph import SegmentationGraph
from geminifusion_model.checkpoint import CheckpointError, read_info
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import BackendError, GraphInputs, GraphOutputs


class TorchBackend:
    """A network in its inference form, in float32.

    Args:
        device: what it runs on.
        threads: of torch on the CPU, in the whole process; None leaves them as they are.
    """

    name = "torch"

    def __init__(
        self, graph: SegmentationGraph, *, device: torch.device | None = None, threads: int | None = None
    ) -> None:
        self._device = device or torch.device("cpu")
        if threads is not None and self._device.type == "cpu":
            torch.set_num_threads(threads)
        self._graph = graph.eval().to(self._device)

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        names = [modality.name for modality in self._graph.task.modalities]
        with torch.inference_mode():
            tensors = [torch.tensor(inputs[name], device=self._device) for name in names]
            outputs = [tensor.cpu().numpy() for tensor in self._graph(*tensors)]
        return GraphOutputs(**dict(zip(self._graph.output_names, outputs, strict=True)))


def open_torch(
    directory: Path, metadata: ArtifactMetadata, *, threads: int, device: str, location: str
) -> TorchBackend:
    """Load a checkpoint in place of an artifact's graph.

    Args:
        directory: of the artifact; nothing in it is read.
        metadata: of the artifact, whose modalities and classes the checkpoint must have.
        threads: of torch on a CPU.
        device: `auto`, `cpu` or `cuda:N`; `auto` is the CPU.
        location: the checkpoint's directory.

    Raises:
        RuntimeError: there is no such checkpoint, it is for other modalities or classes, or the device is not there.
    """
    if not location:
        raise BackendError("backend torch needs a checkpoint; give --backend torch:CHECKPOINT")
    checkpoint = Path(location)
    try:
        info = read_info(checkpoint)
        network = GeminiFusion.from_pretrained(checkpoint)
    except CheckpointError as error:
        raise BackendError(str(error)) from None
    if info.task is None:
        raise BackendError(
            f"{checkpoint} does not say what its inputs and classes are; train it with geminifusion train"
        )
    modalities = [spec.name for spec in metadata.modalities]
    ours = ([modality.name for modality in info.task.modalities], len(info.task.class_names))
    theirs = (modalities, len(metadata.classes))
    if ours != theirs:
        raise BackendError(
            f"{checkpoint} has modalities {ours[0]} and {ours[1]} classes, but {metadata.reference} in {directory} has "
            f"{theirs[0]} and {theirs[1]}; give the checkpoint the artifact was made of, or another of the same task"
        )
    target = torch.device(device if device.startswith("cuda") else "cpu")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"torch sees no GPU here; give --devices cpu instead of {device}")
    graph = SegmentationGraph(network, info.task, metadata.temperature or 1.0)
    return TorchBackend(graph, device=target, threads=threads)

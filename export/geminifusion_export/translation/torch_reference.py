"""The torch network as the reference of a translator's backends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geminifusion_export.graph import TRACED_SHAPE
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.translation.graph import TranslationGraph, random_batch
from geminifusion_export.verification.comparison import run_reference
from geminifusion_export.verification.torch_reference import check_weights, no_data_for
from geminifusion_model.translation.checkpoint import read_translator
from geminifusion_model.translation.generator import Generator
from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.golden_set import ReferenceBatch

_SHAPES: tuple[BatchShape, ...] = (TRACED_SHAPE, (1, 64, 64), (3, 32, 96), (1, 160, 96))  # verified


def reference_batches(graph: TranslationGraph) -> Sequence[ReferenceBatch]:
    """Torch's outputs for random inputs of several shapes, that of training among them."""
    shapes = dict.fromkeys((*_SHAPES, (1, *graph.task.size)))
    return run_reference(TorchBackend(graph), (random_batch(graph, shape, seed) for seed, shape in enumerate(shapes)))


class TranslationNetwork:
    """See `TorchNetwork`.

    Args:
        checkpoint: the one the artifact was made from.

    Raises:
        ExportError: it is not.
    """

    remarks = ()

    def __init__(self, checkpoint: Path, metadata: ArtifactMetadata) -> None:
        check_weights(checkpoint, metadata)
        self._metadata = metadata
        self._graph = TranslationGraph(Generator.from_pretrained(checkpoint), read_translator(checkpoint).task)

    def references(self) -> tuple[Sequence[ReferenceBatch], BatchShape]:
        """See `reference_batches`."""
        return reference_batches(self._graph), TRACED_SHAPE

    def on_data(self, data: Path, frames: int) -> Sequence[ReferenceBatch]:
        """Raises VerificationError: there are no such frames."""
        raise no_data_for(self._metadata)

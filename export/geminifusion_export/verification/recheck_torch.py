"""Compare an artifact's runtimes with the torch network it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import TRACED_SHAPE, SegmentationGraph
from geminifusion_export.runtime_discovery import label
from geminifusion_export.runtimes import Runtime
from geminifusion_export.torch_reference import TorchReference, expected_at
from geminifusion_export.verification.certificate import Section
from geminifusion_export.verification.comparison import Expected, compare
from geminifusion_export.verification.verify_artifact import Findings, measure_shapes, section_of
from geminifusion_model.checkpoint import read_info, weights_sha256
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import GeminiFusion
from geminifusion_runtime.artifact import ArtifactMetadata


def measure_against_torch(
    checkpoint: Path,
    data: Path | None,
    frames: int,
    runtimes: Sequence[Runtime],
    metadata: ArtifactMetadata,
    findings: Findings,
) -> tuple[list[Section], list[str]]:
    """Every runtime at the verified shapes and, with `data`, on the first test frames of NYUv2.

    Returns:
        Sections, and remarks about the checkpoint.

    Raises:
        ExportError: the checkpoint is not the one the artifact was made from.
    """
    found = weights_sha256(checkpoint)
    if found != metadata.checkpoint_sha256:
        raise ExportError(
            f"{checkpoint} has weights {found[:12]}…, the artifact was made from {metadata.checkpoint_sha256[:12]}…; "
            "give the checkpoint it was exported from"
        )
    info = read_info(checkpoint)
    assert info.task is not None  # an artifact cannot be made without one
    # the artifact's own temperature: another may have been fitted to the same weights since
    graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), info.task, metadata.temperature or 1.0)
    reports = measure_shapes(expected_at(graph), runtimes, metadata, findings, traced=TRACED_SHAPE)
    sections = [section_of("on random inputs, against torch", reports, metadata, findings)]
    if data is not None:
        sections.append(_on_frames(graph, runtimes, data, frames, metadata, findings))
    fitted = Temperature.from_record(info.training)
    if fitted is None or fitted.value == metadata.temperature:
        return sections, []
    served = "none" if metadata.temperature is None else f"{metadata.temperature:.3f}"
    return sections, [
        f"the checkpoint has a temperature of {fitted.value:.3f} by now, the artifact {served}; export again to use it"
    ]


def _on_frames(
    graph: SegmentationGraph,
    runtimes: Sequence[Runtime],
    data: Path,
    frames: int,
    metadata: ArtifactMetadata,
    findings: Findings,
) -> Section:
    """Label agreement and mIoU on test frames; torch is asked once for all runtimes."""
    expected = tuple(_frames(graph, data, frames))
    reports = [compare(expected, runtime, num_classes=len(metadata.classes)).report for runtime in runtimes]
    named = ", ".join(map(label, runtimes))
    return section_of(f"on {len(expected)} test frames, against torch ({named})", reports, metadata, findings)


def _frames(graph: SegmentationGraph, data: Path, frames: int) -> Iterator[Expected]:
    dataset = NYUv2(data, "test", num_classes=len(graph.task.class_names), limit=frames)
    reference = TorchReference(graph)
    for index in range(len(dataset)):
        sample = dataset[index]
        feeds = {
            modality.name: (sample.rgb if modality.name == "rgb" else sample.others[modality.name])[np.newaxis]
            for modality in graph.task.modalities
        }
        yield Expected(feeds, reference.run(feeds), sample.labels[np.newaxis])

"""Repeat an artifact's verification on the user's own machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from geminifusion_export.artifact import MODEL_NAME, ArtifactMetadata, open_artifact
from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
from geminifusion_export.graph import ExportError, SegmentationGraph
from geminifusion_export.report import verification_table
from geminifusion_export.verification import (
    FLOAT16_WEIGHTS,
    FLOAT32_WEIGHTS,
    VerificationError,
    open_session,
    require_within,
    verify_shapes,
)
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_model.weights.checkpoint import load_network, read_info, weights_sha256


def recheck_artifact(artifact: Path, checkpoint: Path | None, data: Path | None, frames: int) -> str:
    """Check files and graph, then compare with torch as far as a checkpoint and data are given.

    Returns:
        A text to read.

    Raises:
        ArtifactError: a file is missing or damaged.
        ExportError: the checkpoint is not the one the artifact was made from, or --data came without it.
        VerificationError: the graph differs from torch beyond its budget.
    """
    metadata = open_artifact(artifact)
    path = artifact / MODEL_NAME
    lines = [
        f"{metadata.reference}: {len(metadata.files)} file(s) match their SHA-256",
        _graph_line(path, metadata),
    ]
    if checkpoint is None:
        if data is not None:
            raise ExportError("comparing labels on data needs the torch network; give --checkpoint too")
        lines += ["as recorded when it was exported:", verification_table(metadata.verification)]
        return "\n".join(lines)
    found = weights_sha256(checkpoint)
    if found != metadata.checkpoint_sha256:
        raise ExportError(
            f"{checkpoint} has weights {found[:12]}…, the artifact was made from {metadata.checkpoint_sha256[:12]}…; "
            "give the checkpoint it was exported from"
        )
    info = read_info(checkpoint)
    assert info.task is not None  # an artifact cannot be made without one
    # the artifact's own: another may have been fitted to the same weights since
    graph = SegmentationGraph(load_network(checkpoint), info.task, metadata.temperature or 1.0)
    budget = FLOAT16_WEIGHTS if metadata.weights_stored_as == "float16" else FLOAT32_WEIGHTS
    reports = verify_shapes(graph, path)
    lines += ["measured here, against torch:", verification_table(reports)]
    require_within(reports, budget)
    fitted = Temperature.from_record(info.training)
    if fitted is not None and fitted.value != metadata.temperature:
        lines.append(
            f"the checkpoint has a temperature of {fitted.value:.3f} by now, the artifact "
            f"{'none' if metadata.temperature is None else f'{metadata.temperature:.3f}'}; export again to use it"
        )
    if data is not None:
        lines.append(_on_frames(graph, path, data, frames, budget.label_agreement))
    return "\n".join(lines)


def _graph_line(path: Path, metadata: ArtifactMetadata) -> str:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    nodes = sum(node.domain == DOMAIN and node.op_type == OP_TYPE for node in model.graph.node)
    functions = [f.name for f in model.functions]
    if metadata.fusion == "geminifusion" and (not nodes or OP_TYPE not in functions):
        raise VerificationError(f"{path} has {nodes} {OP_TYPE} nodes and functions {functions}; expected both")
    fusion = f"{nodes} {OP_TYPE} nodes with their function" if nodes else f"no {OP_TYPE} node"
    return f"graph valid: opset {metadata.opset}, {fusion}, {metadata.precision}"


def _on_frames(graph: SegmentationGraph, path: Path, data: Path, frames: int, least: float) -> str:
    """Label agreement and both mIoUs on the first test frames."""
    dataset = NYUv2(data, "test", num_classes=len(graph.task.class_names), limit=frames)
    session = open_session(path)
    torch_matrix, graph_matrix = (ConfusionMatrix(len(graph.task.class_names)) for _ in range(2))
    equal = pixels = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        feeds = {
            modality.name: (sample.rgb if modality.name == "rgb" else sample.others[modality.name])[np.newaxis]
            for modality in graph.task.modalities
        }
        with torch.inference_mode():
            expected = graph(*map(torch.from_numpy, feeds.values()))[0][0].numpy()
        got = session.run(["labels"], feeds)[0][0]
        torch_matrix.add(sample.labels, expected)
        graph_matrix.add(sample.labels, got)
        equal += int((got == expected).sum())
        pixels += got.size
    agreement = equal / pixels
    line = (
        f"{len(dataset)} test frames: {100 * agreement:.4f} % of the labels agree with torch; "
        f"mIoU torch {torch_matrix.miou():.3f}, this graph {graph_matrix.miou():.3f}"
    )
    if agreement < least:
        raise VerificationError(f"{line}; at least {100 * least} % must agree")
    return line

"""From a detector's checkpoint to an artifact: a verified directory that can be served without torch."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import tempfile
from pathlib import Path

from geminifusion_export.build import ExportOptions, check_destination, provenance
from geminifusion_export.detection.graph import DetectionGraph, export_onnx
from geminifusion_export.detection.torch_reference import detection_graph, reference_frames
from geminifusion_export.errors import ExportError
from geminifusion_export.graph import OPSET
from geminifusion_export.verification.golden_frames import GOLDEN_NAME
from geminifusion_export.verification.verify_export import verify_export
from geminifusion_model.checkpoint import weights_sha256
from geminifusion_model.detection.checkpoint import DetectorInfo, read_detector
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    DetectionMetadata,
    DetectionTraining,
    GoldenFile,
    ModalitySpec,
    SizePolicy,
    sha256_of,
)
from geminifusion_runtime.machine import source_version
from geminifusion_runtime.tasks.detection.golden import write_golden_frames

_PACKAGES = ("geminifusion", "torch", "onnx", "onnxscript", "onnxruntime")
_MIN_SIDE = 32


def build_detector(checkpoint: Path, destination: Path, options: ExportOptions) -> ArtifactMetadata:
    """Export, verify against torch, and write the artifact; `destination` appears whole or not at all.

    Args:
        options: name and version; the others are not for detectors.

    Raises:
        CheckpointError: `checkpoint` is not a detector's checkpoint.
        ExportError: the destination exists, an option is not for detectors, or the graph cannot be exported.
        VerificationError: the graph differs from torch beyond its budget.
    """
    _check_options(options)
    check_destination(destination)
    info = read_detector(checkpoint)
    graph = detection_graph(checkpoint)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        export_onnx(graph, stage / MODEL_NAME)
        metadata = _metadata(info, checkpoint, stage, options)
        verified = verify_export(stage, _with_golden_frames(stage, metadata, graph))
        shutil.move(stage, destination)
    return verified


def _check_options(options: ExportOptions) -> None:
    given = {
        "--precision": options.precision != "float32",
        "--weights": options.weights != "float32",
        "--to": bool(options.targets.targets),
        "--golden": options.golden is not None,
        "--max-pixels": options.max_pixels is not None,
        "--intrinsics": options.intrinsics is not None,
    }
    if unfit := [name for name, is_given in given.items() if is_given]:
        raise ExportError(
            f"{', '.join(unfit)}: not for detectors, which are exported in float32 for ONNX; leave it out"
        )


def _metadata(info: DetectorInfo, checkpoint: Path, stage: Path, options: ExportOptions) -> DetectionMetadata:
    config, task = info.network, info.task
    height, width = task.image_size
    version = source_version(Path(__file__).parent)
    return DetectionMetadata(
        schema_version=1,
        name=options.name,
        version=options.version,
        encoder=config.image_encoder if config.uses_images else "pillars",
        fusion=config.fusion,
        modalities=(
            ModalitySpec(
                name="rgb",
                dtype="uint8",
                channels=3,
                unit="intensity",
                encoding="imagenet",
                range=(0, 1),
                mean=(0.485, 0.456, 0.406),
                std=(0.229, 0.224, 0.225),
            ),
        ),
        size=SizePolicy(min_side=_MIN_SIDE, max_pixels=height * width, reference=(height, width)),
        image_size=task.image_size,
        grid=config.grid,
        anchors=config.anchors,
        map_size=config.anchor_shape,
        selection=config.selection,
        sees_images=config.uses_images,
        precision="float32",
        opset=OPSET,
        files={path.name: sha256_of(path) for path in sorted(stage.iterdir())},
        checkpoint_sha256=weights_sha256(checkpoint),
        git_commit=None if version is None else version.commit,
        created_with={package: importlib.metadata.version(package) for package in _PACKAGES},
        training=DetectionTraining(
            **provenance(info.training, task.data),
            average_precision=info.training.get("test", {}).get("average_precision", {}),
        ),
        weights_license=f"trained on {task.data_license}",
        data_license=task.data_license,
    )


def _with_golden_frames(stage: Path, metadata: DetectionMetadata, graph: DetectionGraph) -> DetectionMetadata:
    """Write frames with torch's outputs beside the graph; they are made up, so anybody may pass them on."""
    frames = list(reference_frames(graph, metadata))
    path = stage / GOLDEN_NAME
    write_golden_frames(path, frames)
    golden = GoldenFile(
        file=path.name, frames=len(frames), source="made up: heaps of points and noise", license="no rights reserved"
    )
    return dataclasses.replace(metadata, golden=golden, files=metadata.files | {path.name: sha256_of(path)})

"""From a detector's checkpoint to an artifact: a verified directory that can be served without torch."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import tempfile
from pathlib import Path

from geminifusion_export.build import ExportOptions, check_destination
from geminifusion_export.detection.graph import DetectionGraph, export_onnx
from geminifusion_export.detection.verification import compare, problems, torch_outputs
from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.graph import OPSET
from geminifusion_export.runtime_discovery import Candidate, open_candidates
from geminifusion_export.verification.golden_frames import GOLDEN_NAME
from geminifusion_model.checkpoint import weights_sha256
from geminifusion_model.detection.checkpoint import DetectorInfo, read_detector
from geminifusion_model.detection.detector import Detector
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    DetectionMetadata,
    DetectionTraining,
    GoldenFile,
    ModalitySpec,
    SizePolicy,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.machine import source_version
from geminifusion_runtime.tasks.detection.blank import made_up_frame
from geminifusion_runtime.tasks.detection.golden import GoldenFrame, read_golden_frames, write_golden_frames

_PACKAGES = ("geminifusion", "torch", "onnx", "onnxscript", "onnxruntime")
_POINTS = (1, 300, 20_000)  # of the frames that an export is verified on; it is shipped with them
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
    graph = DetectionGraph(Detector.from_pretrained(checkpoint), info.task.image_size).eval()
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        export_onnx(graph, stage / MODEL_NAME)
        metadata = _metadata(info, graph, checkpoint, stage, options)
        metadata = _with_golden_frames(stage, metadata, graph)
        metadata = verify(stage, metadata)
        shutil.move(stage, destination)
    return metadata


def verify(directory: Path, metadata: DetectionMetadata) -> DetectionMetadata:
    """Compare everything `directory` has files for with torch's recorded outputs, and write the metadata.

    Raises:
        VerificationError: something is over budget, or nothing here can run the exported network.
    """
    frames = read_golden_frames(directory, metadata)
    candidates = [one for one in open_candidates(directory, metadata) if isinstance(one, Candidate)]
    if not candidates:
        raise VerificationError("nothing here can run the exported detector, so it cannot be verified")
    reports = tuple(compare(candidate, metadata, frames) for candidate in candidates)
    if over := [sentence for report in reports for sentence in problems(report)]:
        raise VerificationError(f"the exported detector differs from torch beyond its budget: {'; '.join(over)}")
    verified = dataclasses.replace(metadata, verification=reports)
    write_metadata(directory, verified)
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


def _metadata(
    info: DetectorInfo, graph: DetectionGraph, checkpoint: Path, stage: Path, options: ExportOptions
) -> DetectionMetadata:
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
            data=task.data, summary=info.training.get("summary", "no training record in the checkpoint")
        ),
        weights_license=f"trained on {task.data_license}",
        data_license=task.data_license,
    )


def _with_golden_frames(stage: Path, metadata: DetectionMetadata, graph: DetectionGraph) -> DetectionMetadata:
    """Write frames with torch's outputs beside the graph; they are made up, so anybody may pass them on."""
    frames = []
    for seed, num_points in enumerate(_POINTS):
        made = made_up_frame(metadata, seed, num_points)
        frame = GoldenFrame(image=made.image, points=made.points, calibration=made.calibration, outputs={})
        outputs = torch_outputs(graph, frame.prepared(metadata).inputs)
        frames.append(dataclasses.replace(frame, outputs=outputs))
    path = stage / GOLDEN_NAME
    write_golden_frames(path, frames)
    golden = GoldenFile(
        file=path.name, frames=len(frames), source="made up: heaps of points and noise", license="no rights reserved"
    )
    return dataclasses.replace(metadata, golden=golden, files=metadata.files | {path.name: sha256_of(path)})

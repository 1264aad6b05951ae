"""Adding runtimes to an artifact: OpenVINO in float32 or int8, a TensorRT engine. Only int8 needs torch.

`add_runtimes` writes the new files into a directory that holds `model.onnx`, and returns the metadata with their
entries; its callers verify the result before anybody else sees it.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from geminifusion_export.errors import ExportError
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    EngineRequirements,
    HeldOutScore,
    RuntimeFile,
    open_artifact,
    require_segmentation,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.tasks.registry import TASKS

if TYPE_CHECKING:
    from geminifusion_export.engine.build import EngineOptions
    from geminifusion_model.data.matching import Modality
    from geminifusion_model.data.sample import Dataset

Target = Literal["openvino", "openvino-int8", "tensorrt"]
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Which runtimes to add, and how.

    Args:
        targets: any of `TARGETS`, in any order.
        calibration: data set for int8: its training split calibrates the ranges, its last split measures the loss.
        calibration_layout: layout of that folder, as `--dataset` of training; found out if None.
        engine: how to build the TensorRT engine; None takes the defaults.
    """

    targets: tuple[str, ...] = ()
    calibration: Path | None = None
    calibration_layout: str | None = None
    engine: EngineOptions | None = None

    def __post_init__(self) -> None:
        """Reject what cannot succeed before anything is traced."""
        if unknown := [name for name in self.targets if name not in TARGETS]:
            raise ExportError(f"there is no target {', '.join(unknown)}; the targets are {', '.join(TARGETS)}")
        if "openvino-int8" in self.targets and self.calibration is None:
            raise ExportError("int8 is calibrated on real frames; give a data set's folder: --calibration ROOT")


def add_runtimes(stage: Path, metadata: ArtifactMetadata, options: TargetOptions) -> ArtifactMetadata:
    """Write the files of every target into `stage`, which the metadata describes; return it with their entries.

    Raises:
        ExportError, TensorRtError: a target cannot be built here; the message says what is missing.
        VerificationError: int8 loses too much.
    """
    if "openvino" in options.targets or "openvino-int8" in options.targets:
        metadata = _add_openvino(stage, metadata, options)
    if "tensorrt" in options.targets:
        metadata = _add_engine(stage, metadata, options)
    return metadata


def extend_artifact(source: Path, destination: Path, options: TargetOptions) -> ArtifactMetadata:
    """Copy an artifact, add runtimes to the copy and verify it; `destination` appears whole or not at all.

    Raises:
        ArtifactError: `source` is damaged or not an artifact.
        ExportError, TensorRtError: the destination exists, no runtime is built for the artifact's task, or a target
            cannot be built here.
        VerificationError: a runtime differs from torch's recorded outputs beyond its budget.
    """
    from geminifusion_export.verification.verify_export import verify_export

    metadata = open_artifact(source)
    if not TASKS[metadata.task].takes_engines:
        raise ExportError(
            f"{metadata.reference} is for {metadata.task}, for which no runtime can be added; serve it as it is, with "
            "ONNX Runtime"
        )
    if destination.exists():
        raise ExportError(f"{destination} exists; remove it or choose another directory")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        for name in metadata.files:
            shutil.copy(source / name, stage / name)
        write_metadata(stage, metadata)
        metadata = verify_export(stage, add_runtimes(stage, metadata, options))
        shutil.move(stage, destination)
    return metadata


def _add_openvino(stage: Path, metadata: ArtifactMetadata, options: TargetOptions) -> ArtifactMetadata:
    from geminifusion_export.openvino_ir import write_openvino

    if metadata.precision != "float32":
        raise ExportError(
            f"the graph computes in {metadata.precision}; OpenVINO is given its precision when it loads the float32 "
            "network, so export with --precision float32"
        )
    with tempfile.TemporaryDirectory() as scratch:
        # int8 is made from the float32 network, which is kept only if it was asked for.
        folder = stage if "openvino" in options.targets else Path(scratch)
        entry = write_openvino(stage / MODEL_NAME, folder)
        entries = [entry] if folder == stage else []
        if "openvino-int8" in options.targets:
            entries.append(_write_int8(stage, metadata, folder / entry.file, options))
    written = [path for made in entries for path in (stage / made.file, (stage / made.file).with_suffix(".bin"))]
    return _with_entries(metadata, entries, written)


def _write_int8(stage: Path, metadata: ArtifactMetadata, network: Path, options: TargetOptions) -> RuntimeFile:
    from geminifusion_export.quantization import write_int8

    assert options.calibration is not None  # checked by TargetOptions
    calibration, held_out = _open_calibration(
        options, metadata.modalities, [entry.name for entry in require_segmentation(metadata).classes]
    )
    entry, loss = write_int8(network, stage, calibration, held_out)
    score = HeldOutScore(
        frames=loss.frames,
        reference_miou=loss.reference_miou,
        miou=loss.miou,
        label_agreement=loss.label_agreement,
    )
    return dataclasses.replace(entry, held_out=score)


def check_calibration(options: TargetOptions, modalities: Sequence[Modality], class_names: Sequence[str]) -> None:
    """Open the calibration frames, if int8 is asked for, before minutes go into what they are needed for.

    Raises:
        DatasetError: they cannot be read, or do not match the network.
    """
    if "openvino-int8" in options.targets:
        for frames in _open_calibration(options, modalities, class_names):
            frames[0]


def _open_calibration(
    options: TargetOptions, modalities: Sequence[Modality], class_names: Sequence[str]
) -> tuple[Dataset, Dataset]:
    """The frames that calibrate, and those that the loss is measured on."""
    from geminifusion_model.data.matching import open_matching
    from geminifusion_model.data.registry import kind_of, splits_of

    assert options.calibration is not None  # checked by TargetOptions
    kind = kind_of(options.calibration, options.calibration_layout)
    splits = splits_of(kind, options.calibration)
    calibration, held_out = (
        open_matching(
            kind,
            options.calibration,
            split,
            modalities=modalities,
            class_names=class_names,
            network="the network",
        )
        for split in (splits[0], splits[-1])
    )
    return calibration, held_out


def _add_engine(stage: Path, metadata: ArtifactMetadata, options: TargetOptions) -> ArtifactMetadata:
    from geminifusion_export.engine.build import EngineOptions, build_engine

    write_metadata(stage, metadata)  # the builder opens the directory as an artifact
    entry, requirements, written = build_engine(stage, stage, options.engine or EngineOptions())
    return _with_entries(metadata, [entry], written, engine=requirements)


def _with_entries(
    metadata: ArtifactMetadata,
    entries: Sequence[RuntimeFile],
    written: Sequence[Path],
    engine: EngineRequirements | None = None,
) -> ArtifactMetadata:
    """The metadata with further runtimes; entries of the same runtime and precision are replaced."""
    made = {(entry.runtime, entry.precision) for entry in entries}
    if engine is not None:  # an artifact has one engine, of whatever precision
        made |= {(entry.runtime, entry.precision) for entry in metadata.runtimes if entry.runtime == "tensorrt"}
    kept = tuple(entry for entry in metadata.runtimes if (entry.runtime, entry.precision) not in made)
    return dataclasses.replace(
        metadata,
        runtimes=kept + tuple(entries),
        files=metadata.files | {path.name: sha256_of(path) for path in written},
        engine=engine or metadata.engine,
    )

"""Build an artifact: a checkpoint in, a verified directory out."""

from __future__ import annotations

import importlib.metadata
import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import onnx

from geminifusion_export.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    BackendReport,
    ClassSpec,
    ModalitySpec,
    ServedEncoding,
    SizePolicy,
    Training,
    sha256_of,
    write_metadata,
)
from geminifusion_export.graph import OPSET, ExportError, SegmentationGraph, export_onnx
from geminifusion_export.storage import store_weights_as_float16
from geminifusion_export.verification import FLOAT16_WEIGHTS, FLOAT32_WEIGHTS, require_within, verify_shapes
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import MIN_SIDE
from geminifusion_model.task import ModalityEncoding, Task
from geminifusion_model.weights.checkpoint import CheckpointInfo, load_network, read_info, weights_sha256

_PACKAGES = ("geminifusion", "torch", "onnx", "onnxscript", "onnxruntime")
_NO_MEASUREMENT: tuple[float | None, ...] = (0.0, None)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the checkpoint does not say.

    Args:
        name, version: how clients ask for the model.
        weights: how they are stored in the file; computed with in float32 either way.
        max_pixels: larger images are reduced to fit before the graph.
        reference: height and width the service warms up with.
    """

    name: str
    version: str = "1"
    weights: Literal["float32", "float16"] = "float32"
    max_pixels: int = 1280 * 960
    reference: tuple[int, int] = (480, 640)


def build_artifact(checkpoint: Path, destination: Path, options: ExportOptions) -> ArtifactMetadata:
    """Export, verify against torch, and write the artifact; `destination` appears whole or not at all.

    Raises:
        CheckpointError: `checkpoint` is none.
        ExportError: it has no task, the destination exists, or the graph cannot be exported.
        VerificationError: the graph differs from torch beyond its budget.
    """
    info = read_info(checkpoint)
    if info.task is None:
        raise ExportError(
            f"{checkpoint} does not say what its inputs and classes are; train it with `geminifusion train`, or write "
            "it with geminifusion_model.weights.checkpoint.write_checkpoint(net, directory, task=…)"
        )
    if destination.exists():
        raise ExportError(f"{destination} exists; remove it or choose another directory")
    temperature = Temperature.from_record(info.training)
    graph = SegmentationGraph(load_network(checkpoint), info.task, 1.0 if temperature is None else temperature.value)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        path = stage / MODEL_NAME
        model = export_onnx(graph, path)
        if options.weights == "float16":
            store_weights_as_float16(model)
            onnx.save(model, path)
        reports = verify_shapes(graph, path)
        require_within(reports, FLOAT16_WEIGHTS if options.weights == "float16" else FLOAT32_WEIGHTS)
        metadata = _describe(info, info.task, temperature, options, path, weights_sha256(checkpoint), reports)
        write_metadata(stage, metadata)
        shutil.move(stage, destination)
    return metadata


def _describe(
    info: CheckpointInfo,
    task: Task,
    temperature: Temperature | None,
    options: ExportOptions,
    path: Path,
    checkpoint_sha256: str,
    reports: tuple[BackendReport, ...],
) -> ArtifactMetadata:
    return ArtifactMetadata(
        schema_version=1,
        name=options.name,
        version=options.version,
        encoder=info.network.encoder,
        fusion=info.network.fusion,
        # the RGB gives an answer its size, so it is never optional
        modalities=tuple(
            _modality(encoding, optional=encoding.name != "rgb" and _trained_without(info, encoding.name))
            for encoding in task.modalities
        ),
        size=SizePolicy(
            min_side=math.ceil(MIN_SIDE / task.input_scale), max_pixels=options.max_pixels, reference=options.reference
        ),
        input_scale=task.input_scale,
        temperature=None if temperature is None else temperature.value,
        classes=tuple(
            ClassSpec(id=index, name=name, color=color)
            for index, (name, color) in enumerate(zip(task.class_names, task.palette, strict=True))
        ),
        ignore_index=task.ignore_index,
        precision="float32",
        weights_stored_as=options.weights,
        opset=OPSET,
        files={path.name: sha256_of(path)},
        checkpoint_sha256=checkpoint_sha256,
        git_commit=_git_commit(),
        created_with={package: importlib.metadata.version(package) for package in _PACKAGES},
        training=_training(info, task),
        weights_license=f"trained on {task.data_license}",
        data_license=task.data_license,
        verification=reports,
    )


def _modality(encoding: ModalityEncoding, *, optional: bool) -> ModalitySpec:
    """One graph input; `optional` where training has seen frames without it.

    Raises:
        ExportError: the service has no way yet to read measurements of this encoding.
    """
    kind = encoding.encoding
    if kind not in get_args(ServedEncoding):
        raise ExportError(
            f"{encoding.name} is encoded as {kind}, which cannot be served yet; train with metric, inverse or log depth"
        )
    is_image = kind == "imagenet"
    return ModalitySpec(
        name=encoding.name,
        dtype="uint8" if is_image else "float32",
        channels=3 if is_image else 1,
        unit="intensity" if is_image else "metre",
        encoding=cast(ServedEncoding, kind),
        range=encoding.range,
        invalid=() if is_image else _NO_MEASUREMENT,
        mean=encoding.mean,
        std=encoding.std,
        optional=optional,
    )


def _trained_without(info: CheckpointInfo, modality: str) -> bool:
    """Whether training left out all of this modality in some frames."""
    noise = info.training.get("config", {}).get("augmentation", {}).get("noise") or {}
    return float(noise.get("missing", {}).get(modality, 0.0)) > 0


def _training(info: CheckpointInfo, task: Task) -> Training:
    record = info.training
    scores = record.get("test", {})
    return Training(
        data=task.data,
        summary=record.get("summary", "no training record in the checkpoint"),
        protocol=scores.get("protocol"),
        miou=scores.get("miou"),
        pixel_accuracy=scores.get("pixel_accuracy"),
        mean_accuracy=scores.get("mean_accuracy"),
    )


def _git_commit() -> str | None:
    """The commit of the source tree this runs from, if it is one."""
    git = shutil.which("git")
    if git is None:
        return None
    found = subprocess.run(  # noqa: S603 - a fixed command on our own folder
        [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None if found.returncode == 0 else None

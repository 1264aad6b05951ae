"""Build an artifact: a checkpoint in, a verified directory out."""

from __future__ import annotations

import importlib.metadata
import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import OPSET, TRACED_SHAPE, SegmentationGraph, export_onnx
from geminifusion_export.precision import to_precision
from geminifusion_export.storage import save_model, store_weights_as_float16
from geminifusion_export.targets import TargetOptions, add_runtimes
from geminifusion_export.torch_reference import TorchReference, expected_at
from geminifusion_export.verification.golden import GOLDEN_NAME, write_golden
from geminifusion_export.verification.golden_frames import default_frames, frames_of
from geminifusion_export.verification.torch_divergence import torch_locator
from geminifusion_export.verification.verify_export import layer_locator, prove
from geminifusion_model.checkpoint import CheckpointInfo, read_info, weights_sha256
from geminifusion_model.data.registry import open_dataset, splits_of
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import MIN_SIDE, GeminiFusion
from geminifusion_model.task import ModalityEncoding, Task
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    ClassSpec,
    GoldenSet,
    ModalitySpec,
    ServedEncoding,
    SizePolicy,
    Training,
    sha256_of,
)

_PACKAGES = ("geminifusion", "torch", "onnx", "onnxscript", "onnxruntime")
_TRACED_NAME = "traced.onnx"
_GOLDEN_FRAMES = 16
_NO_MEASUREMENT: tuple[float | None, ...] = (0.0, None)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the checkpoint does not say.

    Args:
        name, version: how clients ask for the model.
        precision: what the graph computes in; LayerNorm, softmax and what surrounds the network stay in float32.
        weights: how a float32 graph's weights are stored in the file; a half graph stores them as it computes.
        targets: runtimes to add beside the ONNX file.
        golden: labelled frames to ship and prove the export on, a folder data set; None takes drawn rooms and the
            bundled photographs.
        max_pixels: larger images are reduced to fit before the graph.
        reference: height and width the service warms up with.
    """

    name: str
    version: str = "1"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    weights: Literal["float32", "float16"] = "float32"
    targets: TargetOptions = field(default_factory=TargetOptions)
    golden: Path | None = None
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
            "it with geminifusion_model.checkpoint.write_checkpoint(net, directory, task=…)"
        )
    if options.precision != "float32" and options.weights != "float32":
        raise ExportError(f"a {options.precision} graph stores its weights as it computes; leave --weights out")
    if destination.exists():
        raise ExportError(f"{destination} exists; remove it or choose another directory")
    temperature = Temperature.from_record(info.training)
    graph = SegmentationGraph(
        GeminiFusion.from_pretrained(checkpoint), info.task, 1.0 if temperature is None else temperature.value
    )
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        files = _write_graph(graph, stage, Path(scratch), options)
        golden = _write_golden(stage, graph, options)
        metadata = _describe(info, info.task, temperature, options, files, weights_sha256(checkpoint), golden)
        metadata = add_runtimes(stage, metadata, options.targets)
        as_traced = Path(scratch) / _TRACED_NAME
        metadata = prove(
            stage,
            metadata,
            expected_at(graph),
            traced=TRACED_SHAPE,
            locate=layer_locator(as_traced, stage, metadata)
            if as_traced.is_file()
            else torch_locator(graph, stage / MODEL_NAME),
        )
        shutil.move(stage, destination)
    return metadata


def _write_graph(graph: SegmentationGraph, stage: Path, scratch: Path, options: ExportOptions) -> tuple[Path, ...]:
    """`model.onnx` as asked for; a changed one leaves the graph as it was traced in `scratch`, to be compared with."""
    path = stage / MODEL_NAME
    model = export_onnx(graph, path)
    if options.precision == "float32" and options.weights == "float32":
        return save_model(model, path)
    save_model(model, scratch / _TRACED_NAME)
    if options.precision != "float32":
        model = to_precision(model, options.precision)
    else:
        store_weights_as_float16(model)
    return save_model(model, path)


def _write_golden(stage: Path, graph: SegmentationGraph, options: ExportOptions) -> GoldenSet:
    task = graph.task
    if options.golden is None:
        frames = default_frames(task, math.ceil(MIN_SIDE / task.input_scale))
    else:
        split = splits_of("folder", options.golden)[-1]
        frames = frames_of(open_dataset("folder", options.golden, split), _GOLDEN_FRAMES, task)
    return write_golden(stage / GOLDEN_NAME, frames, TorchReference(graph), len(task.class_names))


def _describe(
    info: CheckpointInfo,
    task: Task,
    temperature: Temperature | None,
    options: ExportOptions,
    files: tuple[Path, ...],
    checkpoint_sha256: str,
    golden: GoldenSet,
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
        precision=options.precision,
        weights_stored_as=options.weights if options.precision == "float32" else "float32",
        opset=OPSET,
        files={path.name: sha256_of(path) for path in (*files, files[0].with_name(golden.file))},
        checkpoint_sha256=checkpoint_sha256,
        git_commit=_git_commit(),
        created_with={package: importlib.metadata.version(package) for package in _PACKAGES},
        training=_training(info, task),
        weights_license=f"trained on {task.data_license}",
        data_license=task.data_license,
        golden=golden,
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

"""From a checkpoint to an artifact: a verified directory that can be served without torch."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from geminifusion_export.errors import ExportError
from geminifusion_export.graph import OPSET, TRACED_SHAPE, SegmentationGraph, export_onnx, modality_spec
from geminifusion_export.precision import to_precision
from geminifusion_export.storage import save_model, store_weights_as_float16
from geminifusion_export.targets import TargetOptions, add_runtimes, check_calibration
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.verification.golden_frames import (
    GOLDEN_NAME,
    GoldenFrames,
    default_frames,
    frames_of,
    write_golden_set,
)
from geminifusion_export.verification.torch_divergence import torch_locator
from geminifusion_export.verification.torch_reference import reference_batches, verified_shapes
from geminifusion_export.verification.verify_export import layer_locator, verify_export
from geminifusion_model.checkpoint import CheckpointInfo, read_info, weights_sha256
from geminifusion_model.data.matching import open_matching
from geminifusion_model.data.registry import kind_of, splits_of
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_model.network import MIN_SIDE, GeminiFusion
from geminifusion_model.task import Task
from geminifusion_runtime.artifact import (
    MAX_PIXELS,
    MODEL_NAME,
    ArtifactMetadata,
    ClassSpec,
    GoldenSet,
    ModalitySpec,
    SegmentationMetadata,
    SizePolicy,
    Training,
    sha256_of,
)
from geminifusion_runtime.machine import source_version

PACKAGES = ("geminifusion", "torch", "onnx", "onnxscript", "onnxruntime")
_TRACED_NAME = "traced.onnx"
_NUM_GOLDEN_FRAMES = 16
_DEFAULT_MAX_PIXELS = 1280 * 960


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Everything about an export that the checkpoint does not say.

    Args:
        name, version: how clients ask for the model.
        precision: what the graph computes in; LayerNorm, softmax and what surrounds the network stay in float32.
        weights: how a float32 graph's weights are stored in the file; a half-precision graph stores them in its own.
        targets: runtimes to add beside the ONNX file.
        golden: data set of labeled frames to ship and to verify the export on; None takes rendered rooms and the
            bundled photographs.
        max_pixels: larger images are reduced to fit before they reach the graph; None takes 1280x960, or what the
            task's input policy makes of frames twice as long as wide, if that is more.
        reference: height and width the service warms up with.
        intrinsics: fx, fy, cx, cy of the depth camera in pixels, for requests that name none: for points and measures,
            and for HHA that is computed from depth.
    """

    name: str
    version: str = "1"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    weights: Literal["float32", "float16"] = "float32"
    targets: TargetOptions = field(default_factory=TargetOptions)
    golden: Path | None = None
    max_pixels: int | None = None
    reference: tuple[int, int] = (480, 640)
    intrinsics: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        """Reject, before minutes go into tracing, what no server would load."""
        if self.max_pixels is not None and self.max_pixels > MAX_PIXELS:
            raise ExportError(f"--max-pixels is {self.max_pixels}; a model takes at most {MAX_PIXELS}")
        if self.intrinsics is not None and min(self.intrinsics[:2]) <= 0:
            raise ExportError(f"--intrinsics have focal lengths {self.intrinsics[:2]}; give FX FY CX CY in pixels")


def build_artifact(checkpoint: Path, destination: Path, options: ExportOptions) -> ArtifactMetadata:
    """Export, verify against torch, and write the artifact; `destination` appears whole or not at all.

    Raises:
        CheckpointError: `checkpoint` is not a checkpoint.
        ExportError: it has no task, the destination exists, or the graph cannot be exported.
        DatasetError: the golden or calibration frames cannot be read, or do not match the network.
        VerificationError: the graph differs from torch beyond its budget.
    """
    if options.precision != "float32" and options.weights != "float32":
        raise ExportError(f"a {options.precision} graph stores its weights as it computes; leave --weights out")
    check_destination(destination)
    source = _read_checkpoint(checkpoint)
    # These refuse what cannot be served before minutes go into tracing it.
    _modalities(source)
    _size_policy(source.task, options)
    frames = _golden_frames(options, source.task)
    check_calibration(options.targets, source.task.modalities, source.task.class_names)
    graph = SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), source.task, source.temperature or 1.0)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        files = _write_graph(graph, stage, Path(scratch), options)
        golden = write_golden_set(stage / GOLDEN_NAME, frames, TorchBackend(graph), len(source.task.class_names))
        metadata: ArtifactMetadata = _metadata(source, options, (*files, stage / golden.file), golden)
        metadata = add_runtimes(stage, metadata, options.targets)
        as_traced = Path(scratch) / _TRACED_NAME
        metadata = verify_export(
            stage,
            metadata,
            reference_batches(graph, verified_shapes(options.reference)),
            traced=TRACED_SHAPE,
            locate=layer_locator(as_traced, stage, metadata)
            if as_traced.is_file()
            else torch_locator(graph, stage / MODEL_NAME),
        )
        shutil.move(stage, destination)
    return metadata


def check_destination(destination: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        ExportError: otherwise.
    """
    if destination.exists():
        raise ExportError(f"{destination} exists; remove it or choose another directory")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What an export needs to know of its checkpoint."""

    info: CheckpointInfo
    task: Task
    temperature: float | None  # None: not fitted
    sha256: str  # of the weights


def _read_checkpoint(checkpoint: Path) -> _Source:
    info = read_info(checkpoint)
    if info.task is None:
        raise ExportError(
            f"{checkpoint} does not say what its inputs and classes are; say what it was trained for with --task, a "
            "name that `geminifusion tasks` lists or a YAML file"
        )
    temperature = Temperature.from_record(info.training)
    return _Source(
        info=info,
        task=info.task,
        temperature=None if temperature is None else temperature.value,
        sha256=weights_sha256(checkpoint),
    )


def _write_graph(graph: SegmentationGraph, stage: Path, scratch: Path, options: ExportOptions) -> tuple[Path, ...]:
    """Write `model.onnx`; if it differs from the traced graph, leave that one in `scratch` to be compared with."""
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


def _golden_frames(options: ExportOptions, task: Task) -> GoldenFrames:
    if options.golden is None:
        return default_frames(task, math.ceil(MIN_SIDE / task.input_scale))
    kind = kind_of(options.golden)
    data = open_matching(
        kind,
        options.golden,
        splits_of(kind, options.golden)[-1],
        modalities=task.modalities,
        class_names=task.class_names,
        network="the network",
        limit=_NUM_GOLDEN_FRAMES,
    )
    return frames_of(data, _NUM_GOLDEN_FRAMES, task)


def _metadata(
    source: _Source, options: ExportOptions, files: tuple[Path, ...], golden: GoldenSet
) -> SegmentationMetadata:
    info, task = source.info, source.task
    version = source_version(Path(__file__).parent)
    return SegmentationMetadata(
        schema_version=1,
        name=options.name,
        version=options.version,
        encoder=info.network.encoder,
        fusion=info.network.fusion,
        modalities=_modalities(source),
        size=_size_policy(task, options),
        input_scale=task.input_scale,
        label_upsampling=task.label_upsampling,
        intrinsics=options.intrinsics,
        temperature=source.temperature,
        classes=tuple(
            ClassSpec(id=index, name=name, color=color)
            for index, (name, color) in enumerate(zip(task.class_names, task.palette, strict=True))
        ),
        ignore_index=task.ignore_index,
        precision=options.precision,
        weights_stored_as=options.weights if options.precision == "float32" else "float32",
        opset=OPSET,
        files={path.name: sha256_of(path) for path in files},
        checkpoint_sha256=source.sha256,
        git_commit=None if version is None else version.commit,
        created_with={package: importlib.metadata.version(package) for package in PACKAGES},
        training=_training(info, task),
        weights_license=f"trained on {task.data_license}",
        data_license=task.data_license,
        golden=golden,
    )


def _size_policy(task: Task, options: ExportOptions) -> SizePolicy:
    """The sizes that the graph takes.

    Raises:
        ExportError: the reference size, made what the input policy asks for, has more pixels than may be.
    """
    policy = SizePolicy(
        min_side=math.ceil(MIN_SIDE / task.input_scale),
        max_pixels=options.max_pixels or _DEFAULT_MAX_PIXELS,
        reference=options.reference,
        shorter_side=task.input_policy.shorter_side,
        multiple_of=task.input_policy.multiple_of,
    )
    if policy.shorter_side is None:
        return policy
    if options.max_pixels is None:
        longest = math.prod(policy.network_size(policy.shorter_side, 2 * policy.shorter_side))
        return dataclasses.replace(policy, max_pixels=min(MAX_PIXELS, max(_DEFAULT_MAX_PIXELS, longest)))
    if (needed := math.prod(policy.network_size(*options.reference))) > options.max_pixels:
        height, width = options.reference
        raise ExportError(
            f"--max-pixels is {options.max_pixels}, but with {task.input_policy.describe()} the network sees a frame "
            f"of {width}x{height} with {needed} pixels; give at least that"
        )
    return policy


def _modalities(source: _Source) -> tuple[ModalitySpec, ...]:
    return tuple(
        modality_spec(encoding, optional=_trained_without(source.info, encoding.name))
        for encoding in source.task.modalities
    )


def _trained_without(info: CheckpointInfo, modality: str) -> bool:
    """Whether training dropped the whole modality in some frames."""
    noise = info.training.get("config", {}).get("augmentation", {}).get("noise") or {}
    return float(noise.get("missing", {}).get(modality, 0.0)) > 0


def provenance(record: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The fields of a `TrainingRecord` that follow from a checkpoint's training record, whatever its task.

    Args:
        data: that the network was trained on.
    """
    test = record.get("test", {})
    return {
        "data": data,
        "summary": record.get("summary", "no training record in the checkpoint"),
        "protocol": test.get("protocol"),
        "scored_on": test.get("data"),
    }


def _training(info: CheckpointInfo, task: Task) -> Training:
    record = info.training
    scores = record.get("test", {})
    return Training(
        **provenance(record, task.data),
        miou=scores.get("miou"),
        pixel_accuracy=scores.get("pixel_accuracy"),
        mean_accuracy=scores.get("mean_accuracy"),
    )

"""From a translator's checkpoint to an artifact: a verified directory that can be served without torch."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from pathlib import Path

from geminifusion_export.build import PACKAGES, ExportOptions, check_destination, provenance
from geminifusion_export.errors import ExportError
from geminifusion_export.graph import OPSET, TRACED_SHAPE
from geminifusion_export.storage import save_model, store_weights_as_float16
from geminifusion_export.targets import add_runtimes
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.translation.golden import GOLDEN_NAME, write_golden_file
from geminifusion_export.translation.graph import TranslationGraph, export_onnx
from geminifusion_export.translation.torch_reference import reference_batches
from geminifusion_export.verification.verify_export import verify_export
from geminifusion_model.checkpoint import weights_sha256
from geminifusion_model.translation.checkpoint import TranslatorInfo, read_translator
from geminifusion_model.translation.domains import Domain
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.transforms import MULTIPLE
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    GoldenFile,
    OutputSpec,
    SizePolicy,
    TranslationMetadata,
    TranslationTraining,
    sha256_of,
)
from geminifusion_runtime.machine import source_version

_DEFAULT_MAX_PIXELS = 640 * 480
_TARGETS = ("openvino",)


def build_translator(checkpoint: Path, destination: Path, options: ExportOptions) -> ArtifactMetadata:
    """Export, verify against torch, and write the artifact; `destination` appears whole or not at all.

    The reference size is that of training.

    Raises:
        CheckpointError: `checkpoint` is no checkpoint of a translator.
        ExportError: the destination exists, the graph cannot be exported, or an option is not for translators.
        VerificationError: the graph differs from torch beyond its budget.
    """
    _check_options(options)
    check_destination(destination)
    info = read_translator(checkpoint)
    try:
        graph = TranslationGraph(Generator.from_pretrained(checkpoint), info.task)
    except ValueError as error:
        raise ExportError(f"{checkpoint} cannot be exported: {error}") from None
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as scratch:
        stage = Path(scratch) / destination.name
        stage.mkdir()
        files = _write_graph(graph, stage, options)
        golden = write_golden_file(stage / GOLDEN_NAME, graph, TorchBackend(graph))
        metadata: ArtifactMetadata = _metadata(checkpoint, info, graph, options, (*files, stage / golden.file), golden)
        metadata = add_runtimes(stage, metadata, options.targets)
        metadata = verify_export(stage, metadata, reference_batches(graph), traced=TRACED_SHAPE)
        shutil.move(stage, destination)
    return metadata


def _check_options(options: ExportOptions) -> None:
    if options.precision != "float32":
        raise ExportError(f"translators are exported in float32, not {options.precision}; leave --precision out")
    if options.golden is not None or options.intrinsics is not None:
        given = "--golden" if options.golden is not None else "--intrinsics"
        raise ExportError(f"{given} is for segmentation networks, and the checkpoint is a translator's; leave it out")
    if unknown := [target for target in options.targets.targets if target not in _TARGETS]:
        raise ExportError(f"translators are exported to {', '.join(_TARGETS)} beside ONNX, not to {unknown[0]}")


def _write_graph(graph: TranslationGraph, stage: Path, options: ExportOptions) -> tuple[Path, ...]:
    path = stage / MODEL_NAME
    model = export_onnx(graph, path)
    if options.weights == "float16":
        store_weights_as_float16(model)
    return save_model(model, path)


def _metadata(
    checkpoint: Path,
    info: TranslatorInfo,
    graph: TranslationGraph,
    options: ExportOptions,
    files: tuple[Path, ...],
    golden: GoldenFile,
) -> TranslationMetadata:
    version = source_version(Path(__file__).parent)
    return TranslationMetadata(
        schema_version=1,
        name=options.name,
        version=options.version,
        encoder=info.network.size,
        fusion=info.network.fusion,
        where=info.network.where,
        modalities=graph.specs,
        output=_output(info.task.target),
        size=SizePolicy(
            min_side=MULTIPLE // 2,
            max_pixels=options.max_pixels or _DEFAULT_MAX_PIXELS,
            reference=info.task.size,
            multiple_of=MULTIPLE,
        ),
        precision="float32",
        weights_stored_as=options.weights,
        opset=OPSET,
        files={path.name: sha256_of(path) for path in files},
        checkpoint_sha256=weights_sha256(checkpoint),
        git_commit=None if version is None else version.commit,
        created_with={package: importlib.metadata.version(package) for package in PACKAGES},
        training=TranslationTraining(
            **provenance(info.training, info.task.data), scores=info.training.get("test", {}).get("scores", {})
        ),
        weights_license=f"trained on {info.task.data_license}",
        data_license=info.task.data_license,
        golden=golden,
    )


def _output(target: Domain) -> OutputSpec:
    return OutputSpec(
        name=target.name,
        kind="depth" if target.kind == "depth" else "image",
        content=target.kind,
        range=target.range if target.kind == "depth" else (0.0, 255.0),
        scale=target.scale,
    )

"""The command `geminifusion export`, and `geminifusion export plugin`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from geminifusion_model.import_commands import import_options

if TYPE_CHECKING:
    from geminifusion_export.engine.build import EngineOptions
    from geminifusion_export.targets import TargetOptions
    from geminifusion_model.weights.importing import DepthUnit
    from geminifusion_runtime.artifact import ArtifactMetadata

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _WithDefault(click.Group):
    """A group whose default command is `artifact`: `export SOURCE DESTINATION` is `export artifact …`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["artifact", *args]
        return super().parse_args(context, args)


@click.group(cls=_WithDefault)
def export() -> None:
    """Build artifacts, and the kernels they can run with.

    `geminifusion export SOURCE DESTINATION` is short for `geminifusion export artifact SOURCE DESTINATION`.
    """


@export.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@import_options(required=False)
@click.option("--name", default=None, help="Model name clients ask for; the destination's name if not given.")
@click.option("--version", default=None, help="Model version clients may ask for.  [default: 1]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default=None,
    help="What the graph computes in.  [default: float32]",
)
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16"]),
    default=None,
    help="How a float32 graph stores its weights; it computes in float32 either way.  [default: float32]",
)
@click.option(
    "--max-pixels",
    default=None,
    type=click.IntRange(min=1),
    help="Larger images are reduced first.  [default: 1228800, or more where the task's input policy needs it]",
)
@click.option(
    "--intrinsics",
    type=float,
    nargs=4,
    help="FX FY CX CY of the depth camera in pixels, for requests that name none: for points, measures and HHA.",
)
@click.option("--golden", type=_FOLDER, help="A data set of labeled frames to ship and to verify the export on.")
@click.option(
    "--to",
    "targets",
    multiple=True,
    type=click.Choice(["openvino", "openvino-int8", "tensorrt"]),
    help="A runtime to add beside the ONNX file; may be repeated.",
)
@click.option("--calibration", type=_FOLDER, help="For int8: a data set whose training frames calibrate the ranges.")
@click.option(
    "--calibration-layout",
    help="Its layout, as train's --dataset.  [default: folder if it holds a dataset.yaml, else nyuv2]",
)
@click.option("--max-batch", default=8, show_default=True, help="TensorRT: largest batch of the default profiles.")
@click.option("--profile", "profiles", multiple=True, metavar="MIN:BEST:MAX", help="TensorRT: BxHxW each; repeatable.")
@click.option("--plugin", type=_FILE, help="TensorRT: the plugin library; it is built if not given.")
@click.option("--no-plugin", is_flag=True, help="TensorRT: run fusions in standard operators.")
@click.option("--timing-cache", type=click.Path(path_type=Path), help="TensorRT: read if it exists, and written.")
@click.option(
    "--hardware-compatibility",
    type=click.Choice(["none", "ampere_plus", "same_compute_capability"]),
    default="none",
    show_default=True,
    help="TensorRT: which other GPUs the engine should load on.",
)
def artifact(
    source: Path,
    destination: Path,
    task: str | None,
    metres_per_unit: DepthUnit,
    modalities: tuple[str, ...] | None,
    name: str | None,
    version: str | None,
    precision: Literal["float32", "float16", "bfloat16"] | None,
    weights: Literal["float32", "float16"] | None,
    max_pixels: int | None,
    intrinsics: tuple[float, float, float, float] | None,
    golden: Path | None,
    targets: tuple[str, ...],
    calibration: Path | None,
    calibration_layout: str | None,
    **engine: object,
) -> None:
    """Turn SOURCE into a verified artifact in the new directory DESTINATION.

    SOURCE is a checkpoint; with --task, also weights of others, as `geminifusion import` takes them; or an artifact to
    whose copy runtimes are added, which needs no torch.
    """
    from geminifusion_export.targets import TargetOptions
    from geminifusion_runtime.artifact import METADATA_NAME

    options = TargetOptions(
        targets=targets,
        calibration=calibration,
        calibration_layout=calibration_layout,
        engine=_engine_options(engine) if "tensorrt" in targets else None,
    )
    if (source / METADATA_NAME).is_file():
        fixed: dict[str, object] = {
            "--task": task,
            "--metres-per-unit": metres_per_unit,
            "--modalities": modalities,
            "--name": name,
            "--version": version,
            "--precision": precision,
            "--weights": weights,
            "--max-pixels": max_pixels,
            "--intrinsics": intrinsics,
            "--golden": golden,
        }
        if given := [option for option, value in fixed.items() if value is not None]:
            raise click.UsageError(
                f"{source} is an artifact, which settles {', '.join(given)} already; give the checkpoint to change it"
            )
        if not targets:
            raise click.UsageError(f"{source} is an artifact; say what to add with --to, or give a checkpoint")
        _report(_extended(source, destination, options), destination)
        return
    if task is None and (source.is_file() or metres_per_unit is not None or modalities is not None):
        raise click.UsageError(
            f"{source} is to be exported as weights of others; say what they were trained for with --task, a name that "
            "`geminifusion tasks` lists or a YAML file"
        )
    from geminifusion_export.build import ExportOptions, check_destination
    from geminifusion_model.tasks.registry import task_of_checkpoint

    check_destination(destination)
    with tempfile.TemporaryDirectory(prefix="geminifusion-import-") as scratch:
        checkpoint = source
        if task is not None:
            checkpoint = Path(scratch) / "checkpoint"
            from geminifusion_model.weights.importing import import_weights

            imported = import_weights(source, task, metres_per_unit=metres_per_unit, modalities=modalities)
            click.echo(imported.to_table())
            imported.write(checkpoint)
        kind = task_of_checkpoint(checkpoint)
        if kind.export is None:
            raise click.ClickException(
                f"{source} is a checkpoint for {kind.name}, which has no artifact yet; evaluate it with `geminifusion "
                "evaluate`"
            )
        click.echo(f"exporting {source} (tracing takes about a minute) …")
        metadata = kind.export.load()(
            checkpoint,
            destination,
            ExportOptions(
                name=name or destination.name,
                version=version or "1",
                precision=precision or "float32",
                weights=weights or "float32",
                targets=options,
                golden=golden,
                max_pixels=max_pixels,
                intrinsics=intrinsics,
            ),
        )
    _report(metadata, destination)


def _extended(source: Path, destination: Path, options: TargetOptions) -> ArtifactMetadata:
    from geminifusion_export.targets import extend_artifact

    click.echo(f"adding {', '.join(options.targets)} to {source} …")
    return extend_artifact(source, destination, options)


def _report(metadata: ArtifactMetadata, destination: Path) -> None:
    from geminifusion_export.verification.certificate import verification_table

    click.echo(verification_table(metadata.verification))
    for entry in metadata.runtimes:
        if score := entry.held_out:
            click.echo(
                f"{entry.runtime} {entry.precision} on {score.frames} held-out frames: mIoU {score.miou:.2f} "
                f"(float32 {score.reference_miou:.2f}); {100 * score.label_agreement:.2f} % of the labels equal"
            )
    click.echo(
        f"wrote {destination} ({metadata.reference}); serve it with: geminifusion serve --artifact {destination}"
    )


def _engine_options(given: dict[str, object]) -> EngineOptions:
    from geminifusion_export.engine.build import EngineOptions
    from geminifusion_export.engine.profiles import parse_profile

    profiles = tuple(parse_profile(text) for text in cast("tuple[str, ...]", given["profiles"]))
    return EngineOptions(
        profiles=profiles or None,
        max_batch=cast(int, given["max_batch"]),
        use_plugin=not given["no_plugin"],
        plugin=cast("Path | None", given["plugin"]),
        timing_cache=cast("Path | None", given["timing_cache"]),
        hardware_compatibility=cast(
            "Literal['none', 'ampere_plus', 'same_compute_capability']", given["hardware_compatibility"]
        ),
    )


@export.command()
@click.option(
    "--runtime",
    type=click.Choice(["tensorrt", "onnxruntime"]),
    default="tensorrt",
    show_default=True,
    help="What loads the library: TensorRT (CUDA), or ONNX Runtime on the CPU.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default=True,
    help="Directory for the library; created if it does not exist.",
)
@click.option("--headers", type=_FOLDER, help="TensorRT: the directory with NvInferRuntime.h.")
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    type=int,
    metavar="SM",
    help="TensorRT: compute capability times ten, e.g. 89; may be repeated; all by default.",
)
def plugin(runtime: str, output: Path, headers: Path | None, architectures: tuple[int, ...]) -> None:
    """Compile the kernel of the fusion for a runtime."""
    if runtime == "onnxruntime":
        from geminifusion_export.kernels.ops_build import build_onnxruntime_ops

        path = build_onnxruntime_ops(output)
        click.echo(f"wrote {path}; serve with it: geminifusion serve --backend onnxruntime --custom-ops {path}")
        return
    from geminifusion_export.kernels.plugin_build import build_tensorrt_plugin

    output.mkdir(parents=True, exist_ok=True)
    path = build_tensorrt_plugin(output, architectures=architectures or None, headers=headers)
    click.echo(f"wrote {path}; build an engine with it: geminifusion export ARTIFACT NEW --to tensorrt --plugin {path}")

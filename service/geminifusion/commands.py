"""The sub-commands predict, models and demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geminifusion_runtime.task_names import SEGMENTATION, TRANSLATION

from .sinks.formats import BOX_FORMATS, FORMATS, IMAGE_FORMATS
from .sources.kinds import CAMERAS

if TYPE_CHECKING:
    from .predict_files import FilesPlan
    from .predict_task import FoundTask

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PATH = click.Path(exists=True, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])

_artifact_option = click.option("--artifact", type=_DIRECTORY, help="Artifact directory [default: the bundled model].")
_url_option = click.option("--url", help="Ask this server instead: http://host:port or grpc://host:port.")


class _OfModality(click.ParamType[tuple[str, Any]]):
    """`NAME=VALUE`, where NAME is a modality of the model."""

    name = "NAME=VALUE"

    def __init__(self, value_type: click.ParamType[Any], shown: str) -> None:
        self.name = f"NAME={shown}"
        self._value_type = value_type

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, Any]:
        """Split and convert the value."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no {self.name}; name the modality, such as thermal={text or '…'}", param, ctx)
        return name, self._value_type.convert(text, param, ctx)


def _input_option(path: click.Path) -> Callable[[_Command], _Command]:
    return click.option(
        "--input",
        "inputs",
        type=_OfModality(path, "FILE"),
        multiple=True,
        help="Image of one modality by its name, such as thermal=thermal.tiff; may be given several times.",
    )


class _PredictCommand(click.Command):
    """Has the options of a request as well, whose definition is imported only when it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All parameters of the command, `--help` last."""
        from .predict_options import request_options

        *own, help_option = super().get_params(ctx)
        return [*own, *request_options(), help_option]


@click.command(cls=_PredictCommand)
@click.argument("rgb", type=_PATH, required=False)
@click.argument("depth", type=_PATH, required=False)
@_input_option(_PATH)
@click.option(
    "--scale",
    "scales",
    type=_OfModality(click.FLOAT, "METRES"),
    multiple=True,
    help="Metres per stored unit of one modality, such as lidar=0.01; may be given several times.",
)
@click.option(
    "--invalid",
    "invalids",
    type=_OfModality(click.FLOAT, "VALUE"),
    multiple=True,
    help="Stored value of one modality that means not measured, such as thermal=65535; may be given several times.",
)
@click.option("--recursive", is_flag=True, help="Take the images of folders within folders too.")
@click.option("--skip-unpaired", is_flag=True, help="Go on without images of folders that have no counterpart.")
@click.option("--rgb-topic", help="Topic of the colour image in a recording [default: the one that looks like it].")
@click.option("--depth-topic", help="Topic of the depth; none goes without [default: the one that looks like it].")
@click.option(
    "--max-offset-ms",
    type=click.FloatRange(min=0),
    help="Longest time between colour and depth of a recording [default: that between two frames].",
)
@click.option("--camera", type=click.Choice(CAMERAS), help="Take frames from a camera until Ctrl-C.")
@click.option("--limit", type=click.IntRange(min=1), help="Take so many frames at most.")
@_artifact_option
@click.option(
    "--synthesizer",
    type=_DIRECTORY,
    help="Artifact directory of a translator that makes a modality that is missing or whose sensor seems broken.",
)
@_url_option
@click.option(
    "--format",
    "formats",
    type=click.Choice((*FORMATS, *BOX_FORMATS, *IMAGE_FORMATS)),
    multiple=True,
    default=("palette", "overlay"),
    show_default=True,
    help="What to write; may be given several times.",
)
@click.option("--rerun", is_flag=True, help="Write a file for the Rerun viewer as well.")
@click.option("--overlay-on", help="Modality that the overlay is drawn on [default: rgb, or the first picture].")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Directory to write to [default: the current one].",
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="Boxes have to be surer than this [default: the model's limit]."
)
@click.option("--overwrite", is_flag=True, help="Segment anew what an earlier run has written.")
def predict(
    rgb: Path | None,
    depth: Path | None,
    inputs: tuple[tuple[str, Path], ...],
    scales: tuple[tuple[str, float], ...],
    invalids: tuple[tuple[str, float], ...],
    recursive: bool,
    skip_unpaired: bool,
    rgb_topic: str | None,
    depth_topic: str | None,
    max_offset_ms: float | None,
    camera: str | None,
    limit: int | None,
    artifact: Path | None,
    synthesizer: Path | None,
    url: str | None,
    formats: tuple[str, ...],
    rerun: bool,
    overlay_on: str | None,
    output: Path,
    min_score: float | None,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 - options of the request
) -> None:
    """Segment a scene, folders, a video, a recording or a camera's frames and write the masks.

    RGB is a PNG, JPEG or WebP, DEPTH a 16-bit PNG, TIFF or npy of the same size; images of other modalities are given
    by name with --input. Leave out what the model does not take or can do without: --input depth=FILE without RGB.

    Both may be folders, whose images have the same names; or a video, whose depth is a video of 16 bits, a folder or an
    npy. RGB alone may be a ROS 1 bag, a ROS 2 bag or an MCAP. Run it again to go on where it stopped.

    With a model for 3-D object detection, RGB is an image or a folder, and --input points=… and --input calibration=…
    are its LiDAR sweep and calibration; boxes are written as drawings, seen from above too, and KITTI's text.

    With a model for image translation, --input NAME=FILE gives its other inputs; images are written as PNG and as
    pictures to look at (png, npy, picture), of depth in 16 bits and in false colors.

    Runs in this process, or on a server with --url. Prints the classes found, of many frames their number, and the
    files written.
    """
    _one_source(artifact, url)
    if synthesizer and url:
        raise click.UsageError("--synthesizer runs in this process; start the server with its own, and leave it out")
    given = {name: value for name, value in options.items() if value not in (None, False, ())}
    given |= _of_modalities(scales, invalids)
    from .options import LOCAL_OPTIONS

    if not url and (remote := (given.keys() & options.keys()) - set(LOCAL_OPTIONS)):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(remote))
        raise click.UsageError(f"{names}: only for a server; give --url as well")
    if camera is not None and (rgb or depth or inputs):
        raise click.UsageError("--camera takes frames from a camera; give it or files")
    of_masks: dict[str, object] = {
        "--recursive": recursive,
        "--skip-unpaired": skip_unpaired,
        "--rgb-topic": rgb_topic,
        "--depth-topic": depth_topic,
        "--max-offset-ms": max_offset_ms,
        "--camera": camera,
        "--rerun": rerun,
        "--overlay-on": overlay_on,
        "--overwrite": overwrite,
        "--synthesizer": synthesizer,
    }
    where = {"artifact": artifact, "url": url, "output": output, "limit": limit}
    if any(name in ("points", "calibration") for name, _ in inputs):
        _refuse("3-D object detection", {"DEPTH": depth, **of_masks})
        from .detection import predict as boxes

        plan = {**where, "inputs": _images({"rgb": rgb}, inputs), "options": given | _given(min_score=min_score)}
        boxes.predict_boxes(_files_plan(boxes.DEFAULT_FORMATS, formats, **plan))
        return
    if min_score is not None or set(formats) & set(BOX_FORMATS):
        raise click.UsageError(
            "--min-score and --format bev or kitti are for boxes; give --input points=FILE --input calibration=FILE"
        )

    asks_for_image = bool(set(formats) & set(IMAGE_FORMATS))

    def segment() -> None:
        if asks_for_image:
            raise click.UsageError("--format npy or picture is for image translation; give --artifact of a translator")
        from .predict_run import PredictPlan, run_predict
        from .sources.base import SourceRequest

        run_predict(
            PredictPlan(
                source=SourceRequest(
                    inputs={} if camera else _images({"rgb": rgb, "depth": depth}, inputs),
                    recursive=recursive,
                    skip_unpaired=skip_unpaired,
                    rgb_topic=rgb_topic,
                    depth_topic=depth_topic,
                    max_offset_ms=max_offset_ms,
                    may_differ=given.get("align", "none") != "none",
                    camera=camera,
                ),
                artifact=artifact,
                synthesizer=synthesizer,
                url=url,
                options=given,
                formats=(*formats, "rerun") if rerun else formats,
                output=output,
                overlay_on=overlay_on,
                overwrite=overwrite,
                limit=limit,
            )
        )

    def translate() -> None:
        _refuse("image translation", of_masks)
        from .translation import predict as images

        plan = {**where, "inputs": _images({"rgb": rgb, "depth": depth}, inputs), "options": given}
        images.predict_images(_files_plan(images.DEFAULT_FORMATS, formats, **plan))

    runs = {SEGMENTATION: segment, TRANSLATION: translate}
    if url is None:
        from .predict_task import task_of_artifact

        _run_for(task_of_artifact(artifact), runs)()
    elif asks_for_image:
        translate()
    else:
        _segment_or(runs, url, given.get("model"))


def _segment_or(runs: Mapping[str, Callable[[], None]], url: str, model: str | None) -> None:
    """Segment at a server, and only where it says that its model is for another task, ask for which."""
    from .errors import ClientError
    from .predict_task import WRONG_TASK, task_at

    try:
        runs[SEGMENTATION]()
    except ClientError as error:
        if error.code != WRONG_TASK or (found := task_at(url, model)) is None:
            raise
    else:
        return
    _run_for(found, runs)()


def _run_for(found: FoundTask, runs: Mapping[str, Callable[[], None]]) -> Callable[[], None]:
    """The run of a model's task.

    Raises:
        click.UsageError: it is the task whose inputs would have said so.
    """
    from .predict_task import without_points

    if found.task not in runs:
        raise click.UsageError(without_points(found))
    return runs[found.task]


def _refuse(task: str, given: Mapping[str, object]) -> None:
    """Refuse what a run of a task would pass over.

    Raises:
        click.UsageError: some of it was given.
    """
    if names := [name for name, value in given.items() if value is not None and value is not False]:
        raise click.UsageError(f"{', '.join(names)}: not for {task}; leave it out")


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _files_plan(default_formats: tuple[str, ...], formats: tuple[str, ...], **plan: Any) -> FilesPlan:  # noqa: ANN401
    """The plan of a run, in the formats that were asked for, or else in those of the task."""
    from .predict_files import FilesPlan

    chosen = click.get_current_context().get_parameter_source("formats")
    is_default = chosen is click.core.ParameterSource.DEFAULT
    return FilesPlan(formats=default_formats if is_default else formats, **plan)


@click.command()
@_artifact_option
@_url_option
def models(artifact: Path | None, url: str | None) -> None:
    """Describe the models of a server, or an artifact directory."""
    _one_source(artifact, url)
    from .descriptions import describe_artifact, describe_served

    if url:
        from .client import Client

        with Client(url) as client:
            click.echo("\n\n".join(describe_served(model) for model in client.models()))
        return
    click.echo(describe_artifact(artifact or _bundled_artifact()))


@click.command()
@_artifact_option
@_input_option(_FILE)
@click.option("--pair", "pair_name", default="livingroom", show_default=True, help="Which bundled photograph.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Directory for the mask, the overlay and the server's log.",
)
@click.option("--http-port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option("--once", is_flag=True, help="Stop after the first result.")
def demo(
    artifact: Path | None,
    inputs: tuple[tuple[str, Path], ...],
    pair_name: str,
    output: Path,
    http_port: int,
    grpc_port: int,
    once: bool,
) -> None:
    """Start a server, segment a real photograph with it, show what it found.

    Serves on this machine only and keeps serving until Ctrl-C. Where a port is taken, a free one is used. The bundled
    photographs have depth; of other modalities, and for a scene of your own, give images with --input.
    """
    from geminifusion_runtime.bundled import demo_pairs

    from .demo import DemoPlan, run_demo

    pairs = demo_pairs()
    if pair_name not in pairs:
        raise click.BadParameter(f"{pair_name!r} is none of {', '.join(pairs)}", param_hint="--pair")
    run_demo(
        DemoPlan(
            artifact=artifact or _bundled_artifact(),
            pair=pairs[pair_name],
            inputs=_images({}, inputs) if inputs else {},
            output=output,
            http_port=http_port,
            grpc_port=grpc_port,
            once=once,
        )
    )


def _images(named: dict[str, Path | None], inputs: tuple[tuple[str, Path], ...]) -> dict[str, Path]:
    """The files by modality.

    Raises:
        click.UsageError: a modality comes twice, or none comes.
    """
    images = {name: path for name, path in named.items() if path is not None}
    for name, path in inputs:
        if name in images:
            raise click.UsageError(f"{name} comes twice: {images[name]} and {path}; give each modality once")
        images[name] = path
    if not images:
        raise click.UsageError("no image was given; give RGB, RGB and DEPTH, or --input NAME=FILE for each modality")
    return images


def _of_modalities(
    scales: tuple[tuple[str, float], ...], invalids: tuple[tuple[str, float], ...]
) -> dict[str, float | tuple[float, ...]]:
    """The options of modalities by their names in a request."""
    options: dict[str, float | tuple[float, ...]] = {f"{name}_scale": value for name, value in scales}
    for name in dict.fromkeys(name for name, _ in invalids):
        options[f"{name}_invalid"] = tuple(value for other, value in invalids if other == name)
    return options


def _one_source(artifact: Path | None, url: str | None) -> None:
    if artifact and url:
        raise click.UsageError("--artifact runs in this process and --url on a server; give one of them")


def _bundled_artifact() -> Path:
    from geminifusion_runtime.bundled import artifact_path

    return artifact_path()

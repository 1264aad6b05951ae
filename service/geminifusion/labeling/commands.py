"""The sub-commands label-studio and rank."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import requires_extra

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_TOKEN, _USER, _PASSWORD = "LABEL_STUDIO_API_KEY", "BASIC_AUTH_USER", "BASIC_AUTH_PASS"


@click.command(name="label-studio")
@click.option("--artifact", type=_DIRECTORY, help="Artifact directory [default: the bundled model].")
@click.option("--url", help="Ask this server instead: http://host:port or grpc://host:port.")
@click.option("--api-key", envvar="GEMINIFUSION_API_KEY", help="Key of that server.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True)
@click.option(
    "--label-studio",
    "label_studio_url",
    help=f"Address of Label Studio, for images uploaded to it; ${_TOKEN} holds a token.",
)
@click.option(
    "--files", type=_DIRECTORY, help="Folder that Label Studio serves as local files: its LOCAL_FILES_DOCUMENT_ROOT."
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    help="Host (or host:port) that images of tasks may be read from; may be given several times.",
)
@click.option(
    "--depth-field", default="depth", show_default=True, help="Field of a task's data with the address of its depth."
)
def label_studio(
    artifact: Path | None,
    url: str | None,
    api_key: str | None,
    host: str,
    port: int,
    label_studio_url: str | None,
    files: Path | None,
    hosts: tuple[str, ...],
    depth_field: str,
) -> None:
    """Pre-annotate the tasks of Label Studio: serve its protocol of machine-learning backends.

    Set $BASIC_AUTH_USER and $BASIC_AUTH_PASS to ask Label Studio for them.
    """
    if artifact and url:
        raise click.UsageError("--artifact runs in this process and --url on a server; give one of them")
    with requires_extra("geminifusion label-studio", "labeling"):
        import uvicorn

    from .label_studio import BackendOptions, application
    from .source import open_model
    from .task_images import TaskImages

    user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
    if bool(user) != bool(password):
        raise click.UsageError(f"${_USER} and ${_PASSWORD} belong together; set both or none")
    model = open_model(url=url, artifact=artifact, api_key=api_key)
    with TaskImages(label_studio=label_studio_url, token=os.environ.get(_TOKEN), hosts=hosts, files=files) as images:
        options = BackendOptions(
            depth_field=depth_field,
            password=(user, password) if user and password else None,
            report=lambda sentence: click.echo(sentence, err=True),
        )
        config = uvicorn.Config(
            application(model, images, options), host=host, port=port, lifespan="off", access_log=False
        )
        uvicorn.Server(config).run()


@click.command()
@click.argument("folder", type=_DIRECTORY)
@click.option(
    "--by",
    type=click.Choice(["uncertainty", "low-confidence", "disagreement"]),
    default="uncertainty",
    show_default=True,
    help="Mean of 1 - confidence; share of pixels less confident than --threshold; mean disagreement of the sensors.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of low-confidence.")
@click.option("--images", type=_DIRECTORY, required=True, help="Folder with the pictures of the frames.")
@click.option("--depth", type=_DIRECTORY, help="Folder with their depth, for Label Studio.")
@click.option(
    "--root", type=_DIRECTORY, help="Folder that Label Studio serves as local files [default: the current one]."
)
@click.option(
    "--for",
    "tool",
    type=click.Choice(["label-studio", "cvat"]),
    default="label-studio",
    show_default=True,
    help="Tasks to import, or the paths of the pictures.",
)
@click.option("--limit", type=click.IntRange(1), help="Keep the first so many.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JSON file to write.")
def rank(
    folder: Path,
    by: str,
    threshold: float,
    images: Path,
    depth: Path | None,
    root: Path | None,
    tool: str,
    limit: int | None,
    output: Path,
) -> None:
    """List frames for labelling, the most uncertain first.

    FOLDER holds what `geminifusion predict --format npz` wrote.
    """
    from geminifusion_runtime import strict_json

    from . import ranking
    from .frame_files import FrameFiles

    if tool == "cvat" and (depth or root):
        raise click.UsageError("--depth and --root are for Label Studio; CVAT's function is given the depth folder")
    frames = ranking.rank(folder, by, threshold)[:limit]
    pictures = FrameFiles(images, "rgb")
    document: list[dict[str, object]] | list[str]
    if tool == "cvat":
        document = ranking.cvat_files(frames, pictures)
    else:
        depths = FrameFiles(depth, "depth") if depth else None
        document = ranking.label_studio_tasks(frames, by, pictures, depths, root or Path())
    output.write_text(strict_json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for frame in frames:
        click.echo(f"{frame.value:.4f}  {frame.name}")
    click.echo(f"wrote {output}")

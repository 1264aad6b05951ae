"""`geminifusion serve`.

Only click and the standard library at the top: the help must come at once and need nothing else installed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
from pathlib import Path
from typing import Any

import click

from geminifusion_service.settings import Settings, SettingsError, environment_variable, option

_NEEDED = ("fastapi", "uvicorn", "grpc", "onnxruntime", "cv2", "prometheus_client")


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = [
        click.Option(
            ["artifacts", "--artifact"],
            type=click.Path(path_type=Path),
            multiple=True,
            envvar=environment_variable("artifacts"),
            show_envvar=True,
            help="Artifact directory; may be repeated, the first is the default model.  [default: the bundled one]",
        )
    ]
    for spec in dataclasses.fields(Settings):
        if spec.name != "artifacts":
            options.append(
                click.Option(
                    [option(spec.name)],
                    type=type(spec.default),
                    default=spec.default,
                    envvar=environment_variable(spec.name),
                    show_envvar=True,
                    show_default=True,
                    help=spec.metadata["help"],
                )
            )
    return options


def _serve(**values: Any) -> None:  # noqa: ANN401 - click hands over what the table above declares
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f'serving needs {", ".join(missing)}; run: pip install "geminifusion[service]"')
    try:
        values["artifacts"] = values["artifacts"] or (_bundled_artifact(),)
        settings = Settings(**values)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    from geminifusion_export.artifact import ArtifactError
    from geminifusion_service.server import StartupError
    from geminifusion_service.server import serve as run_server

    try:
        code = asyncio.run(run_server(settings))
    except (StartupError, ArtifactError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(code)


def _bundled_artifact() -> Path:
    from geminifusion.bundled import artifact_path

    try:
        return artifact_path()
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None


serve = click.Command(
    "serve",
    callback=_serve,
    params=_options(),
    help="Serve artifacts over HTTP and gRPC until SIGTERM or Ctrl-C.",
)

"""`geminifusion serve`.

Only click and the standard library at the top: the help must come at once and need nothing else installed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import importlib.util
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from geminifusion_service.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, environment_variable, option

_NEEDED = ("starlette", "uvicorn", "grpc", "onnxruntime", "cv2", "prometheus_client")
# Variables of the same prefix that other parts of the project read.
_OTHERS_VARIABLES = ("GEMINIFUSION_DEBUG", "GEMINIFUSION_TENSORRT_INCLUDE", "GEMINIFUSION_TEST_")


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = [
        click.Option(
            ["--config"],
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar=ENVIRONMENT_PREFIX + "CONFIG",
            show_envvar=True,
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="TOML file of settings, by their names with underscores; options and the environment win over it.",
        ),
        click.Option(
            ["artifacts", "--artifact"],
            type=click.Path(path_type=Path),
            multiple=True,
            envvar=environment_variable("artifacts"),
            show_envvar=True,
            help="Artifact directory; may be repeated, the first is the default model.  [default: the bundled one]",
        ),
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


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let click take what is not given otherwise from the file; refuse names that nobody knows, wherever they stand."""
    known = {spec.name for spec in dataclasses.fields(Settings)}
    variables = {environment_variable(name) for name in known} | {ENVIRONMENT_PREFIX + "CONFIG"}
    for variable in os.environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and not variable.startswith(_OTHERS_VARIABLES):
            _require_known(variable, variables, "environment variable")
    if path is None:
        return
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read as TOML ({error}); correct the file") from None
    for name in found:
        _require_known(name, known, f"setting in {path}")
    context.default_map = found


def _require_known(name: str, known: Iterable[str], kind: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        advice = f"did you mean {near[0]}?" if near else "`geminifusion serve --help` lists all there are"
        raise click.UsageError(f"there is no {kind} {name!r}; {advice}")


def _serve(**values: Any) -> None:  # noqa: ANN401 - click hands over what the table above declares
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f'serving needs {", ".join(missing)}; run: pip install "geminifusion[service]"')
    try:
        if not values["artifacts"] and not values["model_repository"]:
            values["artifacts"] = (_bundled_artifact(),)
        settings = Settings(**values)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    from geminifusion_service.observability.logs import set_up_logging

    set_up_logging(settings.log_format, settings.log_level)

    from geminifusion_runtime.artifact import ArtifactError
    from geminifusion_service.ray_serve.cluster import RayError, prepare

    if settings.engine == "ray":
        try:
            prepare()
        except RayError as error:
            raise click.ClickException(str(error)) from None
    from geminifusion_service.server import StartupError
    from geminifusion_service.server import serve as run_server

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(run_server(settings))
    except (StartupError, ArtifactError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: it takes less of the processor for each request."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    from uvloop import new_event_loop

    return new_event_loop


def _bundled_artifact() -> Path:
    from geminifusion_runtime.bundled import artifact_path

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

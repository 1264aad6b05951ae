"""`geminifusion serve`.

Only click and the standard library at the top: the help must come at once and need nothing else installed.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib.util
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from geminifusion_service.platform_variables import is_of_platform
from geminifusion_service.setting_fields import ENVIRONMENT_PREFIX, Setting, SettingsError
from geminifusion_service.settings import ALL_SETTINGS, GROUPS, Settings, group_heading

_NEEDED = ("starlette", "uvicorn", "grpc", "onnxruntime", "cv2", "prometheus_client")
_CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
# Variables of the same prefix that other parts of the project read.
_OTHERS_VARIABLES = ("GEMINIFUSION_DEBUG", "GEMINIFUSION_TENSORRT_INCLUDE", "GEMINIFUSION_TEST_")


class _CommandInSections(click.Command):
    """A command whose help lists the options of each group of settings under its heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command."""
        group_of = {setting.name: setting.group for setting in ALL_SETTINGS}
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], **{group_heading(group): [] for group in GROUPS}}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                group = group_of.get(parameter.name or "")
                sections["Options" if group is None else group_heading(group)].append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _Option(click.Option):
    """An option whose variable counts only if it is a setting, and not the address of a Service of its name."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """See click.Option."""
        value = super().resolve_envvar_value(ctx)
        return None if value is None or is_of_platform(str(self.envvar), value) else value


def config_option() -> click.Option:
    """The option `--config`, which also rejects what no setting is."""
    return click.Option(
        ["--config"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar=_CONFIG_VARIABLE,
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file of settings, by their names with underscores; options and the environment win over it.",
    )


def setting_option(setting: Setting) -> click.Option:
    """The option of a setting; `artifacts` is the one that may be repeated."""
    common: dict[str, Any] = {
        "type": _type(setting),
        "envvar": setting.environment_variable,
        "show_envvar": True,
        "help": setting.help,
    }
    if setting.suggestions:
        common["shell_complete"] = functools.partial(_complete, setting.suggestions)
    if setting.name == "artifacts":
        return _Option([setting.name, setting.option], multiple=True, show_default="the bundled one", **common)
    return _Option([setting.option], default=setting.default, show_default=setting.default != "", **common)


def _complete(values: Iterable[str], _context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    return [value for value in values if value.startswith(typed)]


def _type(setting: Setting) -> click.ParamType[Any]:
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.is_path:
        return click.Path(path_type=Path if setting.name == "artifacts" else str)
    if isinstance(setting.default, bool):
        return click.BOOL
    if isinstance(setting.default, int):
        low, high = (None if limit is None else int(limit) for limit in (setting.low, setting.high))
        return click.IntRange(low, high)
    if isinstance(setting.default, float):
        return click.FloatRange(setting.low, setting.high)
    return click.STRING


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let click take what is not given otherwise from the file; reject unknown names, wherever they stand."""
    names = {setting.name for setting in ALL_SETTINGS}
    variables = {setting.environment_variable for setting in ALL_SETTINGS} | {_CONFIG_VARIABLE}
    for variable, value in os.environ.items():
        is_ours = variable.startswith(ENVIRONMENT_PREFIX) and not variable.startswith(_OTHERS_VARIABLES)
        if is_ours and not is_of_platform(variable, value):
            _require_known(variable, variables, "environment variable")
    if path is None:
        return
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueErrors of the text, its syntax and its numbers
        raise click.UsageError(f"{path} cannot be read as TOML ({error}); correct the file") from None
    for name in found:
        _require_known(name, names, f"setting in {path}")
    context.default_map = found


def _require_known(name: str, known: Iterable[str], kind: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        advice = f"did you mean {near[0]}?" if near else "`geminifusion serve --help` lists all there are"
        raise click.UsageError(f"there is no {kind} {name!r}; {advice}")


def _serve(**values: Any) -> None:  # noqa: ANN401 - click hands over what the settings declare
    _open_standard_streams()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f'serving needs {", ".join(missing)}; run: pip install "geminifusion[service]"')
    from geminifusion_runtime.onnx_runtime_packages import mixture_problem

    if problem := mixture_problem():
        raise click.ClickException(problem)
    try:
        if not values["artifacts"] and not values["model_repository"]:
            values["artifacts"] = (_bundled_artifact(),)
        settings = Settings.of(**values)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    from geminifusion_service.observability.logs import set_up_logging

    set_up_logging(settings.observability.log_format, settings.observability.log_level)

    from geminifusion_runtime.artifact import ArtifactError
    from geminifusion_service.ray_serve.cluster import RayError, prepare

    if settings.ray.executor == "ray":
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


def _open_standard_streams() -> None:
    """Give every standard stream that was closed a place to go, or the next file opened, a socket, would get its number
    and what libraries write to standard error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


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


serve = _CommandInSections(
    "serve",
    callback=_serve,
    params=[config_option(), *map(setting_option, ALL_SETTINGS)],
    help="Serve artifacts over HTTP and gRPC until SIGTERM or Ctrl-C.",
)

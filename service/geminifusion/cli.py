"""The `geminifusion` command: sub-commands are found by name and imported only when one of them is called."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import __version__
from .errors import MissingExtraError

if TYPE_CHECKING:
    from .client import Client

GROUP = "geminifusion.commands"

# Extra that installs what a command needs, by the package of the command.
_EXTRAS = {
    "geminifusion": "runtime",
    "geminifusion_runtime": "runtime",
    "geminifusion_service": "service",
    "geminifusion_model": "model",
    "geminifusion_export": "export",
}


class LazyGroup(click.Group):
    """A group whose members come from an entry-point group."""

    def __init__(self, commands_by_name: Mapping[str, EntryPoint]) -> None:
        super().__init__(
            name="geminifusion",
            help="Segment images of several sensors with GeminiFusion: train, export, serve, predict.",
            params=[
                click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
                click.Option(
                    ["--version"],
                    is_flag=True,
                    expose_value=False,
                    is_eager=True,
                    callback=_print_version,
                    help="Print the version and exit.",
                ),
            ],
            callback=_remember_debug,
        )
        self._entry_points = commands_by_name

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of all sub-commands, sorted."""
        return sorted(self._entry_points)

    def get_command(self, context: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one sub-command; None when there is none of that name."""
        entry = self._entry_points.get(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"entry point {cmd_name} = {entry.value} is no click command")
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        rows = [(name, _summary(self._entry_points[name])) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _summary(entry: EntryPoint) -> str:
    """First line of a command's help, read from the source: to import every command would take seconds."""
    for node in _source(entry.module).body:
        match node:
            case ast.FunctionDef(name=entry.attr):
                return (ast.get_docstring(node) or "").partition("\n")[0]
            case ast.Assign(targets=[ast.Name(id=entry.attr)], value=ast.Call(keywords=keywords)):
                for keyword in keywords:
                    if keyword.arg == "help" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value).partition("\n")[0]
    return ""


@functools.cache
def _source(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    return ast.parse(Path(spec.origin).read_bytes() if spec and spec.origin else "")


def command_group() -> LazyGroup:
    """The root command over the sub-commands that are installed."""
    return LazyGroup({entry.name: entry for entry in entry_points(group=GROUP)})


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or a missing part, 130 interrupted."""
    group = command_group()
    try:
        code = group.main(arguments, prog_name="geminifusion", standalone_mode=False, obj=_connect)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except ModuleNotFoundError as error:
        _show_traceback_if_asked()
        click.echo(f"geminifusion: {_missing_part(error)}", err=True)
        code = 2
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain again while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        _show_traceback_if_asked()
        for line in _lines_about(error):
            click.echo(f"geminifusion: {line}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _connect(url: str) -> Client:
    """The client that commands of the packages below ask a server with; frames to score are in no hurry."""
    from .client import Client

    return Client(url, timeout=300.0, retries=8)


def _is_expected(error: Exception) -> bool:
    """Whether the message was meant for a user: our own errors, a wrong value, the system's about a file."""
    return isinstance(error, OSError | ValueError) or type(error).__module__.partition(".")[0] in _EXTRAS


def _lines_about(error: Exception) -> list[str]:
    """What to say of an error, also where memory ran out in a command that has no advice of its own."""
    from geminifusion_runtime.memory_shortage import describe_memory_shortage, is_memory_shortage

    if _is_expected(error):
        return [_message(error)]
    if is_memory_shortage(error):
        shortage = describe_memory_shortage(
            error,
            where="this machine",
            work="what was asked for",
            advice="give the command smaller images or fewer of them, or run it where more memory is free",
        )
        return [shortage]
    return ["internal error; run again with --debug to see where", _message(error)]


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error).strip() or type(error).__name__


def _missing_part(error: ModuleNotFoundError) -> str:
    if isinstance(error, MissingExtraError):
        return str(error)
    # The outermost of our packages is that of the command, whose extra brings everything the inner ones need.
    packages = (
        name.partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if (name := str(frame.f_globals.get("__name__", ""))) != __name__
    )
    extra = next((_EXTRAS[package] for package in packages if package in _EXTRAS), None)
    advice = f'run: pip install "geminifusion[{extra}]"' if extra else "install it"
    return f"this command needs {error.name}, which is not installed; {advice}"


def _show_traceback_if_asked() -> None:
    if os.environ.get("GEMINIFUSION_DEBUG", "") not in ("", "0"):
        traceback.print_exc()


def _remember_debug(debug: bool) -> None:
    # The environment is where the processes this command starts will look as well.
    if debug:
        os.environ["GEMINIFUSION_DEBUG"] = "1"


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(f"geminifusion {__version__}")
        context.exit()

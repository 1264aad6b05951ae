"""The `geminifusion` command: sub-commands are found by name and imported only when one of them is called."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import click

from . import __version__

GROUP = "geminifusion.commands"

# What a library that may be missing belongs to, by the package of the command that needed it.
_EXTRAS = {
    "geminifusion": "service",
    "geminifusion_service": "service",
    "geminifusion_model": "model",
    "geminifusion_export": "export",
}

# One line each, so that listing the commands imports none of them.
SUMMARIES = {
    "bench": "Measure an artifact's speed on this machine.",
    "data": "Examine a data set, or draw synthetic rooms.",
    "demo": "Start a server, segment a real photograph with it, show what it found.",
    "distil": "Teach an encoder what an image classifier sees in unlabelled photographs.",
    "doctor": "Say what this machine can run, and why not.",
    "evaluate": "Score a checkpoint on a labelled data set.",
    "export": "Turn a checkpoint into an artifact that can be served, or add runtimes to one.",
    "models": "Describe the models of a server, or an artifact directory.",
    "predict": "Segment one RGB-D pair and write the mask.",
    "serve": "Serve an artifact over HTTP and gRPC.",
    "train": "Train a network.",
    "verify": "Prove an artifact on this machine: files, runtimes, golden frames.",
}


class LazyGroup(click.Group):
    """A group whose members come from an entry-point group."""

    def __init__(self, commands_by_name: Mapping[str, EntryPoint]) -> None:
        super().__init__(
            name="geminifusion",
            help="Segment RGB-D pictures with GeminiFusion: train, export, serve, predict.",
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
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def command_group() -> LazyGroup:
    """The root command over the sub-commands that are installed."""
    return LazyGroup({entry.name: entry for entry in entry_points(group=GROUP)})


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or a missing part, 130 interrupted."""
    group = command_group()
    try:
        code = group.main(arguments, prog_name="geminifusion", standalone_mode=False)
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
        if not _is_expected(error):
            click.echo("geminifusion: internal error; run again with --debug to see where", err=True)
        click.echo(f"geminifusion: {_message(error)}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _is_expected(error: Exception) -> bool:
    """Whether the message was meant for a user: our own errors, a wrong value, the system's about a file."""
    return isinstance(error, OSError | ValueError) or type(error).__module__.partition(".")[0] in _EXTRAS


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error).strip() or type(error).__name__


def _missing_part(error: ModuleNotFoundError) -> str:
    needed_by = next(
        (
            package
            for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__)))
            if (package := str(frame.f_globals.get("__name__", "")).partition(".")[0]) in _EXTRAS
            and frame.f_globals.get("__name__") != __name__
        ),
        (error.name or "").partition(".")[0],
    )
    extra = _EXTRAS.get(needed_by)
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

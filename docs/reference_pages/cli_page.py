"""The commands, their arguments and options, from click's own description of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from geminifusion.cli import command_group
from geminifusion_model.tasks.command import TaskCommand
from geminifusion_service.reference import table

# The options of `serve` are the settings, which have a page of their own.
_OF_SETTINGS = {"serve": "Its options are the [settings](settings.md), and `--config`, a TOML file of them.\n"}


def cli_page() -> str:
    """A section for each command, those of a group or of the tasks behind it."""
    root = command_group()
    context = click.Context(root, info_name="geminifusion")
    commands = {name: root.get_command(context, name) for name in root.list_commands(context)}
    return "\n".join(
        section for name, command in commands.items() if command is not None for section in _sections(command, name)
    )


def _sections(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, TaskCommand):
        yield f"## {name}\n\n{_prose(command.help or '')}"
        for task, own in command.by_task.items():
            yield from (section.replace(f"## {name}\n", f"### {name}: {task}\n", 1) for section in _sections(own, name))
        return
    context = click.Context(command, info_name=f"geminifusion {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## {name}\n", f"```text\ngeminifusion {name} {usage}\n```\n", _prose(command.help or "")]
    if name in _OF_SETTINGS:
        parts.append(_OF_SETTINGS[name])
    elif rows := [row for option in command.get_params(context) if (row := _row(option, context))]:
        parts.append(table(("Option", "Default", "Meaning"), rows))
    yield "\n".join(parts)
    for member in getattr(command, "commands", {}).values():
        yield from _sections(member, f"{name} {member.name}")


def _prose(text: str) -> str:
    """Paragraphs as one line each; those that click must not wrap (`\\b`) stay as they are, as text."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).partition("\f")[0]):
        kept = paragraph.lstrip("\n").startswith("\b")
        lines = paragraph.replace("\b", "").strip("\n")
        paragraphs.append(f"```text\n{lines}\n```\n" if kept else _escaped(" ".join(lines.split())) + "\n")
    return "\n".join(paragraphs)


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str] | None:
    if not isinstance(parameter, click.Option) or "--help" in parameter.opts:
        return None
    record = parameter.get_help_record(context)
    if record is None:
        return None
    extra = parameter.get_help_extra(context)
    meaning = (parameter.help or "").replace("\n", " ")
    notes = [text for text in (extra.get("range"), "required" if extra.get("required") else None) if text]
    if notes:
        meaning += f" [{'; '.join(notes)}]"
    default = extra.get("default", "")
    return f"`{record[0]}`", f"`{default}`" if default else "", _escaped(meaning)


def _escaped(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*")

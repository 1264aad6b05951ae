"""Options that messages name exist, so that advice can be followed."""

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
OF_OTHER_PROGRAMS = {
    *("--address", "--dryrun", "--force-reinstall", "--gpus", "--list-gpu-code"),  # ray, nvcc, pip, docker
    *("--error-exitcode", "--no-optional-locks", "--porcelain", "--query-gpu"),  # compute-sanitizer, git, nvidia-smi
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


@pytest.fixture(scope="module")
def known_options():
    def options(command):
        context = click.Context(command)
        found = {
            name for parameter in command.get_params(context) for name in parameter.opts + parameter.secondary_opts
        }
        for child in {**getattr(command, "commands", {}), **getattr(command, "by_task", {})}.values():
            found |= options(child)
        return found

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    places = project["entry-points"]["geminifusion.commands"].values()
    commands = [EntryPoint("", place, "").load() for place in places]
    return {"--debug", "--version"} | OF_OTHER_PROGRAMS | set().union(*map(options, commands))


def test_every_option_that_a_message_names_exists(message_texts, known_options):
    unknown = [
        f"{path.relative_to(ROOT)}: {option} in {text[:80]!r}"
        for path, text in message_texts
        for option in OPTION.findall(text.replace("--\0", ""))
        if option not in known_options
    ]
    assert not unknown, "\n".join(unknown)

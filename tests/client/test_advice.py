"""Options that messages name exist, so that advice can be followed."""

import ast
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("geminifusion_runtime", "geminifusion_model", "geminifusion_export", "geminifusion_service", "geminifusion")
SOURCES = sorted(path for package in PACKAGES for path in ROOT.glob(f"*/{package}/**/*.py"))
OF_OTHER_PROGRAMS = {
    *("--address", "--dryrun", "--force-reinstall", "--gpus", "--list-gpu-code"),  # ray, nvcc, pip, docker
    *("--no-optional-locks", "--porcelain", "--query-gpu"),  # git, nvidia-smi
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


@pytest.fixture(scope="module")
def known_options():
    def options(command):
        context = click.Context(command)
        found = {
            name for parameter in command.get_params(context) for name in parameter.opts + parameter.secondary_opts
        }
        for child in getattr(command, "commands", {}).values():
            found |= options(child)
        return found

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    places = project["entry-points"]["geminifusion.commands"].values()
    commands = [EntryPoint("", place, "").load() for place in places]
    return {"--debug", "--version"} | OF_OTHER_PROGRAMS | set().union(*map(options, commands))


def texts(path):
    """Text of the strings in a module that are no docstrings, with a gap where an f-string has a value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_every_option_that_a_message_names_exists(known_options):
    unknown = [
        f"{path.relative_to(ROOT)}: {option} in {text[:80]!r}"
        for path in SOURCES
        for text in texts(path)
        for option in OPTION.findall(text.replace("--\0", ""))
        if option not in known_options
    ]
    assert not unknown, "\n".join(unknown)

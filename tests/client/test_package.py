import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import geminifusion
from geminifusion.cli import command_group

ROOT = Path(__file__).parents[2]


def test_importing_the_package_imports_no_library_below_it():
    code = (
        "import sys, geminifusion; "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'httpx', 'grpc', 'numpy', 'click', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_no_command():
    code = (
        "import sys; from geminifusion.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'httpx', 'grpc', 'numpy', 'pydantic'}\n"
        "heavy |= {'fastapi', 'starlette'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(set(geminifusion.__all__) - {"__version__"}))
def test_public_names_resolve_when_they_are_first_used(name):
    assert getattr(geminifusion, name).__name__ == name
    assert name in dir(geminifusion)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'segmenter'"):
        geminifusion.segmenter  # noqa: B018


def test_newest_entry_of_the_changelog_is_this_version():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == geminifusion.__version__


def test_every_sub_command_is_listed_with_the_first_line_of_its_own_help():
    group = command_group()
    context = click.Context(group)
    formatter = click.HelpFormatter(width=400)
    group.format_commands(context, formatter)
    listed = dict(line.split(maxsplit=1) for line in formatter.getvalue().splitlines()[1:])
    for name in group.list_commands(context):
        assert listed[name] == inspect.cleandoc(group.get_command(context, name).help).partition("\n")[0]


def test_the_exported_names_are_sorted_and_are_all_that_is_public():
    assert geminifusion.__all__ == sorted(geminifusion.__all__)
    own = {name for name in vars(geminifusion) if not name.startswith("_")}
    submodules = {module.name for module in pkgutil.iter_modules(geminifusion.__path__)}
    imported = {"annotations", "importlib", "TYPE_CHECKING"}
    assert own - submodules - imported <= set(geminifusion.__all__)


def test_load_needs_no_web_framework(tiny_artifact):
    code = f"""
import sys
for name in ("fastapi", "starlette", "uvicorn", "grpc", "google.protobuf", "prometheus_client", "websockets", "torch"):
    sys.modules[name] = None
import numpy as np
from geminifusion import load
model = load({str(tiny_artifact)!r}, threads=1)
result = model(np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32))
assert result.labels.shape == (48, 64)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["cv2", "simplejpeg"])
def test_load_without_the_runtime_says_what_to_install(library):
    code = f"""
import sys
sys.modules[{library!r}] = None
try:
    from geminifusion import load
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (f'geminifusion.load() needs {library}; run: pip install "geminifusion[runtime]"')

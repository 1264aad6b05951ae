import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import geminifusion
from geminifusion.cli import SUMMARIES

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
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'httpx', 'grpc', 'numpy', 'pydantic', 'starlette'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["AsyncClient", "ClassShare", "Client", "ClientError", "Result", "load"])
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


def test_every_sub_command_has_a_summary():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["entry-points"]["geminifusion.commands"]) == set(SUMMARIES)

"""`make` takes the newest Python on the PATH that can do it, or the one that is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
FAKE = """#!/bin/sh
case "$1" in
-c) exec {real} -c "import sys; sys.version_info = ({version}, 0); {before}; $2" ;;
-m) mkdir -p "$3" && echo {name} > "$3/made-by" ;;
esac
"""
WITHOUT_VENV = "sys.modules['ensurepip'] = None"  # as on Debian without python3-venv


@pytest.fixture
def make(tmp_path):
    """`make(python3=(3, 10), …)`: what makes the environment with these interpreters on the PATH."""

    def run(*arguments, broken=(), **versions):
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in ("mkdir", "touch"):
            (folder / tool).symlink_to(shutil.which(tool))
        for name, version in versions.items():
            script = folder / name.replace("_", ".")
            before = WITHOUT_VENV if name in broken else "pass"
            script.write_text(
                FAKE.format(real=sys.executable, version=", ".join(map(str, version)), before=before, name=script.name)
            )
            script.chmod(0o755)
        shutil.copy(MAKEFILE, tmp_path)
        return subprocess.run(
            [shutil.which("make"), "--silent", ".venv/created", *arguments],
            cwd=tmp_path,
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("versions", "taken"),
    [
        ({"python3_11": (3, 11)}, "python3.11"),
        ({"python3_11": (3, 11), "python3_12": (3, 12), "python3": (3, 11)}, "python3.12"),
        ({"python3_9": (3, 9), "python3": (3, 13)}, "python3"),
        ({"python3_14": (3, 14), "python3": (3, 10)}, "python3.14"),
    ],
)
def test_the_newest_python_is_taken(make, tmp_path, versions, taken):
    done = make(**versions)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv" / "made-by").read_text() == f"{taken}\n"


def test_one_that_cannot_make_an_environment_is_passed_over(make, tmp_path):
    assert make(python3_12=(3, 12), python3_11=(3, 11), broken=["python3_12"]).returncode == 0
    assert (tmp_path / ".venv" / "made-by").read_text() == "python3.11\n"


def test_the_one_that_is_named_is_taken(make, tmp_path):
    assert make("PYTHON=python3.11", python3_11=(3, 11), python3_12=(3, 12)).returncode == 0
    assert (tmp_path / ".venv" / "made-by").read_text() == "python3.11\n"


@pytest.mark.parametrize(
    ("arguments", "versions", "sentence"),
    [
        ((), {"python3": (3, 10)}, "there is no Python from 3.11 on"),
        ((), {}, "there is no Python from 3.11 on"),
        (("PYTHON=python3",), {"python3": (3, 10), "python3_12": (3, 12)}, "python3 is no Python from 3.11 on"),
    ],
)
def test_without_one_it_says_so_in_a_sentence(make, arguments, versions, sentence):
    done = make(*arguments, **versions)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith(sentence)
    assert "make PYTHON=" in done.stderr

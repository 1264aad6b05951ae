"""The package's public names."""

import subprocess
import sys

import pytest

import geminifusion_model


def test_public_names_are_sorted():
    assert geminifusion_model.__all__ == sorted(geminifusion_model.__all__)


@pytest.mark.parametrize("name", geminifusion_model.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(geminifusion_model, name).__name__ == name
    assert name in dir(geminifusion_model)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Fusion'"):
        geminifusion_model.Fusion  # noqa: B018


def test_importing_the_package_imports_no_library_below_it():
    code = (
        "import sys, geminifusion_model\n"
        "heavy = {'torch', 'cv2', 'numpy', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

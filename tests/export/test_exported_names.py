"""The package's public names."""

import subprocess
import sys

import pytest

import geminifusion_export


def test_public_names_are_sorted():
    assert geminifusion_export.__all__ == sorted(geminifusion_export.__all__)


@pytest.mark.parametrize("name", geminifusion_export.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(geminifusion_export, name).__name__ == name
    assert name in dir(geminifusion_export)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'prove'"):
        geminifusion_export.prove  # noqa: B018


def test_importing_the_package_imports_no_library_below_it():
    code = (
        "import sys, geminifusion_export\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'cv2', 'numpy', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

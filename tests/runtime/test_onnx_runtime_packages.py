"""Two packages of ONNX Runtime in one environment are seen by their metadata, before anything is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geminifusion_runtime.onnx_runtime_packages import installed_packages, mixture_problem


@pytest.fixture
def installed(tmp_path):
    def install(*names):
        for name in names:
            folder = tmp_path / f"{name.replace('-', '_')}-1.20.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.20.0\n")
        return [str(tmp_path)]

    return install


@pytest.mark.parametrize(
    "names", [(), ("onnxruntime",), ("onnxruntime-gpu",), ("onnxruntime", "onnxruntime-extensions")]
)
def test_one_package_is_fine(installed, names):
    assert mixture_problem(installed(*names)) is None


def test_a_mixture_is_named_with_the_way_out(installed):
    folders = installed("onnxruntime", "onnxruntime_gpu")
    assert installed_packages(folders) == ("onnxruntime", "onnxruntime-gpu")
    problem = mixture_problem(folders)
    assert problem.startswith("onnxruntime and onnxruntime-gpu are both installed")
    assert problem.endswith('pip uninstall -y onnxruntime onnxruntime-gpu && pip install "geminifusion[service-gpu]"')


def test_metadata_without_a_name_is_no_package(installed, tmp_path):
    (tmp_path / "~nnxruntime-1.20.0.dist-info").mkdir()
    assert mixture_problem(installed("onnxruntime")) is None


def test_the_server_refuses_a_mixture_in_one_sentence(installed):
    (folder,) = installed("onnxruntime-gpu")  # beside the real onnxruntime that the tests run with
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    served = subprocess.run(
        [sys.executable, "-m", "geminifusion", "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        cwd=Path(folder),
        check=False,
    )
    assert served.returncode == 1
    assert served.stderr.startswith("Error: onnxruntime and onnxruntime-gpu are both installed")
    assert "Traceback" not in served.stderr

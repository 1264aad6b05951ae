"""Nothing is reported to anybody, and nothing is left in the home directory."""

import os
import subprocess
import sys

import pytest

SEGMENT = """
import sys, numpy as np, geminifusion
geminifusion.load(sys.argv[1], threads=1)(np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32))
"""
SESSION = """
import sys
from geminifusion_runtime.backends.onnx_runtime import open_session
open_session(sys.argv[1] + "/model.onnx", threads=1)
"""


@pytest.mark.parametrize("script", [SEGMENT, SESSION], ids=["load", "session"])
def test_onnx_runtime_writes_no_device_id_and_sends_nothing(tiny_artifact, tmp_path, script):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    subprocess.run(
        [sys.executable, "-c", script, str(tiny_artifact)], env={**environment, "HOME": str(tmp_path)}, check=True
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

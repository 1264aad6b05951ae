"""The generated stubs are those of the protos in the repository."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def test_generated_stubs_are_current(tmp_path):
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools: pip install -e .[dev]")
    package = tmp_path / "geminifusion_service" / "pb"
    package.mkdir(parents=True)
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc",
            f"--proto_path=geminifusion_service/pb={ROOT / 'protos' / 'geminifusion' / 'v1'}",
            f"--proto_path=geminifusion_service/pb={ROOT / 'protos' / 'inference'}",
            f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}",
            "geminifusion_service/pb/segmentation.proto",
            "geminifusion_service/pb/detection.proto",
            "geminifusion_service/pb/translation.proto",
            "geminifusion_service/pb/open_inference.proto",
        ],
        check=True,
    )  # fmt: skip
    made = sorted(package.iterdir())
    assert len(made) == 12
    for path in made:
        committed = ROOT / "service" / "geminifusion_service" / "pb" / path.name
        assert committed.read_text() == path.read_text(), f"{path.name} is stale; run `make protos`"

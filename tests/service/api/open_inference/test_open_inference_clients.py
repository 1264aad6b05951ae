"""Clients of the protocol that others wrote drive a live server unchanged.

They live in an environment of their own, which `make test-slow` builds: their protobuf messages have the names of ours,
so one process cannot hold both, and what they install is theirs.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from geminifusion_service.pb import open_inference_pb2

CLIENTS = Path(__file__).parent / "clients"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", ["drive_tritonclient.py", "drive_kserve.py"])
def test_a_client_others_wrote_needs_no_change(clients_python, script, live_server, make_pair, tmp_path):
    pair = make_pair(7, 48, 64)
    parts = pair.files()
    np.savez(
        tmp_path / "frame.npz",
        rgb=pair.rgb,
        depth_mm=pair.depth_mm,
        labels=pair.labels,
        mask_file=np.frombuffer(live_server.post(parts).content, np.uint8),
        **{f"{name}_file": np.frombuffer(data, np.uint8) for name, data in parts.items()},
    )
    (tmp_path / "descriptor.binpb").write_bytes(open_inference_pb2.DESCRIPTOR.serialized_pb)
    addresses = [live_server.url.removeprefix("http://"), live_server.grpc_target]
    done = subprocess.run(
        [clients_python, CLIENTS / script, *addresses, "tiny", tmp_path / "descriptor.binpb", tmp_path / "frame.npz"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr

"""The memory limit of the compose file follows from the budget; V14, P8."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import encode

from geminifusion_service.settings import LimitSettings

ROOT = Path(__file__).resolve().parents[3]
MIB = 2**20


def documented():
    """The terms of the formula in docs/guides/deploy.md: MiB for the server, bytes a byte and pixel, MiB a decoder."""
    text = (ROOT / "docs/guides/deploy.md").read_text()
    found = re.search(
        r"(\d+) MiB \+ (\d+) × `max_inflight_bytes` \+ (\d+) bytes × `max_inflight_pixels` "
        r"\+ (\d+) MiB × `decode_workers`",
        text,
    )
    assert found
    return tuple(map(float, found.groups()))


def test_the_compose_file_allows_what_the_formula_says():
    server, of_bytes, of_pixels, decoder = documented()
    limits = LimitSettings()
    compose = (ROOT / "docker-compose.yml").read_text()
    decoders, allowed = (
        int(re.search(rf"{name}: (\d+)", compose)[1]) for name in ("GEMINIFUSION_DECODE_WORKERS", "mem_limit")
    )
    needed = (server + decoder * decoders) * MIB
    needed += of_bytes * limits.max_inflight_bytes + of_pixels * limits.max_inflight_pixels
    assert needed <= allowed * MIB < needed + 512 * MIB


@pytest.mark.slow
def test_pictures_at_once_take_no_more_memory_than_the_formula_says(server_process):
    rgb = encode(".jpg", np.zeros((3000, 4000, 3), np.uint8))
    depth = encode(".png", np.full((3000, 4000), 2000, np.uint16))
    server_mib, of_bytes, of_pixels, _ = documented()
    limits = {"max-inflight-bytes": 64 * MIB, "max-pixels": 12_000_000, "max-inflight-pixels": 32_000_000}
    options = [part for name, value in limits.items() for part in (f"--{name}", value)]
    allowed = of_bytes * limits["max-inflight-bytes"] + of_pixels * limits["max-inflight-pixels"]
    with server_process(*options) as server:
        before, peak, statuses = server.metric("process_resident_memory_bytes"), 0.0, []

        def send():
            statuses.append(server.post({"rgb": rgb, "depth": depth}, format="overlay").status_code)

        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            statm = Path(f"/proc/{server.process.pid}/statm").read_text()
            peak = max(peak, int(statm.split()[1]) * 4096)
            time.sleep(0.02)
        assert statuses == [200] * 12
        assert peak - before < allowed
        assert before < server_mib * MIB

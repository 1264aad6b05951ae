"""The memory limit of the compose file follows from the budget; V08, V14, P8."""

import contextlib
import importlib.util
import re
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.conftest import encode

from geminifusion_service.settings import LimitSettings

ROOT = Path(__file__).resolve().parents[3]
MIB = 2**20
TERMS = ("max_inflight_bytes", "max_inflight_pixels", "max_inflight_elements", "decode_workers")


def documented():
    """The formula in docs/guides/deploy.md: bytes of the server, and bytes for each of a setting by its name."""
    text = " ".join((ROOT / "docs/guides/deploy.md").read_text().replace("\n>", " ").split())
    found = re.search(
        r"(\d+) MiB \+ (\d+) × `max_inflight_bytes` \+ (\d+) bytes × `max_inflight_pixels` "
        r"\+ (\d+) bytes × `max_inflight_elements` \+ (\d+) MiB × `decode_workers`",
        text,
    )
    assert found
    server, of_bytes, of_pixels, of_elements, decoder = map(int, found.groups())
    return server * MIB, dict(zip(TERMS, (of_bytes, of_pixels, of_elements, decoder * MIB), strict=True))


def needed(settings):
    """What clients can make a server hold beside what it has at its start, and what its decoding processes take."""
    return sum(each * settings[name] for name, each in documented()[1].items())


def test_the_compose_file_allows_what_the_formula_says():
    compose = (ROOT / "docker-compose.yml").read_text()
    decoders, allowed = (
        int(re.search(rf"{name}: (\d+)", compose)[1]) for name in ("GEMINIFUSION_DECODE_WORKERS", "mem_limit")
    )
    total = documented()[0] + needed(vars(LimitSettings()) | {"decode_workers": decoders})
    assert total <= allowed * MIB < total + 256 * MIB
    guide = " ".join((ROOT / "docs/guides/deploy.md").read_text().split())
    said = re.search(r"that is ([\d,]+) MiB, and it allows ([\d,]+)", guide)
    assert [int(number.replace(",", "")) for number in said.groups()] == [round(total / MIB), allowed]


def test_the_compose_file_of_a_small_machine_allows_what_the_formula_says():
    compose = (ROOT / "docker/compose.small.yml").read_text()
    assert "GEMINIFUSION_DECODE_ISOLATION: thread" in compose  # so that no decoding process counts
    limits = {name: int(re.search(rf"GEMINIFUSION_{name.upper()}: (\d+)", compose)[1]) for name in TERMS[:3]}
    most_pixels = int(re.search(r"GEMINIFUSION_MAX_PIXELS: (\d+)", compose)[1])
    assert 2 * most_pixels <= limits["max_inflight_pixels"]  # else a single pair could take more
    total = documented()[0] + needed(limits | {"decode_workers": 0})
    assert total <= int(re.search(r"mem_limit: (\d+)m", compose)[1]) * MIB
    guide = " ".join((ROOT / "docs/guides/deploy.md").read_text().split())
    assert int(re.search(r"it needs ([\d]+) MiB of 512", guide)[1]) == round(total / MIB)


def charged_bytes():
    """The function of the benchmarks that counts memory as a container does."""
    path = ROOT / "benchmarks/service/process_figures.py"
    spec = importlib.util.spec_from_file_location("process_figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.charged_bytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_that_clients_can_hold_at_once_takes_no_more_memory_than_the_formula_says(server_process):
    rgb = encode(".jpg", np.zeros((3000, 4000, 3), np.uint8))
    depth = encode(".png", np.full((3000, 4000), 2000, np.uint16))
    numbers = ",".join(str(number % 256) for number in range(900_000))
    tensor = f'{{"name":"rgb","datatype":"UINT8","shape":[1,480,625,3],"data":[{numbers}]}}'
    document = f'{{"inputs":[{tensor}]}}'.encode()
    settings = {
        "max_inflight_bytes": 96 * MIB,
        "max_inflight_pixels": 32_000_000,
        "max_inflight_elements": 2_000_000,
        "decode_workers": 2,
    }
    more = {"max_pixels": 12_000_000, "max_body_bytes": 16 * MIB, "decode_isolation": "process"}
    options = [part for name, value in (settings | more).items() for part in (f"--{name.replace('_', '-')}", value)]
    memory = charged_bytes()
    with server_process(*options) as server:
        before, peak, statuses = memory(server.process.pid), 0, []

        def pictures():
            statuses.append(server.post({"rgb": rgb, "depth": depth}, format="overlay").status_code)

        def tensors():
            url = f"{server.url}/v2/models/tiny_raw/infer"
            statuses.append(httpx.post(url, content=document, trust_env=False, timeout=60).status_code)

        def unfinished():
            def parts():
                for _ in range(12):
                    yield bytes(MIB)
                time.sleep(3)

            httpx.post(f"{server.url}/v1/segment", content=parts(), trust_env=False, timeout=60)

        def send(request):
            with contextlib.suppress(httpx.HTTPError):  # a rejection may come while the rest is sent
                request()

        kinds = (pictures, tensors, unfinished)
        threads = [threading.Thread(target=send, args=(kind,)) for kind in kinds for _ in range(10)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, memory(server.process.pid))
            time.sleep(0.02)
        assert 200 in statuses
        assert set(statuses) <= {200, 400, 429}  # 400: there is no depth with the numbers
        assert before < documented()[0] + documented()[1]["decode_workers"] * settings["decode_workers"]
        assert needed(settings) / 5 < peak - before < needed(settings)  # else nothing was held at once

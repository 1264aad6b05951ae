"""Damaged files by the thousand: each is decoded or refused, in time, and nothing is kept.

`GEMINIFUSION_TEST_FUZZ=100000 pytest -m slow tests/service/fuzz/test_fuzz_images.py` runs more of them.
"""

import io
import os
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.errors import GeminiFusionError

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("GEMINIFUSION_TEST_FUZZ", "5000"))
MAX_PIXELS = 1_000_000
LONGEST_S = 2.0  # a decoder that is led in circles would take far longer
RANDOM = np.random.default_rng(0)
COLOR = cv2.resize(RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8), (97, 61))
DEPTH = cv2.resize(RANDOM.integers(300, 9000, (6, 8)).astype(np.uint16), (97, 61))


def encoded(suffix, image, *options):
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


SEEDS = [
    encoded(".png", COLOR),
    encoded(".png", np.dstack([COLOR, COLOR[..., 0]])),
    encoded(".png", COLOR.astype(np.uint16) * 256),
    encoded(".png", DEPTH),
    encoded(".png", COLOR[..., 0]),
    encoded(".jpg", COLOR),
    encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 80),
    encoded(".tiff", DEPTH),
    encoded(".tiff", DEPTH.astype(np.float32) / 1000),
    npy(DEPTH),
    npy(DEPTH.astype(np.float64)),
]


def mutated(random):
    """A seed with one to eight bytes changed, cut out, doubled or put in, or with numbers of its head blown up."""
    data = bytearray(SEEDS[random.integers(len(SEEDS))])
    for _ in range(random.integers(1, 9)):
        # heads are where decoders are led astray
        position = int(random.integers(min(len(data), 64) if random.random() < 0.5 else len(data)))
        kind = random.integers(5)
        if kind == 0:
            data[position] = random.integers(256)
        elif kind == 1:
            data[position] ^= 1 << random.integers(8)
        elif kind == 2:
            del data[position : position + int(random.integers(1, 40))]
        elif kind == 3:
            data[position:position] = data[position : position + int(random.integers(1, 40))]
        else:
            data[position : position + 4] = random.choice(
                [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"]
            )
        if not data:
            break
    return bytes(data)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_damaged_file_is_decoded_or_refused_in_time_and_leaves_nothing():
    random = np.random.default_rng(7)
    decoded = refused = 0
    statuses = set()
    warm_bytes = None
    for number in range(COUNT):
        data = mutated(random)
        for decode in (decode_rgb, decode_depth):
            started = time.monotonic()
            try:
                decode(data, max_pixels=MAX_PIXELS, **({"depth_scale": 0.001} if decode is decode_depth else {}))
                decoded += 1
            except GeminiFusionError as error:
                statuses.add(int(error.http_status))
                refused += 1
            assert time.monotonic() - started < LONGEST_S, data[:100]
        if number == COUNT // 5:
            warm_bytes = resident_bytes()
    assert statuses <= {400, 413, 415, 422}
    assert decoded > COUNT // 50
    assert refused > COUNT // 2
    assert resident_bytes() < warm_bytes + 64 * 2**20


def test_a_server_refuses_damaged_files_and_goes_on(live_server, pair):
    random = np.random.default_rng(11)
    with httpx.Client(trust_env=False, timeout=20) as client:
        for _ in range(COUNT // 10):
            field = ("rgb", "depth")[random.integers(2)]
            response = client.post(f"{live_server.url}/v1/segment", files=pair.files(**{field: mutated(random)}))
            assert response.status_code < 500, response.text
    assert live_server.post(pair.files()).status_code == 200

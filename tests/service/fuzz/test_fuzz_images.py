"""Damaged files by the thousand: each is decoded or refused, in time, and nothing is kept.

`GEMINIFUSION_TEST_FUZZ=100000 pytest -m slow tests/service/fuzz/test_fuzz_images.py` runs more of them.
"""

import io
import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from tests.service.fuzz.mutations import mutated

from geminifusion_runtime.decoding.decode import decode_modality
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


def png(pixels, bits, color_type, *chunks):
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", 97, 61, bits, color_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


EXIF = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
JPEG, TIFF = encoded(".jpg", COLOR), encoded(".tiff", DEPTH)
SEEDS = [
    JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(EXIF) + 8) + b"Exif\0\0" + EXIF + JPEG[2:],
    png(COLOR, 8, 2, (b"eXIf", EXIF)),
    png(COLOR[..., 0], 8, 3, (b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes(256))),
    png(np.packbits(COLOR[..., 0] > 99, axis=1), 1, 0),
    TIFF.replace(struct.pack("<HHIHH", 284, 3, 1, 1, 0), struct.pack("<HHIHH", 274, 3, 1, 6, 0)),
    b"P5\n# camera\n97 61\n65535\n" + DEPTH.astype(">u2").tobytes(),
    b"P6 97 61 255\n" + COLOR.tobytes(),
    bytes(12) + encoded(".png", DEPTH),
    npy(DEPTH.astype(">u2")),
    npy(np.where(DEPTH > 4000, 3.4e38, DEPTH).astype(np.float32)),
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


def damaged(random):
    """One of the seeds; heads are where decoders are led astray."""
    data = mutated(random, SEEDS[random.integers(len(SEEDS))], in_head=0.5, head=64)
    # a wrong checksum would keep what is behind it from the decoders
    return with_checksums(bytearray(data)) if random.random() < 0.5 else data


def with_checksums(data):
    """A PNG whose chunks have the checksums of what they hold now."""
    position = 8
    while data[1:4] == b"PNG" and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(data)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_damaged_file_is_decoded_or_refused_in_time_and_leaves_nothing(make_spec):
    random = np.random.default_rng(7)
    inputs = [
        (make_spec("rgb", "imagenet"), {}),
        (make_spec("depth", "metric", "metre"), {"scale": 0.001}),
        (make_spec("thermal"), {}),
        (make_spec("thermal", unit="count"), {"invalid": (65535.0,)}),
        (make_spec("hha", "hha"), {"intrinsics": (90.0, 90.0, 48.0, 30.0)}),
    ]
    decoded = refused = 0
    statuses = set()
    warm_bytes = None
    for number in range(COUNT):
        data = damaged(random)
        for spec, options in inputs[: 4 if number % 20 else 5]:  # HHA takes ten times as long as the others
            started = time.monotonic()
            try:
                image = decode_modality(data, spec, max_pixels=MAX_PIXELS, **options)
                health = image.health
                assert np.isfinite([health.holes, health.saturated, health.noise]).all(), data[:100]
                assert image.array.dtype == spec.dtype, data[:100]
                assert spec.unit != "metre" or np.isfinite(image.array).all(), data[:100]
                decoded += 1
            except GeminiFusionError as error:
                statuses.add(int(error.http_status))
                refused += 1
            assert time.monotonic() - started < LONGEST_S, data[:100]
        if number == COUNT // 5:
            warm_bytes = resident_bytes()
    print(f"{COUNT} files: {decoded} decoded, {refused} refused, {resident_bytes() / 2**20:.0f} MiB resident")
    assert statuses <= {400, 413, 415, 422}
    assert decoded > COUNT // 50
    assert refused > COUNT // 2
    assert resident_bytes() < warm_bytes + 64 * 2**20


def test_a_server_refuses_damaged_files_and_goes_on(live_server, pair):
    random = np.random.default_rng(11)
    with httpx.Client(trust_env=False, timeout=20) as client:
        for _ in range(COUNT // 10):
            field = ("rgb", "depth")[random.integers(2)]
            files = pair.files(**{field: damaged(random)})
            response = client.post(f"{live_server.url}/v1/segment", params={"align": "resize"}, files=files)
            assert response.status_code < 500, response.text
    assert live_server.post(pair.files()).status_code == 200

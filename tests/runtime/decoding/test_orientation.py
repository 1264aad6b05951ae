"""Pixels are taken as stored, whatever a tag says about how to hold the picture; the client is told."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from geminifusion_runtime.decoding.decode import decode_modality
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.orientation import read_orientation

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
DEPTH_MM = RNG.integers(500, 9000, (24, 40)).astype(np.uint16)
METRES = DEPTH_MM * np.float32(0.001)


def exif(orientation, order="<"):
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def encode(suffix, image, *options):
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def oriented_jpeg(orientation, order):
    plain, block = encode(".jpg", RGB[..., ::-1]), b"Exif\0\0" + exif(orientation, order)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def oriented_png(orientation, order):
    plain, block = encode(".png", RGB[..., ::-1]), b"eXIf" + exif(orientation, order)
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    return plain[:33] + chunk + plain[33:]


def oriented_webp(orientation, order):
    plain, block = encode(".webp", RGB[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, 101), exif(orientation, order)
    extended = b"VP8X" + struct.pack("<IIHBHB", 10, 0b1000, 39, 0, 23, 0)
    tail = b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    body = b"WEBP" + extended + plain[12:] + tail
    return b"RIFF" + struct.pack("<I", len(body)) + body


def oriented_tiff(pixels, orientation, order="<", kind=3):
    height, width = pixels.shape
    sample_format = 3 if pixels.dtype.kind == "f" else 1
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, 8 * pixels.itemsize), (259, 3, 1), (262, 3, 1), (273, 4, 8)),
        *((274, kind, orientation), (277, 3, 1), (278, 4, height), (279, 4, pixels.nbytes), (339, 3, sample_format)),
    ]
    values = {3: "HH", 4: "I"}
    entries = b"".join(
        struct.pack(order + "HHI" + values[of_type], tag, of_type, 1, value, *([0] if of_type == 3 else []))
        for tag, of_type, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + pixels.nbytes)
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return head + stored + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [DEPTH_MM, METRES], ids=["uint16", "float32"])
def test_a_tiff_is_read_as_stored(pixels, orientation, order):
    for kind in (3, 4):
        data = oriented_tiff(pixels, orientation, order, kind)
        assert read_orientation(data) == orientation
        np.testing.assert_array_equal(decode_depth(data, max_pixels=10_000).metres, METRES)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("make", [oriented_jpeg, oriented_png, oriented_webp])
def test_a_picture_is_read_as_stored_and_its_client_told(make, order, make_spec):
    spec = make_spec("rgb", "imagenet")
    as_stored = decode_rgb(make(1, order), max_pixels=10_000)
    assert read_orientation(make(1, order)) == 1
    for orientation in (2, 3, 6, 8):
        image = decode_modality(make(orientation, order), spec, max_pixels=10_000)
        np.testing.assert_array_equal(image.array, as_stored)
        (warning,) = image.warnings
        assert f"orientation tag ({orientation})" in warning
    assert decode_modality(make(1, order), spec, max_pixels=10_000).warnings == ()


def test_damaged_metadata_is_no_orientation():
    random = np.random.default_rng(5)
    for data in (oriented_jpeg(6, "<"), oriented_png(6, ">"), oriented_webp(6, "<"), oriented_tiff(DEPTH_MM, 6)):
        for _ in range(200):
            mutant = bytearray(data[: random.integers(1, len(data))])
            mutant[random.integers(min(len(mutant), 120))] = random.integers(256)
            assert 1 <= read_orientation(bytes(mutant)) <= 8

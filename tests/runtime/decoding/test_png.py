"""The fast decoders give the bits of OpenCV, and notice what it notices."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.decoding.png import PngError, decode_png
from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_runtime.png_encoder import SIGNATURE, chunk

RANDOM = np.random.default_rng(0)
SMOOTH = cv2.resize(RANDOM.integers(0, 256, (9, 11, 3), dtype=np.uint8), (333, 217), interpolation=cv2.INTER_CUBIC)
DEPTH = cv2.resize(RANDOM.integers(400, 9000, (9, 11)).astype(np.uint16), (333, 217))


def encode(suffix, image, *options):
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def by_opencv(data, flags=cv2.IMREAD_COLOR_RGB):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)


@pytest.mark.parametrize("strategy", range(5))
@pytest.mark.parametrize("filters", [8, 16, 32, 64, 128, 248], ids=["none", "sub", "up", "average", "paeth", "all"])
def test_colour_with_every_row_filter_has_the_bits_of_opencv(strategy, filters):
    data = encode(".png", SMOOTH, cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, filters)
    np.testing.assert_array_equal(decode_rgb(data, max_pixels=10**6), by_opencv(data))


@pytest.mark.parametrize("image", [DEPTH, (DEPTH >> 6).astype(np.uint8)], ids=["16 bits", "8 bits"])
def test_grey_has_the_bits_of_opencv(image):
    data = encode(".png", image)
    np.testing.assert_array_equal(decode_png(data), image)
    metres = decode_depth(data, max_pixels=10**6, depth_scale=0.01).metres
    np.testing.assert_array_equal(metres, image * np.float32(0.01))


@pytest.mark.parametrize("sampling", [0x411111, 0x420000, 0x422111, 0x440000, 0x444111])
def test_jpeg_of_every_subsampling_has_the_bits_of_opencv(sampling):
    flags = (cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    for extra in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)):
        data = encode(".jpg", SMOOTH, *flags, *extra)
        np.testing.assert_array_equal(decode_rgb(data, max_pixels=10**6), by_opencv(data))


def test_other_kinds_are_left_to_opencv():
    with_alpha = encode(".png", np.dstack([SMOOTH, SMOOTH[..., 0]]))
    sixteen = encode(".png", SMOOTH.astype(np.uint16))
    assert decode_png(with_alpha) is None
    assert decode_png(sixteen) is None
    np.testing.assert_array_equal(decode_rgb(with_alpha, max_pixels=10**6), by_opencv(with_alpha))


def written(rows, width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def test_pixels_may_come_in_many_chunks():
    packed = zlib.compress(bytes((1 + 5) * 4))
    header = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    parts = b"".join(chunk(b"IDAT", packed[i : i + 3]) for i in range(0, len(packed), 3))
    data = SIGNATURE + chunk(b"IHDR", header) + parts + chunk(b"IEND")
    np.testing.assert_array_equal(decode_png(data), np.zeros((4, 5)))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (bytes(6 * 4 - 1), "one byte short"),
        (bytes(6 * 4 + 1), "one byte more"),
        (bytes(60_000_000), "a bomb"),
        (bytes([9] * 6 * 4), "no such filter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_do_not_fit_the_header_are_refused(rows, why):
    data = written(rows, 5, 4)
    with pytest.raises(PngError):
        decode_png(data)
    with pytest.raises(UndecodableImageError):
        decode_depth(data, max_pixels=100, depth_scale=1.0)


def test_a_damaged_stream_under_a_right_checksum_is_refused():
    packed = bytearray(zlib.compress(bytes(6 * 4)))
    packed[-1] ^= 1  # of the Adler-32 at its end
    header = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND")
    with pytest.raises(PngError):
        decode_png(data)

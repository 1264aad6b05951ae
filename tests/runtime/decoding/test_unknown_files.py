"""What is no image of ours is called by its name, and the message says what to send instead."""

import base64

import cv2
import numpy as np
import pytest

from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError, UnsupportedImageError

PNG = cv2.imencode(".png", np.ones((4, 4), np.uint16))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.ones((4, 4, 3), np.uint8))[1].tobytes()
JPEG_LS = b"\xff\xd8\xff\xf7\0\x11\x08\x01\xe0\x02\x80\x03\x01\x11\0\x02\x11\0\x03\x11\0\xff\xda\0\x06" + bytes(99)

CASES = {
    "ROS, 16UC1": (bytes(12) + PNG, UndecodableImageError, r"compressedDepth.*data\[12:\]"),
    "ROS, 32FC1": (bytes(4) + b"\0\0\x80\x3f\0\0\x80\x3f" + PNG, UndecodableImageError, "32FC1.*inverse"),
    "a length before it": (b"\0\0\1\0" + JPEG, UndecodableImageError, "JPEG begins at byte 4"),
    "base64": (base64.b64encode(PNG), UndecodableImageError, "PNG as base64"),
    "a data URI": (b"data:image/jpeg;base64," + base64.b64encode(JPEG), UndecodableImageError, "JPEG as base64"),
    "JPEG-LS": (JPEG_LS, UnsupportedImageError, "JPEG-LS"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", UnsupportedImageError, "JPEG 2000"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(20), UnsupportedImageError, "HEIC"),
    "OpenEXR": (b"v/1\1" + bytes(20), UnsupportedImageError, "OpenEXR"),
    "npz": (b"PK\3\4" + bytes(20), UnsupportedImageError, "npz"),
    "BMP": (cv2.imencode(".bmp", np.ones((4, 4, 3), np.uint8))[1].tobytes(), UnsupportedImageError, "BMP"),
    "PGM of text": (b"P2\n2 2\n255\n1 2 3 4", UnsupportedImageError, "PGM of text"),
    "text": (b"BMW is a car and no bitmap", UndecodableImageError, "no image"),
    "nothing": (b"", UndecodableImageError, "no image: its 0 bytes"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_called_what_it_is(case):
    data, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        read_header(data, "depth")


@pytest.mark.parametrize("shape", [(1, 6, 8), (3, 6, 8), (6,), (1, 1, 6, 8)])
def test_an_array_in_another_layout_is_described_by_its_shape(shape):
    import io

    stream = io.BytesIO()
    np.save(stream, np.ones(shape, np.float32))
    with pytest.raises(UnsupportedImageError) as caught:
        read_header(stream.getvalue(), "depth")
    assert str(shape) in str(caught.value)
    assert "height x width" in str(caught.value)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("comment", [b"", b"# written by a camera\n"])
def test_binary_pgm_and_ppm_are_big_endian_pixels(bits, comment):
    from geminifusion_runtime.decoding.images import decode_pixels, decode_rgb

    values = np.random.default_rng(1).integers(0, 2**bits, (6, 9)).astype(f"u{bits // 8}")
    data = b"P5\n" + comment + b"9 6\n%d\n" % (2**bits - 1) + values.astype(f">u{bits // 8}").tobytes()
    header = read_header(data, "depth")
    assert (header.format, header.width, header.height, header.bits, header.channels) == ("pgm", 9, 6, bits, 1)
    np.testing.assert_array_equal(decode_pixels(data, header, "depth"), values)
    with pytest.raises(UndecodableImageError, match="cut short"):
        read_header(data[:-1], "depth")
    if bits == 8:
        color = np.random.default_rng(2).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        np.testing.assert_array_equal(decode_rgb(b"P6 9 6 255\n" + color.tobytes(), max_pixels=100), color)
        np.testing.assert_array_equal(decode_rgb(data, max_pixels=100)[..., 2], values)
        with pytest.raises(UnsupportedImageError, match="largest value is 200"):
            decode_rgb(b"P5 9 6 200\n" + values.tobytes(), max_pixels=100)


def test_damaged_netpbm_raises_nothing_but_our_errors():
    random = np.random.default_rng(8)
    data = b"P5\n# x\n9 6\n65535\n" + bytes(108)
    for _ in range(500):
        mutant = bytearray(data)
        mutant[random.integers(2, 20)] = random.integers(256)
        try:
            read_header(bytes(mutant), "depth")
        except GeminiFusionError:
            continue

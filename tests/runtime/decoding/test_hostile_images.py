"""Small files that announce much: refused for it before anything is made of them; V01, V04, V15, V16, V20."""

import io
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from geminifusion_runtime.decoding.image_headers import declared_pixels, read_header
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError, UnsupportedImageError

LIMIT = 2**25
MOST_BYTES = 2**21  # what a refusal may take


def tiff(tags, content=b"", order="<"):
    """A TIFF of one directory; tags are (number, type, count, value or offset)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + bytes(4) + content


def depth_tags(width, height, pieces):
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        *pieces,
    ]


def tiles(width, height, tile, content):
    tags = [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 14 + 120), (325, 4, 1, len(content))]
    return tiff(depth_tags(width, height, tags), content)


def shared_arrays(num_tags, size=200_000):
    """Tags that all have the same bytes as their values."""
    at = 14 + 12 * num_tags
    count = (size - at) // 2
    return tiff([(1000 + index, 3, count, at) for index in range(num_tags)], bytes(2 * count))


def strips(count):
    """An image of 4x4 pixels in so many strips, all the same bytes."""
    at = 14 + 12 * 8
    tags = [(273, 4, count, at), (279, 4, count, at + 4 * count)]
    return tiff(depth_tags(4, 4, tags), struct.pack("<I", 8) * 2 * count)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*extra, width=4, height=4):
    rows = zlib.compress(bytes((1 + 3 * width) * height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_of_scans(width, height, num_scans, between=b""):
    """A progressive JPEG whose scans say in a few bytes that all coefficients are zero."""
    head = b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    head += b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    head += b"".join(bytes([component, 0x11, 0]) for component in (1, 2, 3))
    for table, symbol in ((0, b"\0"), (16, b"\xe0")):
        head += b"\xff\xc4" + struct.pack(">HB", 20, table) + bytes([1] + [0] * 15) + symbol
    bits = ("0" + "1" * 14) * -(-((width + 7) // 8) * ((height + 7) // 8) // 32767)
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scans = [
        b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1 + index % 3, 0, 1, 63, 0]) + coded + between
        for index in range(num_scans)
    ]
    return head + b"".join(scans) + b"\xff\xd9"


def npy(descr, shape, num_bytes=0):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(num_bytes)


def refusal(data):
    """What both decoders say; checks that it took neither time nor memory."""
    errors = []
    for decode in (decode_rgb, decode_depth):
        tracemalloc.start()
        started = time.process_time()
        with pytest.raises(GeminiFusionError) as raised:
            decode(data, max_pixels=LIMIT)
        assert time.process_time() - started < 0.5
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
        tracemalloc.stop()
        errors.append(raised.value)
    assert str(errors[0]).replace("rgb", "") == str(errors[1]).replace("depth", ""), "it was not refused by its header"
    return errors[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (shared_arrays(100), "announces more values than the file holds"),
        (shared_arrays(2, size=300_000), "announces more values than the file holds"),
        (tiff([(1000 + index, 3, 1, 0) for index in range(2000)]), "has 2000 tags"),
        (tiff([(256, 4, 1, 4), (257, 4, 1, 4), (256, 4, 1, 4000)]), "has tag 256 twice"),
        (tiff([(256, 1, 1, 4), (257, 4, 1, 4)]), "stores tag 256 as type 1"),
        (tiff([(256, 3, 2, 4), (257, 4, 1, 4)]), "has 2 values in tag 256"),
        (strips(1000), "has 1000 pieces, more than its size needs"),
        (tiles(320, 240, 21_008, zlib.compress(bytes(1000))), "has tiles of 21008x21008 pixels"),
        (tiles(4, 4, 0, b"12345678"), "has tiles of 0x0 pixels"),
    ],
    ids=[
        "shared array",
        "two shared",
        "many tags",
        "twice",
        "odd type",
        "two widths",
        "many strips",
        "huge",
        "no size",
    ],
)
def test_a_tiff_that_announces_more_than_it_holds_is_refused(data, message):
    error = refusal(data)
    assert isinstance(error, UndecodableImageError)
    assert message in str(error)


def test_a_small_tiff_may_have_a_usual_tile():
    values = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    padded = np.zeros((256, 256), np.uint16)
    padded[:48, :64] = values
    assert np.array_equal(
        np.rint(decode_depth(tiles(64, 48, 256, padded.tobytes()), max_pixels=LIMIT).metres * 1000), values
    )


def test_a_png_of_empty_chunks_is_refused():
    error = refusal(png(chunk(b"IDAT", b"") * 10_000))
    assert isinstance(error, UndecodableImageError)
    assert "far more chunks" in str(error)


def test_a_png_in_many_small_chunks_is_read():
    rows = zlib.compress(bytes((1 + 3 * 500) * 400), level=0)
    parts = [chunk(b"IDAT", rows[at : at + 200]) for at in range(0, len(rows), 200)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 500, 400, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND", b"")
    assert len(parts) > 3000
    assert decode_rgb(data, max_pixels=LIMIT).shape == (400, 500, 3)


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"\xff\x01",  # a marker without content, whose next bytes are no length
        b"\xff\xfe\x00\x08\xff\xd9\xff\xd9\xff\xd9",  # end markers inside a comment
        b"\xff\xff\xff\xff",  # fill bytes
        b"\xff\xd0\xff\xd7",
    ],
    ids=["plain", "marker without content", "ends in a comment", "fill bytes", "restarts"],
)
def test_a_jpeg_of_many_scans_is_refused(between):
    error = refusal(jpeg_of_scans(1000, 1000, 65, between))
    assert isinstance(error, UndecodableImageError)
    assert "more than 64 scans" in str(error)


def test_the_usual_scans_and_restarts_are_decoded():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for options in ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]):
        done, data = cv2.imencode(".jpg", noise, options)
        assert done
        assert decode_rgb(data.tobytes(), max_pixels=LIMIT).shape == (240, 320, 3)


def test_a_jpeg_whose_size_a_decoder_would_read_elsewhere_is_refused():
    """A marker without content that is taken for a segment would hide the frame header that decoders go by."""
    large, small = jpeg_of_scans(3000, 3000, 1), jpeg_of_scans(16, 16, 1)
    hidden = large[2:]
    data = b"\xff\xd8\xff\x01" + struct.pack(">H", 2 + len(hidden)) + hidden + small[2:]
    assert isinstance(refusal(data), UndecodableImageError)


def test_fill_bytes_before_a_marker_take_no_loop():
    assert isinstance(refusal(b"\xff\xd8" + b"\xff" * 5_000_000), UndecodableImageError)


@pytest.mark.parametrize(
    ("descr", "shape", "num_bytes"),
    [
        ("('<f4',(2,))", "(4,4)", 128),
        ("'|V0'", "(4,4)", 0),
        ("'|S0'", "(4,4)", 0),
        ("'|V0'", f"({'9' * 400},{'9' * 400})", 0),
        ("'<f4'", "(True,True)", 4),
        ("'<f4'", f"(0,{'9' * 400})", 0),
        ("'<c8'", "(4,4)", 128),
        ("'?'", "(4,4)", 16),
        ("[('a','<f4')]", "(4,4)", 64),
        ("'<f4'", "(" + "1," * 3000 + ")", 4),
        ("'<f4'", "[" * 2000, 4),
    ],
)
def test_an_npy_of_what_is_not_served_is_refused(descr, shape, num_bytes):
    assert isinstance(refusal(npy(descr, shape, num_bytes)), UndecodableImageError | UnsupportedImageError)


def test_npy_numbers_of_every_served_type_are_read():
    for kind in "fiu":
        for size in (1, 2, 4, 8) if kind != "f" else (2, 4, 8):
            stream = io.BytesIO()
            np.save(stream, np.ones((4, 6), np.dtype(f"{kind}{size}")))
            assert (read_header(stream.getvalue(), "depth").height, read_header(stream.getvalue(), "depth").bits) == (
                4,
                8 * size,
            )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_declared_pixels_are_those_of_the_image(suffix):
    done, data = cv2.imencode(suffix, np.zeros((30, 50, 3), np.uint8))
    assert done
    assert declared_pixels(data.tobytes()) == 1500


def test_declared_pixels_of_what_is_no_image_are_none():
    assert declared_pixels(b"no image") == 0
    assert declared_pixels(b"\x89PNG\r\n\x1a\n") == 0
    assert declared_pixels(shared_arrays(10)) == 0
    assert declared_pixels(npy("'<f4'", "(3,4)", 48)) == 12

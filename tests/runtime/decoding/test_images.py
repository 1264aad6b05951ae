"""Posted bytes: what is read, what is refused and before what, and that nothing else ever escapes."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
from geminifusion_runtime.errors import (
    DepthScaleRequiredError,
    GeminiFusionError,
    ImageTooLargeError,
    UndecodableImageError,
    UnsupportedImageError,
)

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
DEPTH_MM = RNG.integers(1, 9000, (24, 40)).astype(np.uint16)
METRES = DEPTH_MM * np.float32(0.001)
LIMIT = 1_000_000


def encode(suffix, image, *options):
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, color_type, rows, *extra):
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)),
            *extra,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


COLOR = {
    "png": encode(".png", RGB[..., ::-1]),
    "jpeg": encode(".jpg", RGB[..., ::-1]),
    "progressive jpeg": encode(".jpg", RGB[..., ::-1], cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "lossy webp": encode(".webp", RGB[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": encode(".webp", RGB[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, 101),
    "webp with alpha": encode(".webp", np.dstack([RGB, RGB[..., 0]]), cv2.IMWRITE_WEBP_QUALITY, 101),
}
DEPTH = {
    "png": encode(".png", DEPTH_MM),
    "uint16 tiff": encode(".tiff", DEPTH_MM),
    "float tiff": encode(".tiff", METRES),
    "uint16 npy": npy(DEPTH_MM),
    "float npy": npy(METRES),
    "double npy": npy(METRES.astype(np.float64)),
    "big-endian npy": npy(METRES.astype(">f4")),
    "Fortran npy": npy(np.asfortranarray(METRES)),
    "npy with an axis of one": npy(METRES[..., None]),
}


@pytest.mark.parametrize("kind", COLOR)
def test_colour_formats_are_read_and_their_headers_agree(kind):
    header = read_header(COLOR[kind], "rgb")
    assert (header.height, header.width) == (24, 40)
    image = decode_rgb(COLOR[kind], max_pixels=LIMIT)
    assert image.shape == (24, 40, 3)
    assert image.dtype == np.uint8
    if kind in ("png", "lossless webp"):
        np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize("kind", DEPTH)
def test_depth_formats_are_read_in_metres(kind):
    depth = decode_depth(DEPTH[kind], max_pixels=LIMIT)
    assert depth.metres.dtype == np.float32
    assert depth.metres.flags.c_contiguous
    np.testing.assert_array_equal(depth.metres, METRES)
    assert depth.warnings == ()


def test_grey_is_spread_over_three_channels():
    image = decode_rgb(encode(".png", RGB[..., 0]), max_pixels=LIMIT)
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))


def test_alpha_is_dropped():
    with_alpha = encode(".png", np.dstack([RGB[..., ::-1], np.zeros((24, 40), np.uint8)]))
    np.testing.assert_array_equal(decode_rgb(with_alpha, max_pixels=LIMIT), RGB)


def test_a_palette_is_looked_up():
    rows = b"".join(b"\0" + bytes(row) for row in ([0, 1], [1, 0]))
    image = png(2, 2, 8, 3, rows, chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])))
    red, blue = [255, 0, 0], [0, 0, 255]
    assert decode_rgb(image, max_pixels=LIMIT).tolist() == [[red, blue], [blue, red]]


@pytest.mark.parametrize("colors", [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE], ids=["color", "gray"])
def test_an_exif_orientation_is_not_applied_because_depth_has_none(colors):
    turned = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + turned
    pixels = cv2.imdecode(np.frombuffer(COLOR["jpeg"], np.uint8), colors)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()  # another decoder has those in gray
    rotated = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    np.testing.assert_array_equal(decode_rgb(rotated, max_pixels=LIMIT), decode_rgb(jpeg, max_pixels=LIMIT))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    assert decode_rgb(COLOR["jpeg"] + b"\0" * 100, max_pixels=LIMIT).shape == (24, 40, 3)


@pytest.mark.parametrize("kind", COLOR)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_cut_colour_file_is_refused_not_half_grey(kind, share):
    data = COLOR[kind]
    with pytest.raises(UndecodableImageError):
        decode_rgb(data[: int(len(data) * share)], max_pixels=LIMIT)


@pytest.mark.parametrize("kind", DEPTH)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_cut_depth_file_is_refused(kind, share):
    data = DEPTH[kind]
    with pytest.raises(UndecodableImageError):
        decode_depth(data[: int(len(data) * share)], max_pixels=LIMIT)


def test_a_cut_jpeg_is_refused_although_its_thumbnail_has_an_end():
    thumbnail = COLOR["jpeg"]
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = thumbnail[:2] + segment + thumbnail[2:]
    assert decode_rgb(whole, max_pixels=LIMIT).shape == (24, 40, 3)
    with pytest.raises(UndecodableImageError):
        decode_rgb(whole[:-50], max_pixels=LIMIT)


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(COLOR["png"])
    data[len(data) // 2] ^= 1
    with pytest.raises(UndecodableImageError):
        decode_rgb(bytes(data), max_pixels=LIMIT)


def test_text_is_named_as_no_image():
    with pytest.raises(UndecodableImageError, match="no image"):
        decode_rgb(b"hello, this is a text file\n", max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["png", "jpeg", "lossless webp"])
def test_too_many_pixels_are_refused_from_the_header(kind):
    with pytest.raises(ImageTooLargeError, match="40x24"):
        decode_rgb(COLOR[kind], max_pixels=24 * 40 - 1)


@pytest.mark.parametrize("kind", DEPTH)
def test_too_many_depth_pixels_are_refused_from_the_header(kind):
    with pytest.raises(ImageTooLargeError, match="40x24"):
        decode_depth(DEPTH[kind], max_pixels=24 * 40 - 1)


SOF = b"\xff\xc0\x00\x11\x08\x00\x18\x00\x28"  # frame header of a baseline JPEG, up to its number of channels

UNSUPPORTED_COLOR = {
    "16-bit colour": encode(".png", RGB.astype(np.uint16) * 256),
    "16-bit grey": encode(".png", DEPTH_MM),
    "tiff": encode(".tiff", RGB),
    "npy": npy(RGB),
    "CMYK": COLOR["jpeg"].replace(SOF + b"\x03", SOF + b"\x04"),
    "lossless jpeg": COLOR["jpeg"].replace(b"\xff\xc0\x00\x11", b"\xff\xc3\x00\x11"),
    "animated png": png(1, 1, 8, 0, b"\0\0", chunk(b"acTL", bytes(8))),
    "animated webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + bytes(14),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNSUPPORTED_COLOR)
def test_colour_we_would_have_to_guess_at_is_refused(kind):
    with pytest.raises(UnsupportedImageError, match="rgb"):
        decode_rgb(UNSUPPORTED_COLOR[kind], max_pixels=LIMIT)


DEFLATE_TAG = struct.pack("<HHIHH", 259, 3, 1, 8, 0)
ZSTD_TIFF = encode(".tiff", DEPTH_MM, cv2.IMWRITE_TIFF_COMPRESSION, 8).replace(
    DEFLATE_TAG, struct.pack("<HHIHH", 259, 3, 1, 50000, 0)
)

UNSUPPORTED_DEPTH = {
    "colour png": COLOR["png"],
    "jpeg": COLOR["jpeg"],
    "palette png": png(1, 1, 8, 3, b"\0\0", chunk(b"PLTE", bytes(3))),
    "1-bit png": png(8, 1, 1, 0, b"\0\xff"),
    "8-bit tiff": encode(".tiff", RGB[..., 0]),
    "colour tiff": encode(".tiff", RGB),
    "int32 npy": npy(DEPTH_MM.astype(np.int32)),
    "npy of objects": npy(np.array([[None]], dtype=object)),
    "npy of one axis": npy(METRES[0]),
    "npy of three channels": npy(np.dstack([METRES] * 3)),
    "big tiff": b"II+\0\x08\0\0\0" + bytes(40),
    "zstd tiff": ZSTD_TIFF,
}


@pytest.mark.parametrize("kind", UNSUPPORTED_DEPTH)
def test_depth_we_would_have_to_guess_at_is_refused(kind):
    with pytest.raises(UnsupportedImageError, match="depth"):
        decode_depth(UNSUPPORTED_DEPTH[kind], max_pixels=LIMIT)


@pytest.mark.parametrize("depth", [DEPTH_MM, METRES], ids=["uint16", "float32"])
@pytest.mark.parametrize("predictor", [1, 2], ids=["plain", "differences"])
@pytest.mark.parametrize("compression", [1, 5, 8, 32946, 32773])
def test_a_tiff_of_every_usual_compression_is_read_exactly(depth, predictor, compression):
    predictor = 3 if predictor == 2 and depth.dtype == np.float32 else predictor
    options = (cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor)
    np.testing.assert_array_equal(decode_depth(encode(".tiff", depth, *options), max_pixels=LIMIT).metres, METRES)


def test_another_compression_is_named_and_not_called_damage():
    with pytest.raises(UnsupportedImageError, match=r"method 50000.*deflate"):
        decode_depth(ZSTD_TIFF, max_pixels=LIMIT)


def test_8_bit_depth_needs_a_scale_and_is_read_with_one():
    data = encode(".png", RGB[..., 0])
    with pytest.raises(DepthScaleRequiredError, match="depth_scale"):
        decode_depth(data, max_pixels=LIMIT)
    metres = decode_depth(data, max_pixels=LIMIT, depth_scale=0.04).metres
    np.testing.assert_allclose(metres, RGB[..., 0] * 0.04, rtol=1e-6)


@pytest.mark.parametrize("make", [COLOR.values, DEPTH.values])
def test_mutated_files_raise_nothing_but_our_errors(make):
    rng = np.random.default_rng(11)
    for data in make():
        for _ in range(150):
            mutant = bytearray(data)
            for _ in range(rng.integers(1, 5)):
                span = min(len(mutant), 200) if rng.random() < 0.5 else len(mutant)  # half of them in the header
                mutant[rng.integers(span)] = rng.integers(256)
            cut = bytes(mutant[: rng.integers(1, len(mutant) + 1)]) if rng.random() < 0.3 else bytes(mutant)
            for decode in (decode_rgb, decode_depth):
                try:
                    decode(cut, max_pixels=LIMIT)
                except GeminiFusionError:
                    continue

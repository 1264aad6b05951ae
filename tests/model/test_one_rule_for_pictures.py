"""Training and serving read the same files to the same arrays, or refuse them with the same words.

The files are of every kind that people have, made on the spot.
"""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from geminifusion_model.data import image_files
from geminifusion_model.data.sample import DatasetError
from geminifusion_runtime.decoding.decode import decode_modality
from geminifusion_runtime.errors import GeminiFusionError

RNG = np.random.default_rng(4)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEPTH_MM = RNG.integers(500, 9000, (24, 40)).astype(np.uint16)
METRES = DEPTH_MM * np.float32(0.001)
HEIGHT, WIDTH = GREY.shape
_PALETTE, _GREY, _RGB, _GREY_ALPHA, _RGBA = 3, 0, 2, 4, 6


def encode(suffix, image, *options):
    done, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, list(options))
    assert done
    return data.tobytes()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, bits, color_type, *extra):
    """A PNG of any kind: pixels are whole numbers, `H W` or `H W C`."""
    height, width = pixels.shape[:2]
    if bits < 8:
        digits = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = np.packbits(digits.reshape(height, -1), axis=1)
    else:
        rows = pixels.astype(">u2" if bits == 16 else "u1")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif(orientation):
    return b"II" + struct.pack("<HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg_with(orientation):
    plain, block = encode(".jpg", RGB), b"Exif\0\0" + exif(orientation)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def tiff(pixels, order="<", orientation=1, photometric=1, pages=1):
    """A TIFF in one strip, of one channel."""
    height, width = pixels.shape
    kinds = {"u": 1, "i": 2, "f": 3}
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, 8 * pixels.itemsize), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (274, 3, orientation), (277, 3, 1), (278, 4, height), (279, 4, pixels.nbytes)),
        (339, 3, kinds[pixels.dtype.kind]),
    ]
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, kind, value in tags
    )
    directory = struct.pack(order + "H", len(tags)) + entries
    start = 8 + pixels.nbytes
    following = start + len(directory) + 4
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    if pages == 1:
        return head + stored + directory + struct.pack(order + "I", 0)
    return head + stored + directory + struct.pack(order + "I", following) + directory + struct.pack(order + "I", 0)


PLTE = chunk(b"PLTE", RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
SHORT_PLTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
SOF = b"\xff\xc0\x00\x11\x08\x00\x18\x00\x28"

COLOR_FILES = {
    "png": encode(".png", RGB),
    "jpeg": encode(".jpg", RGB),
    "progressive jpeg": encode(".jpg", RGB, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "grey jpeg": encode(".jpg", GREY),
    **{f"jpeg with orientation {number}": jpeg_with(number) for number in range(1, 9)},
    "png with orientation": png(RGB, 8, _RGB, chunk(b"eXIf", exif(6))),
    "cmyk jpeg": encode(".jpg", RGB).replace(SOF + b"\x03", SOF + b"\x04"),
    "cut jpeg": encode(".jpg", RGB)[:-40],
    "lossy webp": encode(".webp", RGB, cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": encode(".webp", RGB, cv2.IMWRITE_WEBP_QUALITY, 101),
    "palette": png(GREY, 8, _PALETTE, PLTE),
    "palette with transparency": png(GREY, 8, _PALETTE, PLTE, chunk(b"tRNS", bytes(range(256)))),
    "palette of 1 bit": png(GREY % 2, 1, _PALETTE, SHORT_PLTE),
    **{f"grey of {bits} bits": png(GREY & (2**bits - 1), bits, _GREY) for bits in (1, 2, 4, 8)},
    "grey of 16 bits": png(DEPTH_MM, 16, _GREY),
    "colour of 16 bits": png(RGB.astype(np.uint16) * 257, 16, _RGB),
    "grey and alpha": png(np.dstack([GREY, GREY]), 8, _GREY_ALPHA),
    "alpha": png(np.dstack([RGB, GREY]), 8, _RGBA),
    "alpha 0": png(np.dstack([RGB, np.zeros_like(GREY)]), 8, _RGBA),
    "alpha of 16 bits": png(np.dstack([RGB, GREY]).astype(np.uint16) * 257, 16, _RGBA),
    "ppm": b"P6\n# camera\n40 24\n255\n" + RGB.tobytes(),
    "pgm": b"P5 40 24 255\n" + GREY.tobytes(),
    "ppm of 16 bits": b"P6 40 24 65535\n" + (RGB.astype(">u2") * 257).tobytes(),
    "pgm up to 200": b"P5 40 24 200\n" + (GREY % 200).tobytes(),
    "bmp": encode(".bmp", RGB),
    "gif": b"GIF89a(\0\x18\0\0\0\0;",
    "tiff": encode(".tiff", RGB),
    "npy": npy(RGB),
    "npz": b"PK\3\4" + bytes(40),
    "text": b"no picture at all, but some text",
    "nothing": b"",
}

DEPTH_FILES = {
    "png of 16 bits": png(DEPTH_MM, 16, _GREY),
    "palette": png(GREY, 8, _PALETTE, PLTE),
    "grey of 1 bit": png(GREY % 2, 1, _GREY),
    "grey of 4 bits": png(GREY % 16, 4, _GREY),
    "grey and alpha of 16 bits": png(np.dstack([DEPTH_MM, DEPTH_MM]), 16, _GREY_ALPHA),
    "colour": encode(".png", RGB),
    "colour of 16 bits": png(np.dstack([DEPTH_MM] * 3), 16, _RGB),
    "jpeg": encode(".jpg", GREY),
    **{
        f"{pixels.dtype} tiff {order} with orientation {number}": tiff(pixels, order, number)
        for pixels in (DEPTH_MM, METRES)
        for order in "<>"
        for number in range(1, 9)
    },
    "tiff, white is 0": tiff(DEPTH_MM, photometric=0),
    "tiff of several pages": tiff(DEPTH_MM, pages=2),
    "tiff of 8 bits": tiff(GREY),
    "tiff of signed numbers": tiff(DEPTH_MM.astype(np.int16)),
    "tiff of doubles": tiff(METRES.astype(np.float64)),
    "lzw tiff": encode(".tiff", DEPTH_MM, cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "cut tiff": tiff(DEPTH_MM)[:-30],
    "big tiff": b"II+\0\x08\0\0\0" + bytes(40),
    "pgm": b"P5 40 24 65535\n" + DEPTH_MM.astype(">u2").tobytes(),
    **{f"npy {kind}": npy(DEPTH_MM.astype(kind)) for kind in ("<u2", ">u2", "<i2", "<i4", "<u4", "<i8", "?")},
    **{f"npy {kind}": npy(METRES.astype(kind)) for kind in ("<f2", "<f4", ">f4", "<f8", ">f8")},
    "npy in Fortran's order": npy(np.asfortranarray(DEPTH_MM)),
    "npy H W 1": npy(METRES[..., None]),
    "npy 1 H W": npy(METRES[None]),
    "npy H W 3": npy(np.dstack([METRES] * 3)),
    "npy of holes": npy(np.where(DEPTH_MM % 5, METRES, np.nan)),
    "npy with no data as a number": npy(np.where(DEPTH_MM % 5, METRES, np.finfo(np.float32).max)),
    "npy of negative numbers": npy(np.where(DEPTH_MM % 5, METRES, -1).astype(np.float32)),
    "npy of objects": npy(np.array([[None]], dtype=object)),
    "text": b"no picture at all, but some text",
    "nothing": b"",
}


def served(data, spec, **options):
    """The array, or the message of the refusal."""
    try:
        return decode_modality(data, spec, max_pixels=10_000, **options).array
    except GeminiFusionError as error:
        return str(error)


def trained(read, path, data, name, *arguments):
    """The same of a reader of training, whose messages name the file and speak to its owner."""
    path.write_bytes(data)
    try:
        return read(path, *arguments)
    except DatasetError as error:
        return str(error).removeprefix(f"{path}: ").replace(str(path), name).replace("; store ", "; send ")


def assert_same(ours, theirs):
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
    else:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", COLOR_FILES)
def test_colour_is_read_or_refused_alike(tmp_path, make_spec, kind):
    data = COLOR_FILES[kind]
    assert_same(
        trained(image_files.read_rgb, tmp_path / "file", data, "rgb"), served(data, make_spec("rgb", "imagenet"))
    )


@pytest.mark.parametrize("kind", DEPTH_FILES)
def test_depth_is_read_or_refused_alike(tmp_path, make_spec, kind):
    data, spec = DEPTH_FILES[kind], make_spec("depth", "metric", "metre")
    assert_same(trained(image_files.read_metres, tmp_path / "file", data, "depth", None), served(data, spec))


def test_depth_of_8_bits_is_read_alike_where_its_unit_is_given(tmp_path, make_spec):
    data, spec = png(RGB[..., 0], 8, 0), make_spec("depth", "metric", "metre")
    ours = trained(image_files.read_metres, tmp_path / "file", data, "depth", 0.04)
    assert_same(ours, served(data, spec, scale=0.04))
    np.testing.assert_allclose(ours, RGB[..., 0] * 0.04, rtol=1e-6)


def test_depth_of_8_bits_without_a_unit_is_refused_alike(tmp_path, make_spec):
    data = png(RGB[..., 0], 8, 0)
    assert "or say depth_scale=<metres per unit>" in served(data, make_spec("depth", "metric", "metre"))
    (tmp_path / "depth.png").write_bytes(data)
    with pytest.raises(DatasetError, match=r"depth\.png has 8 bits, .*; give metres_per_unit"):
        image_files.read_metres(tmp_path / "depth.png", None)


def test_what_is_read_is_right(tmp_path, make_spec):
    """Both could be wrong alike: of those that store the scene without loss, all show it."""
    same = [kind for kind in DEPTH_FILES if kind.startswith(("uint16 tiff", "float32 tiff", "npy <u2", "npy >", "pgm"))]
    for kind in [*same, "png of 16 bits", "lzw tiff", "npy H W 1", "npy in Fortran's order"]:
        np.testing.assert_allclose(served(DEPTH_FILES[kind], make_spec("depth", "metric", "metre")), METRES, rtol=1e-6)
    for kind in ("png", "lossless webp", "alpha", "alpha 0", "ppm", "png with orientation"):
        np.testing.assert_array_equal(served(COLOR_FILES[kind], make_spec("rgb", "imagenet")), RGB)


THERMAL = {
    "16 bits": png(DEPTH_MM, 16, 0),
    "8 bits": png(RGB[..., 0], 8, 0),
    "colour": png(RGB, 8, 2),
    "grey in three channels": png(np.dstack([RGB[..., 0]] * 3), 8, 2),
    **{f"depth as {kind}": data for kind, data in DEPTH_FILES.items()},
}


@pytest.mark.parametrize("kind", THERMAL)
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_of_other_sensors_are_read_or_refused_alike(tmp_path, make_spec, kind, bits):
    from geminifusion_model.task import ModalityEncoding

    unit = {8: "intensity", 16: "count"}[bits]
    spec = make_spec("thermal", unit=unit)
    encoding = ModalityEncoding(
        name="thermal", encoding="raw", unit=unit, range=spec.range, mean=spec.mean, std=spec.std
    )
    data = THERMAL[kind]
    ours = trained(image_files.read_picture, tmp_path / "file", data, "thermal", encoding)
    theirs = served(data, spec)
    if isinstance(ours, str) and "thermal is declared with" in ours:  # where the bits are at fault, training says which
        assert isinstance(theirs, str)  # setting mends it, which a client could not change
    else:
        assert_same(ours, theirs if isinstance(theirs, str) else theirs.astype(np.float32))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", ">f4"])
def test_arrays_of_a_sensor_are_taken_in_any_byte_order(make_spec, dtype):
    spec = make_spec("thermal", unit="count")
    np.testing.assert_array_equal(served(DEPTH_MM.astype(dtype), spec), DEPTH_MM)

"""What a file is that no decoder here reads, in words: the first bytes say more than "no image" does."""

from __future__ import annotations

import base64
import binascii

from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError, UnsupportedImageError

EXPECTED = "expected PNG, JPEG or WebP for colour, PNG, TIFF, PGM or npy for depth"
_PNG = b"\x89PNG\r\n\x1a\n"
# Signatures of formats that hold images, or files of them, by their offset.
_FORMATS = (
    (0, b"GIF8", "a GIF"),
    (0, b"v/1\x01", "an OpenEXR file"),
    (0, b"#?RADIANCE", "a Radiance HDR file"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftyp", "HEIC, AVIF or a video"),
    (0, b"PK\x03\x04", "a ZIP archive, such as an npz"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"Pf", "a PFM"),
    (0, b"PF", "a PFM"),
    (0, b"P1", "a PBM"),
    (0, b"P2", "a PGM of text (P2)"),
    (0, b"P3", "a PPM of text (P3)"),
    (0, b"P4", "a PBM"),
    (0, b"P7", "a PAM"),
    (128, b"DICM", "a DICOM file"),
)
_FURTHEST = 64  # bytes that a transport puts before a file
_SIGNATURES = {_PNG: "PNG", b"\xff\xd8\xff": "JPEG"}
_ROS_HEADER = 12  # of compressedDepth: a format and two parameters of the quantization


def unknown_file_error(data: bytes, field: str) -> GeminiFusionError:
    """The error for bytes that begin like no image that is read here.

    Args:
        data: what came.
        field: its name in the request.
    """
    start = f"{field} is no image: its {len(data)} bytes start with {data[:12]!r}"
    for offset, signature, name in _FORMATS:
        if data[offset : offset + len(signature)] == signature:
            return UnsupportedImageError(f"{field} is {name}, which is not read here; {EXPECTED}")
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return UnsupportedImageError(f"{field} is a BMP, which is not read here; {EXPECTED}")
    if (encoded := _image_in_base64(data)) is not None:
        return UndecodableImageError(f"{field} is {encoded} as base64 text; send the bytes of the file themselves")
    for signature, name in _SIGNATURES.items():
        position = data.find(signature, 1, _FURTHEST + len(signature))
        if position == _ROS_HEADER and signature == _PNG:
            return UndecodableImageError(f"{start}, and a PNG follows: {_compressed_depth(data)}")
        if position > 0:
            return UndecodableImageError(
                f"{start}, and a {name} begins at byte {position}; send what follows from there"
            )
    return UndecodableImageError(f"{start}; {EXPECTED}")


def _compressed_depth(data: bytes) -> str:
    if any(data[4:_ROS_HEADER]):  # the parameters, which only floats have
        return (
            "this is ROS's compressedDepth of a 32FC1 image, which stores quantized inverse distances; send the "
            "decompressed image in metres, as npy or TIFF"
        )
    return "this is ROS's compressedDepth; send the PNG alone, data[12:]"


def _image_in_base64(data: bytes) -> str | None:
    """The format of an image that comes as base64 text, with or without the prefix of a data URI."""
    text = data[:200].lstrip()
    if text.startswith(b"data:"):
        text = text.partition(b",")[2]
    try:
        first = base64.b64decode(text[:16], validate=True)
    except (binascii.Error, ValueError):
        return None
    if first[:4] in (b"II*\x00", b"MM\x00*"):
        return "a TIFF"
    if first[:4] == b"RIFF":
        return "a WebP"
    return next((f"a {name}" for signature, name in _SIGNATURES.items() if first.startswith(signature)), None)

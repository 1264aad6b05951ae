"""Encodings of depth for the network, and the statistics each is normalized with."""

from __future__ import annotations

import math

from geminifusion_model.task import ModalityEncoding

DEPTH_ENCODINGS = ("metric", "inverse", "log", "hha", "raw")


def depth_encoding(
    encoding: str, *, name: str = "depth", near_m: float, far_m: float, mean_m: float, std_m: float
) -> ModalityEncoding:
    """The encoding of a depth map whose measured metres have this range, mean and deviation.

    `inverse` and `log` are normalized to first order with the mean and deviation of the metres, so that a depth at the
    mean becomes about 0 and one deviation away about 1.

    Raises:
        ValueError: the encoding is unknown, or the range does not fit it.
    """
    if encoding == "metric":
        mean, std = mean_m, std_m
    elif encoding == "inverse":
        mean, std = 1.0 / mean_m, std_m / mean_m**2
    elif encoding == "log":
        mean, std = math.log(mean_m), std_m / mean_m
    elif encoding == "hha":
        return hha_encoding(name)
    else:
        raise ValueError(
            f"depth encoding is {encoding!r}; expected {', '.join(DEPTH_ENCODINGS[:-1])} for depth in metres"
        )
    # the pointwise encodings divide by the nearest depth, or take its logarithm
    low = 0.0 if encoding == "metric" else near_m
    return ModalityEncoding(name=name, encoding=encoding, unit="metre", range=(low, far_m), mean=(mean,), std=(std,))


def hha_encoding(name: str = "depth") -> ModalityEncoding:
    """HHA images, three channels of 0…255, scaled to 0…1 as the original does with every image."""
    return ModalityEncoding(
        name=name, encoding="hha", unit="intensity", range=(0.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3
    )


def raw_encoding(name: str, channels: int, *, bits: int = 8) -> ModalityEncoding:
    """Stored values divided by 255, whatever their unit, as the original does.

    Args:
        channels: 1 (repeated to three) or 3.
        bits: of the files; 16-bit values become up to 257.
    """
    return ModalityEncoding(
        name=name,
        encoding="raw",
        unit="intensity" if bits == 8 else "count",
        range=(0.0, 1.0 if bits == 8 else 65535.0),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def raw_metres_encoding(name: str, metres_per_unit: float) -> ModalityEncoding:
    """Stored depth values divided by 255, fed from metres: a stored value is `metres / metres_per_unit`.

    Units of 1 cm and more are taken for 8-bit files, whose largest value is 255, finer ones for 16-bit files; no larger
    distance reaches the network.
    """
    largest = 255 if metres_per_unit >= 0.01 else 65535
    return ModalityEncoding(
        name=name,
        encoding="raw",
        unit="metre",
        range=(0.0, largest * metres_per_unit),
        mean=(0.0,),
        std=(1.0,),
        metres_per_unit=metres_per_unit,
    )

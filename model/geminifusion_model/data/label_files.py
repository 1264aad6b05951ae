"""Reading label files: the numbers or colors as stored, and the classes they stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.image_files import MAX_PIXELS, read_bytes, unreadable
from geminifusion_model.data.png_indices import decode_indices
from geminifusion_model.data.sample import DatasetError
from geminifusion_runtime.decoding.image_headers import ImageHeader, read_header
from geminifusion_runtime.decoding.images import check_pixels, check_tiff_compression, decode_pixels
from geminifusion_runtime.errors import GeminiFusionError

Color = tuple[int, int, int]
Channel = Literal["red", "green", "blue"]

_CHANNELS = {"red": 0, "green": 1, "blue": 2}
_LOSSY = ("jpeg", "webp")  # neighbors of an outline get values of their own
_WITH_ALPHA = (2, 4)  # channels
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class LabelCode:
    """What stored label values mean.

    A value is looked up in `void`, then in `mapping`; without a mapping its class is the value plus `offset`. With
    `colors` the files are pictures and only the colors are looked up.

    Args:
        num_classes: classes are 0 to `num_classes` - 1.
        void: stored values that are not scored; NaN among them stands for every NaN.
        mapping: stored value to class, or to `ignore_index`; what is not in it has no class.
        colors: RGB to class, or to `ignore_index`.
        channel: where the classes lie in pictures of three channels; None expects three equal ones. Of no effect on
            files of one channel.
        remedy: what to do about a value without a class, for the message, where `VALUE` stands for one of them.
    """

    num_classes: int
    offset: int = 0
    void: tuple[float, ...] = (255,)
    mapping: Mapping[int, int] | None = None
    colors: Mapping[Color, int] | None = None
    channel: Channel | None = None
    ignore_index: int = 255
    remedy: str = "are these the labels of another set of classes?"

    def class_of(self, value: float) -> int | None:
        """The class of a stored number, `ignore_index` for void, None if it has none."""
        if value in self.void or (math.isnan(value) and any(map(math.isnan, self.void))):
            return self.ignore_index
        if not float(value).is_integer():
            return None
        if self.mapping is not None:
            return self.mapping.get(int(value))
        index = int(value) + self.offset
        return index if 0 <= index < self.num_classes else None

    def expected(self) -> str:
        """The stored values that have a meaning, in words."""
        if self.colors is not None:
            return f"the {len(self.colors)} listed colors"
        void = f", void {', '.join(f'{value:g}' for value in self.void)}" if self.void else ""
        if self.mapping is not None:
            return f"{', '.join(map(str, sorted(self.mapping)))}{void}"
        return f"{-self.offset} to {self.num_classes - 1 - self.offset}{void}"


@dataclass(frozen=True, kw_only=True)
class LabelImage:
    """A label file, read.

    Args:
        classes: `H W` uint8, the ignore value where void.
        unmapped: pixels by stored value (a color as `#rrggbb`), of those without a class. In `classes` they are the
            value plus the offset if that is a byte, else the ignore value.
    """

    classes: NDArray[np.uint8]
    unmapped: Mapping[str, int]

    def describe_unmapped(self) -> str:
        """The values without a class, the most frequent first."""
        listed = sorted(self.unmapped.items(), key=lambda entry: -entry[1])
        shown = ", ".join(f"{value} on {count} pixels" for value, count in listed[:_SHOWN])
        more = len(listed) - _SHOWN
        return f"{shown} and {more} other values" if more > 0 else shown

    def remedy(self, code: LabelCode) -> str:
        """What to do about them."""
        most = max(self.unmapped, key=lambda value: self.unmapped[value])
        return code.remedy.replace("VALUE", most)


def read_labels(path: Path, code: LabelCode) -> LabelImage:
    """The classes of a label file: PNG (also with a palette, of 1 to 16 bits), TIFF or npy.

    An alpha channel has to be opaque everywhere. Which entries of a palette are drawn transparent is only for display.

    Raises:
        DatasetError: the file is missing or damaged, or of a kind that cannot hold classes.
    """
    data = read_bytes(path)
    try:
        header = read_header(data, str(path))
        check_pixels(header, MAX_PIXELS, str(path))
        check_tiff_compression(header, str(path))
        if header.format in _LOSSY:
            raise DatasetError(
                f"{path} is {header.format.upper()}, whose compression changes label values; write labels as PNG"
            )
        stored = _stored(data, header, path, code)
    except GeminiFusionError as error:
        raise DatasetError(unreadable(error)) from None
    if code.colors is not None:
        return _classes_of_colors(stored, path, code)
    return _classes_of_numbers(_one_channel(stored, path, code), code)


def _stored(data: bytes, header: ImageHeader, path: Path, code: LabelCode) -> NDArray[np.generic]:
    if code.colors is None and header.format == "png":
        indices = decode_indices(data)
        if indices is not None:
            return indices
    if header.format == "tiff" and header.bits < 8:
        raise DatasetError(f"{path} is a TIFF of {header.bits} bits per pixel; write labels as PNG")
    if header.format == "tiff" and header.channels == 2:
        raise DatasetError(f"{path} is a TIFF in grey with alpha, which is not read; write labels without alpha")
    stored = decode_pixels(data, header, str(path), keep_alpha=True)
    if header.format != "npy" and stored.ndim == 3 and stored.shape[2] == 4:
        if header.channels in _WITH_ALPHA:
            _check_opaque(stored[..., 3], path)
        stored = stored[..., :3]
    if header.channels == 1 and stored.ndim == 3 and code.colors is None:
        raise DatasetError(f"{path} is a {header.format.upper()} with a palette; write labels as PNG")
    if stored.dtype.kind not in "uifb":
        raise DatasetError(f"{path} is of dtype {stored.dtype}; write labels as whole numbers")
    return stored


def _check_opaque(alpha: NDArray[np.generic], path: Path) -> None:
    opaque = 1 if alpha.dtype.kind == "f" else 2 ** (8 * alpha.dtype.itemsize) - 1
    see_through = np.count_nonzero(alpha != opaque)
    if see_through:
        raise DatasetError(
            f"{path} has alpha, and {see_through} of its {alpha.size} pixels are not opaque, which no class says; "
            "write labels without alpha, and what is unlabeled as a value of its own, listed in labels.void"
        )


def _one_channel(stored: NDArray[np.generic], path: Path, code: LabelCode) -> NDArray[np.generic]:
    """One number a pixel; of three channels the chosen one, or any if all are equal."""
    if stored.ndim == 2:
        return stored
    channels = stored.shape[2]
    if channels == 1:
        return stored[..., 0]
    if channels != 3:
        raise DatasetError(f"{path} has {channels} channels; expected one number a pixel, or three channels")
    if code.channel is not None:
        return stored[..., _CHANNELS[code.channel]]
    if (stored == stored[..., :1]).all():
        return stored[..., 0]
    raise DatasetError(
        f"{path} is a picture in colors, and nothing says what they mean; list them in labels.colors "
        "('#rrggbb': CLASS), or name the channel that holds the classes: labels.channel: red"
    )


def _classes_of_numbers(stored: NDArray[np.generic], code: LabelCode) -> LabelImage:
    if stored.dtype == np.bool_:
        stored = stored.astype(np.uint8)
    if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
        counts = np.bincount(stored.ravel(), minlength=2 ** (8 * stored.dtype.itemsize))
        values = np.flatnonzero(counts)
        table = np.zeros(counts.size, np.uint8)
        table[values], unmapped = _table([float(v) for v in values], counts[values], code)
        return LabelImage(classes=table[stored.astype(np.intp, copy=False)], unmapped=unmapped)
    numbers: NDArray[np.generic] = stored
    found, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    entries, unmapped = _table([float(v) for v in found], counts, code)
    return LabelImage(classes=entries[places].reshape(stored.shape), unmapped=unmapped)


def _table(
    values: list[float], counts: NDArray[np.integer], code: LabelCode
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    entries = np.full(len(values), code.ignore_index, np.uint8)
    unmapped: dict[str, int] = {}
    for place, value in enumerate(values):
        index = code.class_of(value)
        if index is None:
            unmapped[f"{value:.17g}"] = int(counts[place])
            index = int(value) + code.offset if math.isfinite(value) else code.ignore_index
        entries[place] = index if 0 <= index <= code.ignore_index else code.ignore_index
    return entries, unmapped


def _classes_of_colors(stored: NDArray[np.generic], path: Path, code: LabelCode) -> LabelImage:
    assert code.colors is not None
    if stored.ndim == 2:
        stored = np.repeat(stored[..., None], 3, axis=2)
    if stored.dtype != np.uint8 or stored.shape[2] != 3:
        raise DatasetError(
            f"{path} has {stored.shape[2]} channels of {stored.dtype}; labels.colors needs RGB of 8 bits per channel"
        )
    red, green, blue = (stored[..., channel].astype(np.uint32) for channel in range(3))
    packed = red << 16 | green << 8 | blue
    listed = sorted((r << 16 | g << 8 | b, index) for (r, g, b), index in code.colors.items())
    known = np.array([color for color, _ in listed], np.uint32)
    places = np.minimum(np.searchsorted(known, packed), len(known) - 1)
    is_known = known[places] == packed
    classes = np.where(is_known, np.array([index for _, index in listed], np.uint8)[places], code.ignore_index)
    colors, counts = np.unique(packed[~is_known], return_counts=True)
    unmapped = {f"#{color:06x}": int(count) for color, count in zip(colors, counts, strict=True)}
    return LabelImage(classes=classes.astype(np.uint8), unmapped=unmapped)

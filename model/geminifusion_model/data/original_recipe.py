"""The original authors' augmentation, accidents included, so that their training can be repeated.

In their order: colors, mirror image, blur, then a resized crop. Interpolation is torch's, as theirs. Three things a
new recipe would not do, kept because they decide what the published weights saw:

- the crop may start one pixel beyond the last full position and is then padded by a line;
- depth is interpolated between surfaces, and holes are mixed with their surroundings;
- on floats of 0…255 the color jitter of their library clamps to 0…1, so the RGB of every fifth frame is blank.

Where their pipeline goes on with floats, a `Sample` has bytes: its RGB is rounded to the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch.nn import functional as F

from geminifusion_model.data.sample import Sample

Floats = NDArray[np.float32]

_GRAY = np.array([0.2989, 0.587, 0.114], np.float32)
_JITTER_RANGE = (0.5, 1.5)


@dataclass(frozen=True, kw_only=True)
class OriginalAugmentation:
    """The original authors' augmentation.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    style: Literal["original"] = "original"
    """Tells this augmentation from ours."""
    crop: tuple[int, int]
    """Height and width of the result, pixels."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor, drawn uniformly, between the crop's size and the size that the frame is fitted to."""
    jitter: float = 0.2
    """Probability of changed brightness, contrast and saturation."""
    flip: float = 0.5
    """Probability of a left-right mirror image."""
    blur: float = 0.2
    """Probability of a Gaussian blur of the RGB, 3x3 with a deviation of 0.8."""
    color_jitter_blanks_rgb: bool = True
    """Reproduce the accident that leaves a jittered RGB next to 0 everywhere: theirs on NYUv2 and SUN RGB-D, not on
    DeLiVER."""
    antialias: bool = False
    """Low-pass filter before reducing, as newer versions of their library do."""

    def __post_init__(self) -> None:
        if min(self.crop) < 32:
            raise ValueError(f"crop is {self.crop}; expected at least 32x32")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is {self.scale}; expected 0 < low <= high")
        for name in ("jitter", "flip", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a probability, 0 to 1")


def augment_as_original(
    sample: Sample, how: OriginalAugmentation, rng: np.random.Generator, ignore_index: int
) -> Sample:
    """A random variant of `sample`, of size `how.crop`; the same generator state gives the same result."""
    rgb = sample.rgb.astype(np.float32)
    others: dict[str, Floats] = dict(sample.others)
    labels = sample.labels
    if rng.random() < how.jitter:
        factors = tuple(float(f) for f in rng.uniform(*_JITTER_RANGE, 3))
        rgb = jitter_colors(rgb, factors, blank=how.color_jitter_blanks_rgb)
    if rng.random() < how.flip:
        rgb, labels = rgb[:, ::-1], labels[:, ::-1]
        others = {name: values[:, ::-1] for name, values in others.items()}
    if rng.random() < how.blur:
        rgb = blurred(rgb)
    size = fitted_size(labels.shape, how.crop, float(rng.uniform(*how.scale)))
    # integers' end is exclusive: one more than the margin is drawn as well
    start = tuple(int(rng.integers(0, max(s - c, 0) + 2)) for s, c in zip(size, how.crop, strict=True))
    place = (start[0], start[1])

    def window(image: NDArray[np.generic], mode: str, fill: int) -> Floats:
        return padded_crop(resized(image, size, mode, how.antialias), place, how.crop, fill)

    return Sample(
        sample.name,
        np.rint(window(rgb, "bilinear", 0)).clip(0, 255).astype(np.uint8),
        {name: window(values, "bilinear", 0) for name, values in others.items()},
        window(labels, "nearest", ignore_index).astype(np.uint8),
    )


def fitted_size(size: tuple[int, ...], crop: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Height and width a frame of `size` is resized to, keeping its shape.

    It fits into a box as high as the crop and four times as wide, both times `ratio`, lying or standing as the frame
    does; so the height decides unless the frame is a panorama.
    """
    box = (int(crop[0] * ratio), int(crop[1] * 4 * ratio))
    factor = min(max(box) / max(size), min(box) / min(size))
    return int(size[0] * factor + 0.5), int(size[1] * factor + 0.5)


def evaluation_sizes(size: tuple[int, ...], shortest: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two sizes a frame is resized to, one after the other, in the original's evaluation.

    First its shorter side becomes `shortest`, then both sides are rounded up to multiples of 32.
    """
    factor = shortest / min(size)
    first = (round(size[0] * factor), round(size[1] * factor))
    return first, (-(-first[0] // 32) * 32, -(-first[1] // 32) * 32)


def resized(image: NDArray[np.generic], size: tuple[int, int], mode: str, antialias: bool = False) -> Floats:
    """`image`, `H W` or `H W C`, at another size as float32; `mode` is bilinear or nearest."""
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32).reshape(*image.shape[:2], -1))
    stack = planes.permute(2, 0, 1)[None]
    if mode == "nearest":
        scaled = F.interpolate(stack, size=size, mode="nearest")
    else:
        scaled = F.interpolate(stack, size=size, mode=mode, align_corners=False, antialias=antialias)
    found: Floats = scaled[0].permute(1, 2, 0).numpy()
    return found if image.ndim == 3 else found[..., 0]


def padded_crop(image: Floats, start: tuple[int, int], crop: tuple[int, int], fill: int) -> Floats:
    """The window of size `crop` from `start`; what is missing at the right and bottom is `fill`."""
    out = np.full((*crop, *image.shape[2:]), fill, np.float32)
    part = image[start[0] : start[0] + crop[0], start[1] : start[1] + crop[1]]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def jitter_colors(rgb: Floats, factors: tuple[float, ...], *, blank: bool) -> Floats:
    """Brightness, contrast and saturation multiplied by `factors`, in this order.

    Args:
        rgb: `H W 3` of 0…255.
        blank: clamp each step to 0…1 instead of 0…255, which leaves no image; otherwise values are cut to whole
            numbers after each step, as on bytes.
    """
    brightness, contrast, saturation = factors
    top = 1.0 if blank else 255.0

    def blended(values: Floats, other: Floats | float, factor: float) -> Floats:
        mixed = np.clip(np.float32(factor) * values + np.float32(1 - factor) * other, 0.0, top)
        return (mixed if blank else np.floor(mixed)).astype(np.float32, copy=False)

    def gray(values: Floats) -> Floats:
        mixed: Floats = values @ _GRAY
        return mixed if blank else np.floor(mixed)

    bright = blended(rgb, 0.0, brightness)
    contrasted = blended(bright, float(gray(bright).mean()), contrast)
    return blended(contrasted, gray(contrasted)[..., None], saturation)


def blurred(rgb: Floats) -> Floats:
    """A 3x3 Gaussian blur with a deviation of 0.8, reflecting at the border."""
    found = cv2.GaussianBlur(np.ascontiguousarray(rgb), (3, 3), 0.8, borderType=cv2.BORDER_REFLECT_101)
    return found.astype(np.float32, copy=False)

"""Resizing, cropping and mirroring of encoded images, the same for all images of a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from geminifusion_model.translation.domains import Domain, DomainError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MULTIPLE = 32  # of pixels: five levels halve the image, and the decoder adds them up again
_BLACK = -1.0
_TRUSTED_SHARE = 0.5  # of the pixels that one is averaged from


@dataclass(frozen=True, kw_only=True)
class TranslationAugmentation:
    """Random variation of training images, as TokenFusion's: resize, crop, mirror.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    enlarged: float = 286 / 256
    """Factor over the final size to which images are resized before they are cropped; 1 is no variation."""
    flip: float = 0.5
    """Probability of a left-right mirror image."""
    as_published: bool = False
    """Repeat two accidents of the published code: a crop may begin one pixel too late and get a black line, and the
    normals of a mirrored image keep pointing as before."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.enlarged <= 2.0:
            raise ValueError(f"enlarged is {self.enlarged}; expected a factor from 1 to 2")
        if not 0.0 <= self.flip <= 1.0:
            raise ValueError(f"flip is {self.flip}; expected a probability, 0 to 1")


@dataclass(frozen=True)
class Place:
    """A drawn variation: left and upper edge of the crop in the enlarged image, and whether it is mirrored."""

    x: int
    y: int
    mirrored: bool


def check_size(size: tuple[int, int]) -> None:
    """Refuse a height and width that no translator can compute.

    Raises:
        DomainError: a side is not a positive multiple of 32.
    """
    if any(side < MULTIPLE or side % MULTIPLE for side in size):
        raise DomainError(
            f"size is {size[0]}x{size[1]}; expected multiples of {MULTIPLE} both ways, such as 256x256, "
            "because the network halves the image five times"
        )


def enlarged_size(size: tuple[int, int], how: TranslationAugmentation) -> tuple[int, int]:
    """Height and width to which images are resized before a crop of `size`."""
    return round(size[0] * how.enlarged), round(size[1] * how.enlarged)


def draw_place(size: tuple[int, int], how: TranslationAugmentation, rng: np.random.Generator) -> Place:
    """A random place for a crop of `size`, height and width."""
    height, width = enlarged_size(size, how)
    further = 1 if how.as_published else 0
    x = int(rng.integers(0, width - size[1] + further, endpoint=True))
    y = int(rng.integers(0, height - size[0] + further, endpoint=True))
    return Place(x, y, bool(rng.random() < how.flip))


def resized(image: Floats, size: tuple[int, int]) -> Floats:
    """An image at another size, each pixel the mean of those it covers: bilinear with antialiasing, as Pillow's.

    Args:
        image: `H W` or `H W C`.
        size: height and width.
    """
    result = image
    for axis in range(2):
        if result.shape[axis] != size[axis]:
            result = _resampled(result, axis, size[axis])
    return np.ascontiguousarray(result, np.float32)


def resized_where_measured(image: Floats, measured: Mask, size: tuple[int, int]) -> Floats:
    """As `resized`, of the measured pixels alone; 0 where none was."""
    if measured.all():
        return resized(image, size)
    wide = (..., None) if image.ndim == 3 else (...,)
    share = resized(measured.astype(np.float32), size)[wide]
    total = resized(image * measured[wide], size)
    return np.where(share > 0, total / np.maximum(share, 1e-6), 0).astype(np.float32)


def resized_mask(measured: Mask, size: tuple[int, int]) -> Mask:
    """Which pixels of an image of `size` are averaged from measured ones, by half or more."""
    if measured.all():
        return np.ones(size, np.bool_)
    return resized(measured.astype(np.float32), size) >= _TRUSTED_SHARE


def cropped(image: NDArray[np.generic], place: Place, size: tuple[int, int], fill: float) -> NDArray[np.generic]:
    """The crop of `size`, mirrored if drawn so; what lies outside the image is `fill`."""
    out = np.full((*size, *image.shape[2:]), fill, image.dtype)
    part = image[place.y : place.y + size[0], place.x : place.x + size[1]]
    out[: part.shape[0], : part.shape[1]] = part
    return np.ascontiguousarray(out[:, ::-1]) if place.mirrored else out


def varied(
    images: Mapping[str, Floats],
    measured: Mapping[str, Mask],
    domains: Mapping[str, Domain],
    size: tuple[int, int],
    how: TranslationAugmentation | None = None,
    place: Place | None = None,
    *,
    mix_unmeasured: bool = False,
) -> tuple[dict[str, Floats], dict[str, Mask]]:
    """All images of a view at `size`: resized alone, or also cropped and mirrored at `place`.

    Args:
        images: by domain, encoded, `H W` or `H W 3` each.
        measured: by domain, `H W` each.
        how: must be given with a place.
        mix_unmeasured: average whatever unmeasured pixels hold with the others, as published.

    Returns:
        Images and masks of `size`.
    """
    first = size if how is None else enlarged_size(size, how)
    found: dict[str, Floats] = {}
    masks: dict[str, Mask] = {}
    for name, image in images.items():
        values = resized(image, first) if mix_unmeasured else resized_where_measured(image, measured[name], first)
        mask = resized_mask(measured[name], first)
        if how is not None and place is not None:
            values = np.asarray(cropped(values, place, size, _BLACK), np.float32)
            mask = np.asarray(cropped(mask, place, size, False), np.bool_)
            if place.mirrored and domains[name].kind == "normal" and not how.as_published:
                values[..., 0] *= -1
        found[name], masks[name] = values, mask
    return found, masks


def _resampled(image: Floats, axis: int, length: int) -> Floats:
    """One axis brought to `length`, as a weighted sum over as many neighbors as the filter covers."""
    indices, weights = _taps(image.shape[axis], length)
    shape = [1] * image.ndim
    shape[axis] = length
    total = np.zeros((*image.shape[:axis], length, *image.shape[axis + 1 :]), np.float32)
    for index, weight in zip(indices, weights, strict=True):
        total += image.take(index, axis=axis) * weight.reshape(shape)
    return total


@lru_cache(maxsize=32)
def _taps(old: int, new: int) -> tuple[NDArray[np.int64], Floats]:
    """Indices and weights, `taps new` each, of a triangle filter as wide as the reduction."""
    ratio = old / new
    reach = max(ratio, 1.0)
    center = (np.arange(new) + 0.5) * ratio
    first = np.floor(center - reach + 0.5).astype(np.int64)
    indices = first + np.arange(int(np.ceil(2 * reach)) + 1)[:, None]
    weights = np.maximum(1 - np.abs((indices + 0.5 - center) / reach), 0)
    weights[(indices < 0) | (indices >= old)] = 0  # beyond the edge nothing is weighed
    return indices.clip(0, old - 1), (weights / weights.sum(axis=0)).astype(np.float32)

"""Paired augmentation: geometric changes apply to every modality, color changes to the RGB alone.

Works on raw samples (uint8 and metres), before encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from geminifusion_model.data.original_recipe import OriginalAugmentation, augment_as_original
from geminifusion_model.data.sample import Sample
from geminifusion_model.data.sensor_noise import SensorNoise, corrupt

Pixels = NDArray[np.integer | np.floating]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random variation of training frames.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    crop: tuple[int, int]
    """Height and width of the result, pixels."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor, drawn log-uniformly, by which a frame is resized before it is cropped; what lies outside
    the frame is black, unmeasured and ignored."""
    flip: float = 0.5
    """Probability of a left-right mirror image."""
    color: float = 0.4
    """Strength of brightness, contrast and saturation changes; 0.4 draws factors from 0.6…1.4."""
    blur: float = 0.1
    """Probability of a slight Gaussian blur of the RGB."""
    noise: SensorNoise | None = None
    """Sensor failures, applied last; none if null."""

    def __post_init__(self) -> None:
        if min(self.crop) < 32:
            raise ValueError(f"crop is {self.crop}; expected at least 32x32")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is {self.scale}; expected 0 < low <= high")


def augment(
    sample: Sample,
    how: Augmentation | OriginalAugmentation,
    rng: np.random.Generator,
    ignore_index: int,
    step: int | None = None,
) -> Sample:
    """A random variant of `sample`, of size `how.crop`; the same generator state and step give the same result.

    Args:
        step: of training, which decides how strong sensor noise is; full strength if None.
    """
    if isinstance(how, OriginalAugmentation):
        return augment_as_original(sample, how, rng, ignore_index)
    height, width = sample.labels.shape
    factor = float(np.exp(rng.uniform(*np.log(how.scale))))
    scaled = (max(round(height * factor), 1), max(round(width * factor), 1))
    top, left = (_offset(size, crop, rng) for size, crop in zip(scaled, how.crop, strict=True))
    mirror = rng.random() < how.flip

    def window(image: Pixels, interpolation: int, fill: int) -> Pixels:
        return _window(image, (height, width), scaled, (top, left), how.crop, interpolation, fill, mirror)

    rgb = window(sample.rgb, cv2.INTER_LINEAR if factor > 0.7 else cv2.INTER_AREA, 0).astype(np.uint8, copy=False)
    rgb = jitter(rgb, how.color, rng)
    if rng.random() < how.blur:
        rgb = cv2.GaussianBlur(rgb, (3, 3), 0.8).astype(np.uint8, copy=False)
    # nearest, because a mean of two surfaces' depths is a place where nothing is
    others = {name: window(values, cv2.INTER_NEAREST, 0) for name, values in sample.others.items()}
    labels = window(sample.labels, cv2.INTER_NEAREST, ignore_index)
    varied = Sample(
        sample.name,
        rgb,
        {name: values.astype(np.float32, copy=False) for name, values in others.items()},
        labels.astype(np.uint8, copy=False),
    )
    if how.noise is None:
        return varied
    return corrupt(varied, how.noise, rng, 1.0 if step is None else how.noise.curriculum.strength(step))


def _offset(size: int, crop: int, rng: np.random.Generator) -> int:
    """Start of the crop; negative when the image is smaller and has to be padded."""
    low, high = sorted((0, size - crop))
    return int(rng.integers(low, high + 1))


def _window(
    image: Pixels,
    size: tuple[int, int],
    scaled: tuple[int, int],
    offset: tuple[int, int],
    crop: tuple[int, int],
    interpolation: int,
    fill: int,
    mirror: bool,
) -> Pixels:
    """Resize, crop (or pad) and mirror in one go; only the part that ends up in the crop is resized."""
    out = np.full((*crop, *image.shape[2:]), fill, image.dtype)
    source, target = [], []
    for axis in range(2):
        begin, end = max(offset[axis], 0), min(offset[axis] + crop[axis], scaled[axis])
        ratio = size[axis] / scaled[axis]
        source.append(slice(int(begin * ratio), min(max(round(end * ratio), int(begin * ratio) + 1), size[axis])))
        target.append(slice(begin - offset[axis], end - offset[axis]))
    part = image[source[0], source[1]]
    shape = (target[1].stop - target[1].start, target[0].stop - target[0].start)
    out[target[0], target[1]] = cv2.resize(part, shape, interpolation=interpolation)
    return np.ascontiguousarray(out[:, ::-1]) if mirror else out


def jitter(rgb: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast and saturation of `H W 3` by factors from `1 - strength` to `1 + strength`."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    values = rgb.astype(np.float32) * brightness
    values = (values - values.mean()) * contrast + values.mean()
    gray = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values = (values - gray[..., None]) * saturation + gray[..., None]
    return np.clip(values, 0, 255).astype(np.uint8)

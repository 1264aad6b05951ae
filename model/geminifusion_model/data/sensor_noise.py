"""Sensor failures for robust training: each corruption has a strength, which a curriculum raises.

Missing and noisy modalities as in the robustness benchmark of arXiv:2503.18445, plus what depth cameras add: holes and
misregistration. Works on raw samples; 0 is black in the RGB and "no measurement" in depth. A missing modality is the
values that encode to 0: depth without a measurement, an RGB of the mean color.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from geminifusion_model.data.sample import Sample
from geminifusion_model.task import IMAGENET_RGB

# the nearest bytes to the mean that the RGB's encoding subtracts
MISSING_RGB = tuple(round(255 * mean) for mean in IMAGENET_RGB.mean)

Values = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RandomCorruption:
    """The probability and the strength of a corruption.

    Raises:
        ValueError: a field is outside of 0…1.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    probability: float
    """Probability that a modality of a frame is affected."""
    most: float
    """Largest amount at full strength; amounts are drawn uniformly from 0 to it."""

    def __post_init__(self) -> None:
        if not (0 <= self.probability <= 1 and 0 <= self.most <= 1):
            raise ValueError(f"probability is {self.probability} and most {self.most}; expected both between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The strength of sensor noise over training.

    Raises:
        ValueError: `end` is before `begin`, or `begin` negative.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    begin: int = 0
    """Step up to which there is no noise; from here its strength rises linearly."""
    end: int = 0
    """Step from which noise has its full strength."""

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"curriculum runs from {self.begin} to {self.end}; expected 0 <= begin <= end")

    def strength(self, step: int) -> float:
        """0…1 at this step."""
        if step >= self.end:
            return 1.0
        return max(0.0, (step - self.begin) / (self.end - self.begin))


@dataclass(frozen=True, kw_only=True)
class SensorNoise:
    """The corruptions of a training run; those that are None never happen.

    Raises:
        ValueError: `missing` holds no probabilities that sum to at most 1.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    missing: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Per modality, the probability at full strength that all of it is missing in a frame. At most one is missing at a
    time, so they sum to at most 1; modalities that are not named are never missing."""
    zeroed: RandomCorruption | None = None
    """Single pixels become 0; `most` is their share."""
    salt_and_pepper: RandomCorruption | None = None
    """Single values become 0 or the largest there is, each channel by itself; `most` is their share."""
    gaussian: RandomCorruption | None = None
    """Gaussian noise on what was measured; `most` is its standard deviation as a share of the largest value there is,
    255 in the RGB."""
    holes: RandomCorruption | None = None
    """Patches of every modality but the RGB become 0; `most` is their share."""
    misregistration: RandomCorruption | None = None
    """Every modality but the RGB is displaced; `most` is the distance as a share of the width."""
    curriculum: Curriculum = Curriculum()
    """How the strength of all of these rises over training."""

    def __post_init__(self) -> None:
        rates = self.missing.values()
        if not all(0 <= rate <= 1 for rate in rates) or math.fsum(rates) > 1:
            raise ValueError(f"missing is {dict(self.missing)}; expected probabilities that sum to at most 1")

    def check_modalities(self, names: Collection[str]) -> None:
        """Check that frames with these modalities can be corrupted so.

        Raises:
            ValueError: `missing` names another modality, or the only one there is.
        """
        lost = [name for name, rate in self.missing.items() if rate > 0]
        unknown = [name for name in self.missing if name not in names]
        if unknown:
            raise ValueError(
                f"noise.missing names {', '.join(unknown)}, but the frames have {', '.join(names)}; leave it out there"
            )
        if lost and len(names) == 1:
            raise ValueError(
                f"noise.missing takes {lost[0]} away, and the frames have nothing else; leave missing empty for them"
            )


def corrupt(sample: Sample, how: SensorNoise, rng: np.random.Generator, strength: float = 1.0) -> Sample:
    """`sample` as failing sensors would have seen it; labels stay.

    The same generator state gives the same result; at least one modality always remains.

    Args:
        strength: 0 (unchanged) … 1; multiplies the probability of a missing modality and all amounts.

    Raises:
        ValueError: see `SensorNoise.check_modalities`.
    """
    images: dict[str, Values] = {"rgb": sample.rgb, **sample.others}
    how.check_modalities(images)
    missing = _missing_one(how.missing, list(images), strength, rng)
    if not any(image.any() for name, image in images.items() if name != missing):
        missing = None
    for name, image in images.items():
        values = image.copy()
        if name != "rgb":
            values = _moved(values, _amount(how.misregistration, rng, strength), rng)
            values = _with_holes(values, _amount(how.holes, rng, strength), rng)
        values = _zeroed(values, _amount(how.zeroed, rng, strength), rng)
        values = _salted(values, _amount(how.salt_and_pepper, rng, strength), rng)
        values = _with_gaussian(values, _amount(how.gaussian, rng, strength), rng)
        images[name] = _absent(name, values) if name == missing else values
    return _with_images(sample, images)


def _missing_one(
    probabilities: Mapping[str, float], names: list[str], strength: float, rng: np.random.Generator
) -> str | None:
    drawn = rng.random()
    for name in names:
        drawn -= probabilities.get(name, 0.0) * strength
        if drawn < 0:
            return name
    return None


def without(sample: Sample, modality: str) -> Sample:
    """`sample` with this modality missing.

    Raises:
        ValueError: the sample has no such modality.
    """
    images: dict[str, Values] = {"rgb": sample.rgb, **sample.others}
    if modality not in images:
        raise ValueError(f"frame {sample.name} has no {modality}; it has {', '.join(images)}")
    images[modality] = _absent(modality, images[modality])
    return _with_images(sample, images)


def _absent(name: str, values: Values) -> Values:
    absent = np.zeros_like(values)
    if name == "rgb":
        absent[:] = MISSING_RGB
    return absent


def _with_images(sample: Sample, images: Mapping[str, Values]) -> Sample:
    others = {name: values.astype(np.float32, copy=False) for name, values in images.items() if name != "rgb"}
    return dataclasses.replace(sample, rgb=images["rgb"].astype(np.uint8, copy=False), others=others)


def _amount(how: RandomCorruption | None, rng: np.random.Generator, strength: float) -> float:
    if how is None or rng.random() >= how.probability:
        return 0.0
    return float(rng.uniform(0.0, how.most)) * strength


def _zeroed(values: Values, share: float, rng: np.random.Generator) -> Values:
    if share > 0:
        values[rng.random(values.shape[:2]) < share] = 0
    return values


def _salted(values: Values, share: float, rng: np.random.Generator) -> Values:
    if share > 0:
        drawn = rng.random(values.shape)
        values[drawn < share / 2] = 0
        values[drawn > 1 - share / 2] = _largest(values)
    return values


def _with_gaussian(values: Values, deviation: float, rng: np.random.Generator) -> Values:
    if deviation <= 0:
        return values
    largest = _largest(values)
    noisy = values + (deviation * largest * rng.standard_normal(values.shape, np.float32))
    if values.dtype == np.uint8:
        return np.clip(np.rint(noisy), 0, largest).astype(np.uint8)
    # noise does not turn a measurement into its absence
    smallest = np.float32(largest / 1000)
    return np.where(values > 0, np.maximum(noisy, smallest), values).astype(np.float32)


def _largest(values: Values) -> float:
    return 255.0 if values.dtype == np.uint8 else float(values.max())


def _with_holes(values: Values, share: float, rng: np.random.Generator) -> Values:
    """Smooth noise below its own quantile: a few round patches, as where infrared light is swallowed."""
    if share > 0:
        height, width = values.shape[:2]
        coarse = rng.random((max(2, height // 16), max(2, width // 16))).astype(np.float32)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        values[smooth < np.quantile(smooth, share)] = 0
    return values


def _moved(values: Values, distance: float, rng: np.random.Generator) -> Values:
    """Moved by `distance` widths in a random direction; what comes in at the border is 0."""
    if distance <= 0:
        return values
    angle = rng.uniform(0.0, 2.0 * np.pi)
    height, width = values.shape[:2]
    down = int(np.clip(np.rint(distance * width * np.sin(angle)), 1 - height, height - 1))
    right = int(np.clip(np.rint(distance * width * np.cos(angle)), 1 - width, width - 1))
    moved = np.zeros_like(values)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = values[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved

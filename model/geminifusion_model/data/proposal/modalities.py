"""What the files of a sensor hold, and an entry of `modalities` that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.proposal.files import read_stored
from geminifusion_model.data.task_files import ASK

_MOST_FILES = 24
# metres per stored unit: millimetres, TUM and others, KITTI, centimetres, metres
_UNITS = (0.001, 0.0002, 1 / 256, 0.01, 1.0)
_PLAUSIBLE_M = (0.4, 40.0)  # of a median


class ModalityError(ValueError):
    """The files of a sensor cannot be read."""


def propose_modality(name: str, paths: Sequence[Path], size: tuple[int, int]) -> tuple[str, list[str]]:
    """The entry in YAML, and notes on what was guessed.

    Args:
        size: height and width of the RGB.

    Raises:
        ModalityError: no file can be read.
    """
    chosen = [paths[int(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), _MOST_FILES)).round()]
    images = [image for path in chosen if (image := read_stored(path)) is not None and image.size]
    if not images:
        raise ModalityError(f"{chosen[0]} and others cannot be read; write {name} as PNG, TIFF or npy")
    notes = []
    first = images[0]
    if any(image.shape[:2] != size for image in images):
        notes.append(
            f"{name} is {first.shape[1]}x{first.shape[0]}, the rgb {size[1]}x{size[0]}: `align: resize` brings it to "
            "that size, which is right only if both show the same view"
        )
    align = ", align: resize" if notes else ""
    gray = all(image.ndim == 2 or bool((image == image[..., :1]).all()) for image in images)
    values = np.concatenate([_thinned(image if image.ndim == 2 or not gray else image[..., 0]) for image in images])
    values = values[np.isfinite(values)]
    bits = 8 * first.dtype.itemsize
    if name == "depth" and not gray:
        notes.append("depth has three channels, so it is taken for HHA pictures")
        return f"{{encoding: hha{align}}}", notes
    if name == "depth" and bits > 8:
        return _metric(values, first.dtype.kind == "f", align, notes), notes
    if name == "depth":
        notes.append(
            "depth has 8 bits, whose unit cannot be told: with metres_per_unit: ask the network sees the stored "
            "numbers; if you know it, put metres per stored unit there (10 m over 255 steps are 0.0392)"
        )
        entry = _raw(values, 1, bits, f", metres_per_unit: {ASK}{align}")
        return f"{entry}   # write metres per stored unit instead of {ASK} if you know it", notes
    return _raw(values, 1 if gray else 3, bits, align), notes


def _thinned(image: NDArray[np.generic]) -> NDArray[np.float64]:
    part = image[::3, ::3]
    return part.reshape(-1).astype(np.float64)


def _metric(values: NDArray[np.float64], is_float: bool, align: str, notes: list[str]) -> str:
    measured = values[values > 0]
    if not measured.size:
        measured = np.array([1.0])
    median = float(np.median(measured))
    likely = (1.0, *_UNITS) if is_float else _UNITS
    unit = next((u for u in likely if _PLAUSIBLE_M[0] <= median * u <= _PLAUSIBLE_M[1]), likely[0])
    metres = measured * unit
    near, far = np.percentile(metres, (0.5, 99.5))
    notes.append(
        f"depth is guessed to have {unit:g} m per stored unit: its median is then {median * unit:.2f} m, and nearly "
        f"all of it lies in {near:.2f} to {far:.2f} m; correct metres_per_unit if that is wrong"
    )
    low, high = max(round(near * 0.9, 2), 0.01), max(round(far * 1.1, 2), 0.02)
    mean, std = float(metres.mean()), max(float(metres.std()), 0.01)
    return (
        f"{{encoding: metric, metres_per_unit: {unit:.8g}, range: [{low:g}, {high:g}], mean: {mean:.3g}, "
        f"std: {std:.3g}{align}}}"
    )


def _raw(values: NDArray[np.float64], channels: int, bits: int, more: str) -> str:
    scaled = values / 255
    mean, std = float(scaled.mean()), max(float(scaled.std()), 1e-3)
    if bits == 8:
        return f"{{encoding: raw, channels: {channels}, mean: {mean:.3g}, std: {std:.3g}{more}}}"
    low, high = np.percentile(values, (0.1, 99.9))
    margin = max((high - low) * 0.1, 1.0)
    return (
        f"{{encoding: raw, channels: {channels}, bits: 16, range: [{low - margin:.6g}, {high + margin:.6g}], "
        f"mean: {mean:.6g}, std: {std:.4g}{more}}}"
    )

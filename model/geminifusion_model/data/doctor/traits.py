"""A frame reduced to what the checks need, small enough to hold a whole data set in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.input_statistics import InputStatistics, input_statistics
from geminifusion_model.data.sample import Sample
from geminifusion_model.task import ModalityEncoding, Task

Edges = NDArray[np.float32]

_EDGE_SIZE = (160, 120)  # width, height; coarser maps do not tell frames apart
_BORDER = 5  # pixels of the edge maps left out: rectification draws frames around images
_THUMBNAIL = (32, 24)
ROW_BINS = 8


@dataclass(frozen=True)
class Readings:
    """Traits of one modality besides the RGB.

    Args:
        digest: equal for equal values.
        in_metres: whether it is depth, with a unit.
        measured: share of pixels with a measurement, 0…1.
        median: of the measured values; NaN if there are none.
        constant: all measured values are the same.
        inputs: what the network sees of it; None if nothing was measured.
    """

    digest: bytes
    in_metres: bool
    measured: float
    median: float
    constant: bool
    inputs: InputStatistics | None

    @property
    def outside(self) -> float:
        """Share of measured pixels outside the encoding's range."""
        return 0.0 if self.inputs is None else self.inputs.outside


@dataclass(frozen=True)
class FrameTraits:
    """Traits of one frame.

    Args:
        rgb_digest: equal for equal pixels.
        thumbnail: the gray image, reduced, mean removed, of length 1.
        edges: outlines in `rgb`, `labels` and each other modality, mean removed, of length 1 (all 0 if there are none).
        readings: by modality.
        label_rows: `ROW_BINS 256`, the number of pixels of each label in each eighth of the height.
        border_labels: `256`, the number of each on the outermost line of pixels.
        unmapped: pixels by stored label value, of those that no class has.
    """

    name: str
    rgb_digest: bytes
    thumbnail: NDArray[np.float32]
    edges: Mapping[str, Edges]
    readings: Mapping[str, Readings]
    label_rows: NDArray[np.int64]
    border_labels: NDArray[np.int64]
    unmapped: Mapping[str, int] = field(default_factory=dict)

    @property
    def label_counts(self) -> NDArray[np.int64]:
        """Number of pixels with each of the 256 label values."""
        counts: NDArray[np.int64] = self.label_rows.sum(axis=0)
        return counts


def observe(sample: Sample, task: Task, unmapped: Mapping[str, int] | None = None) -> FrameTraits:
    """Reduce a sample to the traits that the checks need.

    Args:
        unmapped: of its label file, see `UnmappedLabelsError`.
    """
    encodings = {modality.name: modality for modality in task.modalities}
    edges = {"rgb": _image_edges(sample.rgb), "labels": _label_edges(sample.labels)}
    readings = {}
    for name, values in sample.others.items():
        edges[name] = _depth_edges(values) if encodings[name].unit == "metre" else _image_edges(values)
        readings[name] = _readings(values, encodings[name])
    labels = sample.labels
    border = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    rows = [np.bincount(part.ravel(), minlength=256) for part in np.array_split(labels, ROW_BINS)]
    return FrameTraits(
        name=sample.name,
        rgb_digest=_digest(sample.rgb),
        thumbnail=_thumbnail(sample.rgb),
        edges=edges,
        readings=readings,
        label_rows=np.stack(rows),
        border_labels=np.bincount(border, minlength=256),
        unmapped=unmapped or {},
    )


def _readings(values: NDArray[np.float32], encoding: ModalityEncoding) -> Readings:
    in_metres = encoding.unit == "metre"
    known = values[values > 0] if in_metres else values.ravel()
    return Readings(
        digest=_digest(values),
        in_metres=in_metres,
        measured=known.size / values.size,
        median=float(np.median(known)) if known.size else float("nan"),
        constant=known.size > 0 and bool((known == known[0]).all()),
        inputs=input_statistics(values, encoding),
    )


def _digest(values: NDArray[np.generic]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    gray = cv2.cvtColor(cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return _unit(gray.astype(np.float32))


def _image_edges(image: NDArray[np.uint8] | NDArray[np.float32]) -> Edges:
    small = cv2.resize(image, _EDGE_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    channels = small.reshape(*small.shape[:2], -1)
    strength = np.zeros(small.shape[:2], np.float32)
    for channel in range(channels.shape[2]):
        smooth = cv2.GaussianBlur(np.ascontiguousarray(channels[..., channel]), (0, 0), 1.0)
        strength += np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return _outlines(strength)


def _depth_edges(metres: NDArray[np.float32]) -> Edges:
    """Creases and occlusions: the inverse depth of a plane is linear in the image, so its Laplacian is 0."""
    inverse = np.where(metres > 0, 1.0 / np.maximum(metres, 1e-3), 0.0).astype(np.float32)
    small = cv2.GaussianBlur(cv2.resize(inverse, _EDGE_SIZE, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    bend = np.abs(cv2.Laplacian(small, cv2.CV_32F)) / np.maximum(small, 1e-6)
    return _outlines(np.minimum(bend, np.percentile(bend, 97)))


def _label_edges(labels: NDArray[np.uint8]) -> Edges:
    border = np.zeros(labels.shape, np.float32)
    border[:, 1:] += labels[:, 1:] != labels[:, :-1]
    border[1:] += labels[1:] != labels[:-1]
    small = cv2.resize(border, _EDGE_SIZE, interpolation=cv2.INTER_AREA)
    return _outlines(small.astype(np.float32, copy=False))


def _outlines(strength: NDArray[np.floating]) -> Edges:
    # the square root keeps a few strong edges from outweighing all others
    smooth = cv2.GaussianBlur(np.sqrt(np.maximum(strength, 0)).astype(np.float32), (0, 0), 1.0)
    return _unit(smooth[_BORDER:-_BORDER, _BORDER:-_BORDER].astype(np.float32, copy=False))


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centered = values - values.mean()
    length = float(np.linalg.norm(centered))
    return centered / length if length > 1e-6 else np.zeros_like(centered)

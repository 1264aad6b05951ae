"""COCO's compressed run lengths of masks, in both directions.

The mask of a class is read down its columns as alternating runs of other pixels and its own. The run lengths become
text: each number, from the fourth on as its difference to the number two before it, is cut into groups of five bits,
lowest first; a group is the character `48 + bits`, with 32 added while more groups follow, and bit 16 of the last group
is the sign.

numpy and the standard library are enough: clients import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FIRST_CHARACTER = 48
_GROUP_BITS, _BITS = 5, 0x1F
_SIGN = 0x10  # of a number, in its last group
_MORE = 0x20  # in every group but the last
_MAX_GROUPS = 7  # 35 bits: more than any image has pixels


@dataclass(frozen=True, kw_only=True)
class RunLengths:
    """One class of a mask, as `pycocotools.mask.decode` reads it with the mask's size."""

    class_id: int
    counts: str


def encode_classes(labels: NDArray[np.uint8]) -> list[RunLengths]:
    """Run lengths of every class that occurs in `labels` (`H W`), by class id.

    The runs of the label map are found once; those of a class are its share of them.
    """
    column_major = labels.ravel(order="F")
    bounds = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    starts = np.concatenate(([0], bounds))
    ends = np.concatenate((bounds, [column_major.size]))
    values = column_major[starts]
    encoded = []
    for class_id in np.unique(values):
        mine = values == class_id
        edges = np.empty(2 * int(np.count_nonzero(mine)) + 1, np.int64)
        edges[0] = 0
        edges[1::2] = starts[mine]
        edges[2::2] = ends[mine]
        counts = np.diff(edges)
        if edges[-1] < column_major.size:
            counts = np.append(counts, column_major.size - edges[-1])
        # diff of [0, start, end, …] begins with the pixels that are off, as COCO wants
        encoded.append(RunLengths(class_id=int(class_id), counts=encode_counts(counts)))
    return encoded


def encode_counts(counts: NDArray[np.int64]) -> str:
    """The run lengths as text, see above."""
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    groups = []
    unfinished = np.ones(rest.size, dtype=bool)
    while unfinished.any():
        group = rest & _BITS
        rest >>= _GROUP_BITS
        negative = (group & _SIGN) != 0
        more = np.where(negative, rest != -1, rest != 0)
        groups.append(np.where(unfinished, (group | (more * _MORE)) + _FIRST_CHARACTER, 0))
        unfinished &= more
    characters = np.stack(groups, axis=1).ravel()
    text: bytes = characters[characters != 0].astype(np.uint8).tobytes()
    return text.decode("ascii")


def decode_counts(counts: str) -> NDArray[np.int64]:
    """The run lengths behind the text, in pixels, the first one of other pixels than the class's.

    Raises:
        ValueError: the text is no COCO run-length string.
    """
    try:
        groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    except UnicodeEncodeError:
        raise ValueError("a run-length string holds characters outside ASCII") from None
    if groups.size == 0:
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & _MORE:
        raise ValueError("a run-length string is damaged: a character is out of range, or its end is missing")

    last_of_number = (groups & _MORE) == 0
    starts = np.concatenate(([0], np.flatnonzero(last_of_number)[:-1] + 1))
    sizes = np.diff(np.append(starts, groups.size))
    if sizes.max() > _MAX_GROUPS:
        raise ValueError("a run-length string is damaged: a number in it is too long")
    place = np.arange(groups.size) - np.repeat(starts, sizes)
    runs = np.add.reduceat((groups & _BITS) << (_GROUP_BITS * place), starts)
    negative = (groups[last_of_number] & _SIGN) != 0
    runs -= negative.astype(np.int64) << (_GROUP_BITS * sizes)

    # The first three numbers stand alone; each later one adds to the number two before it.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("a run-length string is damaged: a run is negative")
    return runs


def labels_from_runs(counts: Mapping[int, str], height: int, width: int) -> NDArray[np.uint8]:
    """The label map whose classes' masks are given.

    Args:
        counts: class index (0…255) to its compressed COCO string; the masks tile the image without overlap.
        height, width: size of the image in pixels.

    Returns:
        `height width` uint8.

    Raises:
        ValueError: a string is damaged, a class is none, or the masks do not tile the image exactly.
    """
    if beyond := [class_id for class_id in counts if not 0 <= class_id <= 255]:
        raise ValueError(f"there is a class {beyond[0]}, expected 0 to 255")
    starts, lengths, classes = [], [], []
    for class_id, text in counts.items():
        runs = decode_counts(text)
        ends = np.cumsum(runs)
        starts.append(ends[1::2] - runs[1::2])
        lengths.append(runs[1::2])
        classes.append(np.full(runs[1::2].size, class_id, np.uint8))
    start = np.concatenate(starts) if starts else np.zeros(0, np.int64)
    length = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
    label = np.concatenate(classes) if classes else np.zeros(0, np.uint8)

    order = np.argsort(start, kind="stable")
    start, length, label = start[order], length[order], label[order]
    ends = np.cumsum(length)
    if not np.array_equal(start, ends - length) or (ends[-1] if ends.size else 0) != height * width:
        raise ValueError(f"the masks of the classes do not tile an image of {width}x{height} pixels")
    return np.ascontiguousarray(np.repeat(label, length).reshape(width, height).T)

"""COCO's compressed run lengths: how many pixels off, on, off … down the columns, packed into text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        encoded.append(RunLengths(class_id=int(class_id), counts=pack_counts(counts)))
    return encoded


def pack_counts(counts: NDArray[np.int64]) -> str:
    """COCO's text of run lengths: from the fourth on the change against two before, in groups of 5 bits."""
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    groups = []
    open_ = np.ones(rest.size, dtype=bool)
    while open_.any():
        group = rest & 0x1F
        rest >>= 5
        negative = (group & 0x10) != 0
        more = np.where(negative, rest != -1, rest != 0)
        groups.append(np.where(open_, (group | (more << 5)) + 48, 0))
        open_ &= more
    characters = np.stack(groups, axis=1).ravel()
    packed: bytes = characters[characters != 0].astype(np.uint8).tobytes()
    return packed.decode("ascii")

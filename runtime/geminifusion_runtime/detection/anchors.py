"""Anchors, and the boxes that the network's numbers make of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.detection.settings import AnchorSettings, GridSettings


@lru_cache(maxsize=8)
def anchor_boxes(anchors: AnchorSettings, grid: GridSettings, cells: tuple[int, int]) -> NDArray[np.float32]:
    """All anchors of a map of `cells`, rows and columns, `cells[0]·cells[1]·per_cell 7`, read-only.

    Their order is row (y), column (x), class, yaw. The centres of the outer ones lie on the ends of the range, as in
    the original, not in the middle of their cells.
    """
    rows, columns = cells
    x, y = (_even_places(grid.low[axis], grid.high[axis], number) for axis, number in ((0, columns), (1, rows)))
    boxes = np.empty((rows, columns, len(anchors.classes), len(anchors.yaws), 7), np.float32)
    boxes[..., 0] = x[None, :, None, None]
    boxes[..., 1] = y[:, None, None, None]
    for number, one in enumerate(anchors.classes):
        boxes[:, :, number, :, 2] = one.bottom
        boxes[:, :, number, :, 3:6] = one.size
    boxes[..., 6] = anchors.yaws
    rows_of_boxes = boxes.reshape(-1, 7)
    rows_of_boxes.setflags(write=False)
    return rows_of_boxes


def _even_places(first: float, last: float, number: int) -> NDArray[np.float32]:
    """Places from `first` to `last`, bit for bit as `torch.linspace`, which the original calls, rounds them.

    Whether two anchors overlap a box equally, so that both are to find it, hangs on the last bit.
    """
    low, high = np.float32(first), np.float32(last)
    step = float((high - low) / np.float32(max(number - 1, 1)))
    index = np.arange(number)
    from_both_ends = np.where(index < max(number // 2, 1), low + step * index, high - step * (number - 1 - index))
    return from_both_ends.astype(np.float32)


def encoded_boxes(boxes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers that `decoded_boxes` makes `boxes` of; all `n 7`."""
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])
    half = np.float32(0.5)
    return np.column_stack(
        [
            (boxes[:, 0] - anchors[:, 0]) / diagonal,
            (boxes[:, 1] - anchors[:, 1]) / diagonal,
            (boxes[:, 2] + half * boxes[:, 5] - anchors[:, 2] - half * anchors[:, 5]) / anchors[:, 5],
            np.log(boxes[:, 3:6] / anchors[:, 3:6]),
            boxes[:, 6] - anchors[:, 6],
        ]
    )


def decoded_boxes(numbers: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes of the network's numbers and their anchors; all `n 7`, float32.

    The numbers are the offset of the centre in lengths of the anchor's diagonal seen from above, its height (at half of
    the box's) in anchor heights, the logarithms of the three ratios of size, and the difference of yaw.
    """
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])
    half = np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):  # of a broken network; the selection drops what is not finite
        size = np.exp(numbers[:, 3:6]) * anchors[:, 3:6]
        middle = numbers[:, 2] * anchors[:, 5] + anchors[:, 2] + half * anchors[:, 5]
        return np.column_stack(
            [
                numbers[:, 0] * diagonal + anchors[:, 0],
                numbers[:, 1] * diagonal + anchors[:, 1],
                middle - half * size[:, 2],
                size,
                numbers[:, 6] + anchors[:, 6],
            ]
        )

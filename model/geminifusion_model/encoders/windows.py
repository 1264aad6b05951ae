"""Cutting a map into square windows and back, by lists of token indices.

Padding, the cyclic shift and the reordering are one gather of rows each way, whose indices are computed from the map's
size: a traced graph has no branch on sizes and stays dynamic.

Axes: B images, H W map, N = H·W tokens, C channels, V windows of an image, L = window² tokens of a window.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Added to the logits of pairs that must not meet; the original's value, so such pairs keep weights of about e^-100.
FORBIDDEN = -100.0


class WindowPlan(NamedTuple):
    """The places of one map size's tokens in windows.

    `into` is `VL` int64: the token of each place in reading order of windows, N where the padding goes. `back` is `N`
    int64: the place of each token. `mask` is `V L L`, to be added to attention logits, or none without a shift.
    """

    into: Tensor
    back: Tensor
    mask: Tensor | None

    def split(self, tokens: Tensor, window: int) -> Tensor:
        """`B N C` to windows `B V L C`, padded with zeros."""
        padding = tokens.new_zeros(tokens.shape[0], 1, tokens.shape[2])
        padded = torch.cat([tokens, padding], dim=1)
        return padded.index_select(1, self.into).unflatten(1, (-1, window * window))

    def join(self, windows: Tensor) -> Tensor:
        """The inverse: `B V L C` to `B N C`."""
        return windows.flatten(1, 2).index_select(1, self.back)


def window_plan(height: int, width: int, window: int, shifted: bool, like: Tensor) -> WindowPlan:
    """The plan of a map padded at the right and bottom to whole windows and, if shifted, rolled by half a window.

    The mask has the device and dtype of `like`. After the roll the last row and column of windows hold parts from
    opposite borders, which must not see each other.
    """
    shift = window // 2 if shifted else 0
    rows, columns = _Axis.of(height, window, shift, like), _Axis.of(width, window, shift, like)
    token = rows.source[:, None, :, None] * width + columns.source[None, :, None, :]
    is_padding = (rows.source >= height)[:, None, :, None] | (columns.source >= width)[None, :, None, :]
    into = torch.where(is_padding, height * width, token).flatten()
    num_columns = columns.source.shape[0]
    block = rows.block[:, None] * num_columns + columns.block[None, :]
    inside = rows.inside[:, None] * window + columns.inside[None, :]
    back = (block * (window * window) + inside).flatten()
    if not shifted:
        return WindowPlan(into, back, None)
    part = (3 * rows.part[:, None, :, None] + columns.part[None, :, None, :]).flatten(0, 1).flatten(1)
    mask = (part.unsqueeze(1) != part.unsqueeze(2)).to(like.dtype) * FORBIDDEN
    return WindowPlan(into, back, mask)


class _Axis(NamedTuple):
    """One direction of a plan: `source` and `part` for each place (windows, window), the rest for each token.

    `source` is the token's coordinate, `part` which of the three pieces that a shift tells apart it belongs to, `block`
    the window a token lands in, and `inside` its place there.
    """

    source: Tensor
    part: Tensor
    block: Tensor
    inside: Tensor

    @classmethod
    def of(cls, size: int, window: int, shift: int, like: Tensor) -> _Axis:
        count = (size + window - 1) // window
        padded = count * window
        within = torch.arange(window, device=like.device)
        place = torch.arange(count, device=like.device)[:, None] * window + within[None, :]
        moved = torch.arange(size, device=like.device) - shift
        moved = torch.where(moved < 0, moved + padded, moved)
        block = torch.div(moved, window, rounding_mode="floor")
        return cls(
            source=torch.where(place + shift >= padded, place + shift - padded, place + shift),
            part=(place >= padded - window).long() + (place >= padded - shift).long(),
            block=block,
            inside=moved - block * window,
        )


def merge_neighbors(tokens: Tensor, height: int, width: int) -> tuple[Tensor, int, int]:
    """`B N C` to `B N/4 4C`, and the new height and width; odd sides are padded with zeros.

    Of each 2x2 square: upper left, lower left, upper right, lower right.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    pair = torch.arange(2, device=tokens.device)
    row = 2 * torch.arange(rows, device=tokens.device)[:, None, None, None] + pair[None, None, None, :]
    column = 2 * torch.arange(columns, device=tokens.device)[None, :, None, None] + pair[None, None, :, None]
    index = torch.where((row >= height) | (column >= width), height * width, row * width + column).flatten()
    padding = tokens.new_zeros(tokens.shape[0], 1, tokens.shape[2])
    squares = torch.cat([tokens, padding], dim=1).index_select(1, index)
    return squares.unflatten(1, (-1, 4)).flatten(2), rows, columns


def relative_position_index(window: int) -> Tensor:
    """For each pair of tokens of a window the row of the bias table, `L L` int64 (Swin's numbering)."""
    position = torch.arange(window)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(position, position, indexing="ij"))
    row_step = rows[:, None] - rows[None, :] + window - 1
    column_step = columns[:, None] - columns[None, :] + window - 1
    return row_step * (2 * window - 1) + column_step

"""Frames in, answers out: what a stream of a client gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import BadInput, ServerError
from .results import Result

StreamMode = Literal["ordered", "newest"]


@dataclass(frozen=True, kw_only=True)
class FrameAnswer:
    """The answer to one frame: a result or an error.

    Attributes:
        number: of the frame in the stream, counted from 0.
        result: the labels; None where there is an error.
        error: why there are none; the stream goes on.
    """

    number: int
    result: Result | None = None
    error: ServerError | None = None

    @property
    def superseded(self) -> bool:
        """Whether the frame gave way to a newer one, as mode `newest` has it."""
        return self.error is not None and self.error.code == "frame_superseded"


def is_newest(mode: str) -> bool:
    """Whether a newer frame may take the place of one not begun.

    Raises:
        BadInput: no such mode.
    """
    if mode not in get_args(StreamMode):
        raise BadInput(f"mode is {mode!r}; give one of {', '.join(get_args(StreamMode))}")
    return mode == "newest"

"""Frames in, answers out: what a stream of a client gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import BadAnswer, BadInput, ServerError
from .results import Result
from .wire import SegmentCall

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


class SentFrames:
    """The frames of one stream that have no answer yet.

    Attributes:
        failure: what the source of the frames raised.
        complete: whether there are no more to be sent.
    """

    def __init__(self) -> None:
        self._calls: dict[int, SegmentCall] = {}
        self._num_sent = 0
        self.failure: Exception | None = None
        self.complete = False

    @property
    def unanswered(self) -> int:
        """How many there are."""
        return len(self._calls)

    def add(self, call: SegmentCall) -> None:
        """Take note of the next frame, which is about to be sent."""
        self._calls[self._num_sent] = call
        self._num_sent += 1

    def pop(self, number: object) -> SegmentCall:
        """The frame an answer is for.

        Raises:
            BadAnswer: there is none of this number.
        """
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if call is None:
            raise BadAnswer(
                f"the server answered frame {number}, which was not sent or is answered; "
                "install client and server of one release"
            )
        return call

    def raise_failure(self) -> None:
        """Raise what the source of the frames raised."""
        if self.failure is not None:
            raise self.failure


def is_newest(mode: str) -> bool:
    """Whether a newer frame may take the place of one not begun.

    Raises:
        BadInput: no such mode.
    """
    if mode not in get_args(StreamMode):
        raise BadInput(f"mode is {mode!r}; give one of {', '.join(get_args(StreamMode))}")
    return mode == "newest"

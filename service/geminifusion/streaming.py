"""Streams of a client: the response to each frame, and the frames that wait for theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import InvalidInputError, InvalidResponseError, ResponseTimeoutError, ServerError, ServerUnreachableError
from .options import SegmentCall
from .response_limits import MAX_PROBLEM_BYTES, max_response_bytes
from .results import Result

StreamMode = Literal["ordered", "newest"]


@dataclass(frozen=True, kw_only=True)
class FrameResponse:
    """The response to one frame: a result or an error.

    Attributes:
        number: position of the frame in the stream, counted from 0.
        result: the labels; None where there is an error.
        error: why there is no result; the stream goes on.
    """

    number: int
    result: Result | None = None
    error: ServerError | None = None

    @property
    def superseded(self) -> bool:
        """Whether a newer frame took the place of this one, as happens in mode `newest`."""
        return self.error is not None and self.error.code == "frame_superseded"


class PendingFrames:
    """The frames of one stream that were sent and have no response yet.

    Attributes:
        failure: the exception that the source of the frames raised.
        complete: whether there are no more to be sent.
        max_response_bytes: most bytes of the response to any frame sent.
    """

    def __init__(self) -> None:
        self._calls: dict[int, SegmentCall] = {}
        self._num_sent = 0
        self.failure: Exception | None = None
        self.complete = False
        self.max_response_bytes = MAX_PROBLEM_BYTES

    @property
    def count(self) -> int:
        """Number of frames without a response."""
        return len(self._calls)

    @property
    def is_servers_turn(self) -> bool:
        """Whether the server is to respond, or to end the stream."""
        return bool(self._calls) or self.complete

    def add(self, call: SegmentCall) -> None:
        """Add the next frame, which is about to be sent."""
        self.max_response_bytes = max(self.max_response_bytes, max_response_bytes(call.sources))
        self._calls[self._num_sent] = call
        self._num_sent += 1

    def pop(self, number: object) -> SegmentCall:
        """Remove and return the frame that a response belongs to.

        Raises:
            InvalidResponseError: no frame of this number is pending.
        """
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if call is None:
            raise InvalidResponseError(
                f"the server responded to frame {number}, which was not sent or has its response; "
                "install client and server of one release"
            )
        return call

    def raise_failure(self) -> None:
        """Raise the exception that the source of the frames raised, if there is one."""
        if self.failure is not None:
            raise self.failure

    def late(self, url: str, timeout_s: float) -> ResponseTimeoutError:
        """The error where it was the server's turn for the whole of the timeout, and nothing came."""
        missing = "responded to no frame" if self._calls else "responded to every frame, and did not end the stream"
        return ResponseTimeoutError(
            f"{url} {missing} within {timeout_s:g} s; give a longer timeout, or ask at a quieter time"
        )

    def check_all_answered(self, url: str) -> None:
        """Check, once the server at `url` has ended the stream, that it had no reason not to.

        Raises:
            ServerUnreachableError: frames have no response.
        """
        if self.count or not self.complete:
            raise ServerUnreachableError(f"{url} ended the stream and did not say why; send the rest over a new one")


def is_newest(mode: str) -> bool:
    """Whether a newer frame may take the place of one on which the engine has not begun.

    Raises:
        InvalidInputError: no such mode.
    """
    if mode not in get_args(StreamMode):
        raise InvalidInputError(f"mode is {mode!r}; give one of {', '.join(get_args(StreamMode))}")
    return mode == "newest"

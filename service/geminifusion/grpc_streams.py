"""Streams of frames over gRPC, whose server may neither end them without a word nor leave a frame without a response.

gRPC's own deadline would be one for the whole stream, which may last for hours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from geminifusion_service.pb import segmentation_pb2 as pb

from .errors import error_of_status
from .grpc_calls import read_message
from .grpc_messages import result_from_message, segment_message
from .options import SegmentCall
from .response_limits import max_response_bytes, too_large
from .streaming import FrameResponse, PendingFrames
from .wire import seconds


class PendingMessages(PendingFrames):
    """The frames of one stream as messages."""

    def __init__(self, *, newest: bool) -> None:
        super().__init__()
        self._newest = newest

    def requests(self, calls: Iterator[SegmentCall]) -> Iterator[pb.SegmentRequest]:
        """The messages to send. grpc iterates them in a thread of its own, where nobody would see an error."""
        try:
            for call in calls:
                self.add(call)
                yield segment_message(call, supersedable=self._newest)
        except Exception as error:
            self.failure = error
        self.complete = True

    async def requests_async(self, calls: AsyncIterator[SegmentCall]) -> AsyncIterator[pb.SegmentRequest]:
        """`requests` for an event loop."""
        try:
            async for call in calls:
                self.add(call)
                yield segment_message(call, supersedable=self._newest)
        except Exception as error:
            self.failure = error
        self.complete = True

    def response(self, data: bytes) -> FrameResponse:
        """The server's response to one of the frames.

        Raises:
            InvalidResponseError: it is no such response, or one to another image.
        """
        message = read_message(pb.SegmentStreamResponse, data, self.max_response_bytes)
        call = self.pop(message.frame)
        if message.WhichOneof("result") != "error":
            if len(data) > (most := max_response_bytes(call.sources)):  # another frame may have had more
                raise too_large(most)
            return FrameResponse(number=message.frame, result=result_from_message(message.response, call))
        error = message.error
        return FrameResponse(
            number=message.frame,
            error=error_of_status(
                error.message,
                code=error.code,
                status=error.http_status,
                request_id=call.request_id,
                retry_after=seconds(str(error.retry_after_s)) if error.HasField("retry_after_s") else None,
            ),
        )


def responses(call: Any, sent: PendingMessages, url: str, timeout_s: float) -> Iterator[FrameResponse]:  # noqa: ANN401 - grpc's own, without a public name
    """The responses of a call of threads, until the server ends it.

    Raises:
        ClientError: a response makes no sense or is late, or the stream ended before its time.
        grpc.RpcError: the call failed.
    """
    patience = _Patience(call, sent, timeout_s)
    try:
        while (data := patience.next_message()) is not None:
            yield sent.response(data)
    except grpc.RpcError:
        if patience.is_over:
            raise sent.late(url, timeout_s) from None
        raise
    finally:
        patience.stop()
        call.cancel()
        sent.raise_failure()
    sent.check_all_answered(url)


async def responses_async(
    call: grpc.aio.StreamStreamCall, sent: PendingMessages, url: str, timeout_s: float
) -> AsyncGenerator[FrameResponse, None]:
    """`responses` of a call of an event loop."""
    try:
        while (data := await _next_message(call, sent, url, timeout_s)) is not grpc.aio.EOF:
            yield await asyncio.to_thread(sent.response, data)
    finally:
        call.cancel()
        sent.raise_failure()
    sent.check_all_answered(url)


async def _next_message(call: grpc.aio.StreamStreamCall, sent: PendingMessages, url: str, timeout_s: float) -> Any:  # noqa: ANN401 - bytes or grpc's end
    reading = asyncio.ensure_future(call.read())
    try:
        while True:
            waiting = sent.is_servers_turn
            done, _ = await asyncio.wait({reading}, timeout=timeout_s)
            if done:
                return reading.result()
            if waiting:
                raise sent.late(url, timeout_s)
    finally:
        reading.cancel()


class _Patience:
    """Cancels a call that nothing comes of, though it was the server's turn for the whole of the timeout.

    Nothing else ends the wait for a message of such a call, so a thread watches it. Time that the caller takes between
    messages does not count.
    """

    def __init__(self, call: Any, sent: PendingMessages, timeout_s: float) -> None:  # noqa: ANN401 - grpc's own
        self.is_over = False
        self._call, self._sent, self._timeout_s = call, sent, timeout_s
        self._changed = threading.Condition()
        self._num_waits = 0
        self._waits = self._stopped = False
        threading.Thread(target=self._watch, name="geminifusion-patience", daemon=True).start()

    def next_message(self) -> bytes | None:
        """The next message; None after the last."""
        with self._changed:
            self._waits, self._num_waits = True, self._num_waits + 1
            self._changed.notify()
        try:
            data: bytes | None = next(self._call, None)
        finally:
            self._waits = False
        return data

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped:
                waiting, number = self._sent.is_servers_turn, self._num_waits
                unchanged = not self._changed.wait(self._timeout_s if self._waits else None)
                if unchanged and waiting and self._waits and number == self._num_waits:
                    self.is_over = True
                    self._call.cancel()
                    return

"""Messages of calls: received under limits, counted as they arrive, decoded where an error can be reported.

gRPC hands over whole messages. What has come of unfinished ones is what the kernel counted on their connection, less
what was handed over; it is looked at a few dozen times a second while anybody waits for a message. While the event loop
is too busy for that, `overrun` looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from geminifusion_service.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    EmptyBodyError,
    MalformedBodyError,
    QueueFullError,
)
from geminifusion_service.pipeline.budget import Holding, ResourceBudget
from geminifusion_service.transport.grpc.kernel_counters import ConnectionCounters, address_of
from geminifusion_service.transport.grpc.overrun import OverrunBrake

_LOOK_S = 0.025
_OVERDUE_S = 0.05  # since the last look
_COPIES = 2  # of a message while it is worked on: decoded, and its images as bytes
_SMALL = 64 * 1024  # unfinished bytes of a connection that are not worth counting
# Bytes around a message, at most: headers, frames, TLS. What is more counts as unfinished until counts are balanced.
_OVERHEAD = 1024
_OVERHEAD_SHARE = 200  # a byte of this many
_BALANCE_S = 0.25  # least time between two balances of a connection
_MAX_IDLE = 4096  # connections whose counts are remembered while nobody waits

Deserialize = Callable[[bytes], Any]


class Receiving:
    """All connections on which messages are waited for. Use from one event loop.

    Args:
        budget: has the unfinished messages.
        max_message_bytes: gRPC takes no longer ones.
    """

    def __init__(self, budget: ResourceBudget, *, max_message_bytes: int) -> None:
        self._budget = budget
        self._max_message_bytes = max_message_bytes
        self._counters: ConnectionCounters | None = None
        self._connections: dict[str, _Connection] = {}
        self._waited_for: dict[str, _Connection] = {}  # those with readers
        self._is_looking = False
        self._looked = 0.0
        self._brake: OverrunBrake | None = None

    def listen_on(self, port: int) -> None:
        """Say which port the server has, and look from now on; `close` ends that."""
        self._counters = ConnectionCounters(port)
        if (limit := self._budget.limit("bytes")) is not None:
            most = max(limit, self._max_message_bytes)  # one message is taken, whatever the limit
            self._brake = OverrunBrake(ConnectionCounters(port), self._overdue, max_bytes=most)
            self._brake.start()

    def close(self) -> None:
        """End what looks at connections."""
        if self._brake is not None:
            self._brake.stop()

    def messages(
        self,
        context: grpc.aio.ServicerContext,
        deserialize: Deserialize,
        *,
        holding: Holding | None = None,
        max_bytes: int | None = None,
    ) -> IncomingMessages:
        """The messages of a call.

        Args:
            context: of the call, which has no deserializer of its own. Its iterator is left alone: that would keep its
                last message until the garbage collector comes by.
            deserialize: decodes one.
            holding: gets the bytes of each; by default none, for what is small.
            max_bytes: of each; None for what gRPC takes.
        """
        return IncomingMessages(self, context, deserialize, holding=holding, max_bytes=max_bytes)

    def begin(self, peer: str, reader: IncomingMessages) -> None:
        """Somebody waits for a message from this peer."""
        connection = self._connections.get(peer)
        if connection is None:
            if len(self._connections) > _MAX_IDLE:
                self._connections = {peer: one for peer, one in self._connections.items() if one.readers}
            connection = self._connections[peer] = _Connection(self._budget)
        connection.readers.add(reader)
        self._waited_for[peer] = connection
        if not self._is_looking:
            self._look_again(True)

    def end(self, peer: str, reader: IncomingMessages, num_bytes: int) -> None:
        """They do not any more, because they have got it: so many bytes, or 0."""
        if (connection := self._waited_for.get(peer)) is None:
            return
        connection.readers.discard(reader)
        if num_bytes:
            connection.handed_over(num_bytes)
        if not connection.readers:
            del self._waited_for[peer]
        if not connection.readers or not num_bytes:
            connection.balance(lambda: self._received(peer))

    def _look(self) -> None:
        for peer, connection in tuple(self._waited_for.items()):
            if (received := self._received(peer)) is not None:
                connection.look(received, self._max_message_bytes)
        self._look_again(bool(self._waited_for))

    def _look_again(self, needed: bool) -> None:
        self._is_looking = needed
        self._looked = time.monotonic()
        if needed:
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        if self._brake is not None:
            self._brake.watch(needed)

    def _overdue(self) -> dict[str, int]:
        """See `OverrunBrake`; called by its thread."""
        if not self._is_looking or time.monotonic() - self._looked < _OVERDUE_S:
            return {}
        return {peer: connection.accounted for peer, connection in tuple(self._waited_for.items())}

    def _received(self, peer: str) -> int | None:
        address = address_of(peer)
        return self._counters.received(address) if self._counters is not None and address is not None else None


class _Connection:
    """The counts of one connection."""

    def __init__(self, budget: ResourceBudget) -> None:
        self.readers: set[IncomingMessages] = set()
        self._budget = budget
        self._holding = budget.open()
        self.accounted = 0  # of the bytes received, those that belong to no unfinished message
        self._balanced = 0.0

    def handed_over(self, num_bytes: int) -> None:
        """A message of this size is complete."""
        self.accounted += num_bytes + _OVERHEAD + num_bytes // _OVERHEAD_SHARE
        self._hold_no_more_than(self._holding.amounts["bytes"] - num_bytes)

    def balance(self, received: Callable[[], int | None]) -> None:
        """Take every byte received as accounted for: nothing is unfinished, or what was has been given up."""
        now = time.monotonic()
        if self._holding.amounts["bytes"] or now - self._balanced > _BALANCE_S:
            self._balanced = now
            self.accounted = received() or self.accounted
        self._hold_no_more_than(0)

    def look(self, received: int, max_message_bytes: int) -> None:
        """Count what has come of the messages that are waited for."""
        self.accounted = min(self.accounted, received)
        unfinished = min(received - self.accounted, len(self.readers) * max_message_bytes)
        if unfinished < _SMALL:
            unfinished = 0
        more = unfinished - self._holding.amounts["bytes"]
        if more <= 0:
            self._hold_no_more_than(unfinished)
            return
        self._holding.begin_arrival(self._refuse)
        try:
            self._holding.take(bytes=more)
        except QueueFullError as error:
            self._refuse(error)

    def _hold_no_more_than(self, num_bytes: int) -> None:
        if self._holding.amounts["bytes"] > num_bytes:
            self._holding.settle(bytes=max(0, num_bytes))
        if not self._holding.amounts["bytes"]:
            self._holding.end_arrival()

    def _refuse(self, error: QueueFullError) -> None:
        self._holding.close()
        self._holding = self._budget.open()
        for reader in tuple(self.readers):
            reader.refuse(error)


class IncomingMessages:
    """An iterator over the decoded messages of one call; see `Receiving.messages`.

    Iterating raises:
        QueueFullError: requests in flight hold too many bytes, or this message came too slowly while others waited.
        BodyTooLargeError: a message has more bytes than it may have.
        MalformedBodyError: a message cannot be decoded.
    """

    def __init__(
        self,
        receiving: Receiving,
        context: grpc.aio.ServicerContext,
        deserialize: Deserialize,
        *,
        holding: Holding | None,
        max_bytes: int | None,
    ) -> None:
        self._receiving = receiving
        self._context = context
        self._peer = context.peer()
        self._deserialize = deserialize
        self._holding = holding
        self._max_bytes = max_bytes
        self._limit: asyncio.Timeout | None = None
        self._refusal: QueueFullError | None = None

    def refuse(self, error: QueueFullError) -> None:
        """Have the wait for the message that is on its way end with this error."""
        if self._limit is not None and self._refusal is None:
            self._refusal = error
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _take_refusal(self) -> QueueFullError:
        # Not kept here: an error that is raised refers to this object, and both would wait for the garbage collector.
        refusal, self._refusal = self._refusal, None
        assert refusal is not None
        return refusal

    def __aiter__(self) -> IncomingMessages:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - of the call's own type
        return self._decoded(await self._receive(None))

    async def only(self, timeout_s: float) -> Any:  # noqa: ANN401 - of the call's own type
        """The message of a call with one.

        Raises:
            BodyTimeoutError: it did not arrive in time.
            EmptyBodyError: the call ended without it.
            QueueFullError, BodyTooLargeError, MalformedBodyError: as iterating does.
        """
        try:
            return self._decoded(await self._receive(timeout_s))
        except TimeoutError:
            raise BodyTimeoutError(f"the message did not arrive within {timeout_s:g} s; send it faster") from None
        except StopAsyncIteration:
            raise EmptyBodyError("the call came without its message; send one") from None

    def _decoded(self, data: bytes) -> Any:  # noqa: ANN401 - of the call's own type
        try:
            if self._max_bytes is not None and len(data) > self._max_bytes:
                raise BodyTooLargeError(f"the message has {len(data)} bytes, this call takes {self._max_bytes}")
            if self._holding is not None:
                self._holding.settle(bytes=0)  # of the message before, which is admitted as a request by now
                self._holding.take(bytes=_COPIES * len(data))
            return self._deserialize(data)
        except (DecodeError, ValueError, RecursionError):
            raise MalformedBodyError("the message cannot be decoded; send one of our .proto files") from None
        finally:
            del data  # errors keep the frames that they passed

    async def _receive(self, timeout_s: float | None) -> bytes:
        size = 0
        self._receiving.begin(self._peer, self)
        try:
            async with asyncio.timeout(timeout_s) as self._limit:
                data = await self._context.read()
            if data is grpc.aio.EOF:
                raise StopAsyncIteration
            size = len(data)
            return bytes(data)
        except TimeoutError:
            if self._refusal is None:
                raise
            raise self._take_refusal() from None
        finally:
            self._limit = None
            self._receiving.end(self._peer, self, size)

"""Messages from clients, counted in their bytes before protobuf makes objects of them: two bytes can become eighty."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from geminifusion_runtime.protobuf_wire import BYTES, WireError, wire_fields
from geminifusion_service.errors import BodyTooLargeError, MalformedBodyError
from geminifusion_service.transport.grpc.interception import HandlerInterceptor

_MAX_FIELDS = 10_000  # beyond the files of any batch
_FIXED_BYTES = {
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
}
_TEXTS = (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING)


class MessageLimits(HandlerInterceptor):
    """Counts each message of the calls that it knows before it is decoded; the last of the interceptors.

    Args:
        messages: type of the request, by path (`/package.Service/Method`).
        max_values: most numbers in the typed lists of a message.
    """

    def __init__(self, messages: Mapping[str, Descriptor], *, max_values: int) -> None:
        self._messages = dict(messages)
        self._max_values = max_values

    def replaced(self, handler: grpc.RpcMethodHandler, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """See `HandlerInterceptor`."""
        message = self._messages.get(call.method)
        if message is None:
            return handler
        decode = handler.request_deserializer

        def counted(data: bytes) -> Any:  # noqa: ANN401 - of the call's own type
            check_message(data, message, max_values=self._max_values)
            return decode(data)

        return handler._replace(request_deserializer=counted)


def check_message(data: bytes, message: Descriptor, *, max_values: int) -> None:
    """Check how much protobuf would make of a message.

    Raises:
        MalformedBodyError: it is no message, or has more fields than any request, those of messages in it included.
        BodyTooLargeError: its typed lists have more numbers than `max_values`.
    """
    fields_left, values_left = _MAX_FIELDS, max_values
    messages = [(message, memoryview(data))]
    try:
        while messages:
            kind, content = messages.pop()
            known = _fields_of(kind)
            for field in wire_fields(content):
                fields_left -= 1
                if fields_left < 0:
                    raise MalformedBodyError(
                        f"the message has more than {_MAX_FIELDS} fields; send numbers as raw_input_contents"
                    )
                descriptor = known.get(field.number)
                if descriptor is None or field.kind != BYTES:
                    continue
                if descriptor.message_type is not None:
                    messages.append((descriptor.message_type, field.content))
                elif descriptor.type not in _TEXTS:
                    values_left -= _count_packed(descriptor, field.content)
                    if values_left < 0:
                        raise BodyTooLargeError(
                            f"the message has more than {max_values} numbers in typed contents; "
                            "send them as raw_input_contents"
                        )
    except WireError:
        raise MalformedBodyError("the message cannot be decoded; send one of the type in our .proto files") from None


@functools.lru_cache(maxsize=64)
def _fields_of(message: Descriptor) -> dict[int, FieldDescriptor]:
    return {field.number: field for field in message.fields}


def _count_packed(field: FieldDescriptor, content: memoryview) -> int:
    """Numbers in a packed list; the last byte of each varint is below 128."""
    if (size := _FIXED_BYTES.get(field.type)) is not None:
        return len(content) // size
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) < 0x80))

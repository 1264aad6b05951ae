"""The calls of the service's interface as bytes, which are counted before they become objects.

A channel has one limit for all messages, and protobuf makes a hundred bytes of two: an empty message of a list. So no
stub parses a response; `read_message` does, within the limit of what was sent.
"""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from geminifusion_service.pb import detection_pb2, segmentation_pb2, translation_pb2

from .response_limits import too_large
from .wire import not_ours

_M = TypeVar("_M", bound=Message)
_SEGMENTATION = segmentation_pb2.DESCRIPTOR.services_by_name["Segmentation"]


class Calls:
    """The calls over one channel, of threads or of an event loop; each responds with bytes."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.segment = _call(channel, _SEGMENTATION, "Segment")
        self.segment_stream = _call(channel, _SEGMENTATION, "SegmentStream")
        self.list_models = _call(channel, _SEGMENTATION, "ListModels")
        self.translate = _call(channel, translation_pb2.DESCRIPTOR.services_by_name["Translation"], "Translate")
        self.detect = _call(channel, detection_pb2.DESCRIPTOR.services_by_name["Detection"], "Detect")


def read_message(kind: type[_M], data: bytes, max_bytes: int) -> _M:
    """The message of a response.

    Raises:
        InvalidResponseError: it has more bytes than what was sent can need, or is no such message.
    """
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise not_ours(error) from None
    return message


def _call(channel: grpc.Channel | grpc.aio.Channel, service: ServiceDescriptor, name: str) -> Any:  # noqa: ANN401 - one of two libraries' calls
    opened = channel.stream_stream if service.methods_by_name[name].client_streaming else channel.unary_unary
    return opened(f"/{service.full_name}/{name}", request_serializer=_serialized)


def _serialized(message: Message) -> bytes:
    return bytes(message.SerializeToString())

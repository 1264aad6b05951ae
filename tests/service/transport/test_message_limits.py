"""gRPC messages are counted before they are decoded: what is refused, and that everything a client sends is not."""

import tracemalloc
from types import SimpleNamespace

import grpc
import pytest

from geminifusion_service.errors import BodyTooLargeError, MalformedBodyError
from geminifusion_service.pb import open_inference_pb2 as oip
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.transport.grpc.message_limits import MessageLimits, check_message

INFER, SEGMENT = oip.ModelInferRequest.DESCRIPTOR, pb.SegmentRequest.DESCRIPTOR
Tensor = oip.ModelInferRequest.InferInputTensor
MOST_BYTES = 2**23


def in_field(number, content):
    """A field with bytes, by hand: protobuf would make objects of it."""
    length, coded = len(content), b""
    while length >= 0x80:
        coded, length = coded + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + coded + bytes([length]) + content


def field_of(message, name):
    return message.fields_by_name[name].number


INPUTS, OUTPUTS = field_of(INFER, "inputs"), field_of(INFER, "outputs")
CONTENTS = field_of(Tensor.DESCRIPTOR, "contents")
OF_CONTENTS = oip.InferTensorContents.DESCRIPTOR


def typed(name, content):
    return in_field(INPUTS, in_field(CONTENTS, in_field(field_of(OF_CONTENTS, name), content)))


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (in_field(INPUTS, b"") * 200_000, MalformedBodyError, "more than 10000 fields"),
        (in_field(OUTPUTS, b"") * 200_000, MalformedBodyError, "more than 10000 fields"),
        (in_field(7, b"") * 200_000, MalformedBodyError, "more than 10000 fields"),
        (in_field(15, b"") * 200_000, MalformedBodyError, "more than 10000 fields"),  # of a type that has none
        (
            in_field(INPUTS, in_field(CONTENTS, in_field(field_of(OF_CONTENTS, "bytes_contents"), b"") * 200_000)),
            MalformedBodyError,
            "more than 10000 fields",
        ),
        (typed("int64_contents", b"\1" * 50_001), BodyTooLargeError, "more than 50000 numbers"),
        (typed("bool_contents", b"\1" * 50_001), BodyTooLargeError, "more than 50000 numbers"),
        (typed("fp32_contents", bytes(4 * 50_001)), BodyTooLargeError, "more than 50000 numbers"),
        (typed("fp64_contents", bytes(8 * 25_001)) * 2, BodyTooLargeError, "more than 50000 numbers"),
        (b"\x2b" * 100_000, MalformedBodyError, "cannot be decoded"),
        (b"\xff" * 100, MalformedBodyError, "cannot be decoded"),
        (b"\x0a\x05a", MalformedBodyError, "cannot be decoded"),
    ],
    ids=["inputs", "outputs", "raw", "unknown", "files", "int64", "bool", "fp32", "two lists", "groups", "bits", "cut"],
)
def test_a_message_that_would_become_much_is_refused(data, error, said):
    tracemalloc.start()
    with pytest.raises(error) as raised:
        check_message(data, INFER, max_values=50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
    assert said in str(raised.value)


def test_what_clients_send_is_taken():
    files = [b"x" * 1000] * 64
    contents = oip.InferTensorContents(uint_contents=[255] * 49_000)
    for message in (
        oip.ModelInferRequest(
            model_name="m",
            inputs=[Tensor(name="rgb", datatype="UINT8", shape=[1, 100, 163, 3], contents=contents)],
        ),
        oip.ModelInferRequest(inputs=[Tensor(contents=oip.InferTensorContents(bytes_contents=files))]),
        oip.ModelInferRequest(inputs=[Tensor()] * 2, raw_input_contents=[bytes(200_000)] * 2),
    ):
        check_message(message.SerializeToString(), INFER, max_values=50_000)
    request = pb.SegmentRequest(images={"rgb": bytes(100_000), "depth": b""}, request_id="a")
    check_message(request.SerializeToString(), SEGMENT, max_values=64)
    check_message(b"", SEGMENT, max_values=64)


async def test_the_interceptor_counts_before_it_decodes():
    decoded = []
    handler = grpc.unary_unary_rpc_method_handler(None, request_deserializer=decoded.append)

    async def continuation(_details):
        return handler

    limits = MessageLimits({"/a/Infer": INFER}, max_values=100)
    counted = await limits.intercept_service(continuation, SimpleNamespace(method="/a/Infer"))
    counted.request_deserializer(b"")
    with pytest.raises(BodyTooLargeError):
        counted.request_deserializer(typed("bool_contents", b"\1" * 101))
    assert decoded == [b""]
    assert await limits.intercept_service(continuation, SimpleNamespace(method="/a/Other")) is handler

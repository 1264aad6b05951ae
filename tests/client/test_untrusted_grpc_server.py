"""Over gRPC too, a client takes no more of a server than the images it sent can need; V24."""

import asyncio
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tests.client.stream_calls import RGB, stream, stream_on_a_loop

from geminifusion import AsyncClient, Client, grpc_transport
from geminifusion.errors import (
    InvalidResponseError,
    RequestRejectedError,
    ResponseTimeoutError,
    ServerUnreachableError,
)
from geminifusion_runtime.encoding.run_lengths import encode_counts
from geminifusion_service.pb import detection_pb2, translation_pb2
from geminifusion_service.pb import segmentation_pb2 as pb

LARGE = np.zeros((512, 512, 3), np.uint8)
PACKAGE = "geminifusion.v1"
ANSI = "\x1b[2Jred\r\nforged: line\u202e"
MOST = "more than 1052672 bytes"


def result(side=16, class_id=1, **changed):
    """The message of a response to a square image, all of one class."""
    runs = pb.RunLengths(class_id=class_id, counts=encode_counts(np.array([0, side * side])))
    return pb.SegmentResponse(**{"model": "m@1", "height": side, "width": side, "rle": [runs], **changed})


def frame(number=0, **kinds):
    return pb.SegmentStreamResponse(frame=number, **kinds).SerializeToString()


def answering(*messages):
    """A handler that sends these once the first frame came, and ends the stream once the client has."""

    def handler(requests, call):
        next(requests)
        yield from messages
        for _ in requests:
            pass

    return handler


def data(message):
    return message if isinstance(message, bytes) else message.SerializeToString()


@pytest.fixture
def evil():
    """`evil(Segment=handler, …)`: address of a server whose calls respond with the bytes that the handlers give."""
    servers = []

    def serve(service="Segmentation", **handlers):
        server = grpc.server(ThreadPoolExecutor(4))
        kinds = {
            name: (grpc.stream_stream_rpc_method_handler if "Stream" in name else grpc.unary_unary_rpc_method_handler)(
                handler
            )
            for name, handler in handlers.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", kinds),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"grpc://127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.stop(0).wait(5)


def segment(url, timeout=5.0, image=RGB):
    with Client(url, timeout=timeout, retries=0) as client:
        return client.segment(image)


def segment_on_a_loop(url, timeout=5.0):
    async def ask():
        async with AsyncClient(url, timeout=timeout, retries=0) as client:
            return await client.segment(RGB)

    return asyncio.run(ask())


def test_a_good_response_is_taken(evil):
    url = evil(
        Segment=lambda request, call: data(result()),
        SegmentStream=lambda requests, call: (frame(number, response=result()) for number, _ in enumerate(requests)),
    )
    for responses in ([segment(url)], [segment_on_a_loop(url)]):
        assert responses[0].labels.shape == (16, 16)
    for responses in (stream(url, [RGB] * 3), stream_on_a_loop(url, [RGB] * 3)):
        assert [response.result.labels.shape for response in responses] == [(16, 16)] * 3


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(bytes(2_000_000), MOST, id="large"),
        # two bytes each, of which protobuf makes a hundred
        pytest.param(b"\x3a\0" * 1_000_000, MOST, id="large list"),
        pytest.param(result(classes=[pb.ClassShare()] * 257), "a list of 257 classes", id="many classes"),
        pytest.param(result(rle=[pb.RunLengths()] * 257), "a list of 257 classes", id="many masks"),
        pytest.param(b"\xff" * 50, "not one of geminifusion's", id="no message"),
        pytest.param(result(4000), "labels of 4000x4000 pixels for an image of 16x16", id="size"),
        pytest.param(result(0), "labels of 0x0 pixels", id="no size"),
        pytest.param(result(class_id=999), "class 999", id="class"),
        pytest.param(result(rle=[pb.RunLengths(counts="\x7f")]), "run-length string is damaged", id="runs"),
        pytest.param(result(classes=[pb.ClassShare(id=300)]), "300 is no number from 0 to 255", id="share"),
        pytest.param(
            result(classes=[pb.ClassShare(color=pb.Color(red=2**32 - 1))]), "is no number from 0 to 255", id="color"
        ),
        pytest.param(result(classes=[pb.ClassShare(space=pb.ClassSpace())]), "not enough values", id="space"),
        pytest.param(result(confidence=pb.Plane(height=2**31, width=2**31)), "not one of geminifusion's", id="map"),
        pytest.param(result(gate=pb.Plane(height=0, width=2**31)), "a map of 2147483648x0 values", id="empty map"),
    ],
)
def test_what_cannot_be_the_response_to_the_image_is_rejected(evil, message, said):
    in_stream = message if isinstance(message, bytes) else frame(response=message)
    url = evil(Segment=lambda request, call: data(message), SegmentStream=answering(in_stream))
    for ask in (segment, segment_on_a_loop, stream, stream_on_a_loop):
        with pytest.raises(InvalidResponseError, match=said):
            ask(url)


def test_each_frame_has_the_bound_of_its_own_image(evil):
    padded = result(warnings=["x" * 2_000_000])
    url = evil(SegmentStream=lambda requests, call: (frame(n, response=padded) for n, _ in enumerate(requests)))
    with pytest.raises(InvalidResponseError, match=MOST):
        stream(url, [RGB, LARGE])
    with pytest.raises(InvalidResponseError, match=MOST):
        stream_on_a_loop(url, [RGB, LARGE])


def test_what_the_channel_does_not_take_is_the_servers_fault(evil, monkeypatch):
    monkeypatch.setattr(grpc_transport, "MAX_RESPONSE_BYTES", 2**20)
    with pytest.raises(InvalidResponseError, match="the response has more than 1048576 bytes"):
        segment(evil(Segment=lambda request, call: bytes(2_000_000)))


def test_answers_of_another_size_are_called_what_they_are(evil, make_street):
    street = make_street()
    boxes = detection_pb2.DetectResponse(height=20, width=20)
    with Client(evil("Detection", Detect=lambda request, call: data(boxes)), retries=0) as client:
        with pytest.raises(InvalidResponseError, match="boxes of 20x20 pixels for an image of 200x60"):
            client.detect(street.rgb, street.points, street.calibration)
        boxes.Clear()
        boxes.MergeFrom(detection_pb2.DetectResponse(height=60, width=200, boxes=[detection_pb2.Box(class_id=3)]))
        with pytest.raises(InvalidResponseError, match="a box has a class that is none of 0"):
            client.detect(street.rgb, street.points, street.calibration)
        boxes.classes.append("x" * 2**22)
        with pytest.raises(InvalidResponseError, match="more than 4194304 bytes"):
            client.detect(street.rgb, street.points, street.calibration)


@pytest.mark.parametrize(
    ("shape", "size", "said"),
    [
        ((20, 20, 3), None, "an image of 20x20 pixels for an image of 16x16"),
        ((10**5, 10**5, 3), 100, "cut short"),  # of which numpy would make 30 GB before it found so
        ((1000, 1000, 3), None, MOST),
    ],
)
def test_a_translation_is_measured_before_it_is_made(evil, shape, size, said):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    body = stream.getvalue() + bytes(size or int(np.prod(shape)))
    message = translation_pb2.TranslateResponse(file=body)
    with (
        Client(evil("Translation", Translate=lambda request, call: data(message)), retries=0) as client,
        pytest.raises(InvalidResponseError, match=said),
    ):
        client.translate(rgb=RGB)


def test_a_call_ends_at_its_timeout_whatever_the_server_does(evil):
    over = threading.Event()

    def never(request, call):
        over.wait(10)
        return b""

    def first_only(requests, call):
        next(requests)
        yield frame(response=result())
        over.wait(10)  # and does not end the stream either

    url, begin = evil(Segment=never, SegmentStream=first_only), time.monotonic()
    try:
        for ask, said in (
            (segment, r"did not respond within 0\.4 s"),
            (segment_on_a_loop, r"did not respond within 0\.4 s"),
            (stream, r"responded to every frame, and did not end the stream within 0\.4 s"),
            (stream_on_a_loop, r"responded to every frame, and did not end the stream within 0\.4 s"),
            (lambda url, timeout: stream(url, [RGB] * 2, timeout), r"responded to no frame within 0\.4 s"),
            (lambda url, timeout: stream_on_a_loop(url, [RGB] * 2, timeout), r"responded to no frame within 0\.4 s"),
        ):
            with pytest.raises(ResponseTimeoutError, match=said):
                ask(url, timeout=0.4)
        assert time.monotonic() - begin < 6
    finally:
        over.set()


def test_a_stream_waits_for_its_caller_and_its_source(evil):
    def slowly():
        for _ in range(3):
            time.sleep(0.5)
            yield RGB

    url = evil(SegmentStream=lambda requests, call: (frame(n, response=result()) for n, _ in enumerate(requests)))
    with Client(url, timeout=0.3, retries=0) as client:
        assert len(list(client.stream(slowly()))) == 3
        for response in client.stream([RGB] * 3):
            assert response.error is None
            time.sleep(0.5)
    assert len(stream_on_a_loop(url, [RGB] * 3, 0.3)) == 3


@pytest.mark.parametrize("ask", [stream, stream_on_a_loop])
def test_a_stream_that_ends_too_soon_or_answers_what_was_not_asked_is_an_error(evil, ask):
    with pytest.raises(ServerUnreachableError, match="ended the stream and did not say why"):
        ask(evil(SegmentStream=answering()))
    with pytest.raises(InvalidResponseError, match="responded to frame 7"):
        ask(evil(SegmentStream=answering(frame(7, response=result()))))
    twice = [frame(response=result()), frame(response=result())]
    with pytest.raises(InvalidResponseError, match="responded to frame 0"):
        ask(evil(SegmentStream=answering(*twice)))


def test_nothing_of_a_server_commands_the_terminal(evil):
    def abort(request, call):
        call.set_trailing_metadata((("code", "bad_request"),))
        call.abort(grpc.StatusCode.INVALID_ARGUMENT, ANSI)

    with pytest.raises(RequestRejectedError) as rejected:
        segment(evil(Segment=abort))
    with pytest.raises(Exception, match="red") as bare:
        segment(evil(Segment=lambda request, call: call.abort(grpc.StatusCode.DATA_LOSS, ANSI)))
    problem = pb.Error(code=ANSI, message=ANSI, http_status=400, retry_after_s=1)
    (failed,) = stream(evil(SegmentStream=answering(frame(error=problem))))
    named = result(
        classes=[pb.ClassShare(id=1, name=ANSI)],
        model=ANSI,
        request_id=ANSI,
        warnings=[ANSI],
        sensors={ANSI: pb.SensorHealth(problem=ANSI)},
        modality_weights={ANSI: pb.Plane(height=1, width=1, float16=bytes(2))},
    )
    taken = segment(evil(Segment=lambda request, call: data(named)))
    for text in (
        str(rejected.value),
        str(bare.value),
        str(failed.error),
        failed.error.code,
        *taken.table().split("\n"),
        *taken.warnings,
        *taken.sensors,
        *taken.modality_weights,
        taken.sensors.popitem()[1].problem,
        repr(taken),
        taken.request_id,
    ):
        assert text.isprintable(), text


def test_a_list_of_models_that_is_none_is_an_invalid_response(evil):
    for message in (
        b"\xff" * 50,
        bytes(2**24 + 1),
        pb.ListModelsResponse(models=[pb.ModelDescription(json="[" * 10**6)]),
    ):
        url = evil(ListModels=lambda request, call, message=message: data(message))
        with Client(url, retries=0) as client, pytest.raises(InvalidResponseError):
            client.models()

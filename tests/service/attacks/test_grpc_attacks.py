"""Calls that would take memory, connections or other clients' places over gRPC; V08, V09, V12, V21, V25."""

import contextlib
import socket
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.service.attacks.conftest import KEY, SMALL, eventually

from geminifusion_service.api.open_inference.servicer import SERVICE_NAME as OPEN_INFERENCE
from geminifusion_service.api.v1.servicer import SERVICE_NAME
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

SEGMENT, STREAM = f"/{SERVICE_NAME}/Segment", f"/{SERVICE_NAME}/SegmentStream"


@contextlib.contextmanager
def channel_to(live):
    """A connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(live.grpc_target, options=options) as channel:
        yield channel


def health(live):
    with channel_to(live) as channel:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5).status


@pytest.mark.parametrize("server", ["small", "keyed"])
@pytest.mark.parametrize("call", ["watch", "reflection", "a check without its message"])
def test_calls_without_a_key_that_stay_open_keep_nobody_out(server, call, request):
    live = request.getfixturevalue(server)
    never = threading.Event()

    def silence():
        never.wait(20)
        return
        yield

    with channel_to(live) as channel:
        held = []
        for _ in range(150):
            if call == "watch":
                held.append(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))
            elif call == "reflection":
                method = channel.stream_stream(
                    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                    request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                )
                held.append(method(silence()))
            else:
                held.append(channel.stream_unary("/grpc.health.v1.Health/Check").future(silence()))
        time.sleep(0.2)
        assert health(live) == health_pb2.HealthCheckResponse.SERVING
        never.set()
        for one in held:
            one.cancel()


def test_the_watch_that_has_to_end_says_why(small):
    with channel_to(small) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(70)]
        for one in watches:
            with contextlib.suppress(grpc.RpcError):
                next(one)
        # Which of them came first is up to gRPC.
        assert eventually(lambda: sum(one.done() for one in watches) >= 6)
        ended = next(one for one in watches if one.done())
        assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "queue_full: this server takes 64 calls that need no API key at once" in ended.details()
        for one in watches:
            one.cancel()


@pytest.mark.parametrize("path", [SEGMENT, f"/{OPEN_INFERENCE}/ModelInfer", f"/{OPEN_INFERENCE}/ModelMetadata"])
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0b" * 100_000, b"no message"])
def test_what_cannot_be_decoded_is_an_invalid_argument(small, path, data):
    if "Metadata" in path:
        data = data[:1000]
    with channel_to(small) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(path)(data, timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("malformed_body: the message cannot be decoded")
    assert "; send " in refused.value.details()


def test_a_frame_that_cannot_be_decoded_ends_its_stream_as_an_invalid_argument(small):
    with channel_to(small) as channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(STREAM)(iter([b"\xff\xff\xff"]), timeout=5))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_large_message_of_a_call_that_takes_names_is_rejected(small):
    with channel_to(small) as channel, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="x" * 200_000), timeout=5)
    assert "body_too_large" in refused.value.details()


def test_two_keys_are_one_too_many(keyed):
    with channel_to(keyed) as channel:
        stub = SegmentationStub(channel)
        assert stub.ListModels(pb.ListModelsRequest(), metadata=[("x-api-key", KEY)], timeout=5).models
        for other in ("bad", KEY):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ListModels(pb.ListModelsRequest(), metadata=[("x-api-key", other), ("x-api-key", KEY)], timeout=5)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class Unfinished:
    """A call of `Segment` or a stream of frames, of whose message all but the end comes."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)

    def __init__(self, live, path, size):
        self.socket = socket.create_connection(("127.0.0.1", live.server.grpc_port), 10)
        headers = b"\x83\x86" + b"".join(
            b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
            for name, value in (
                (b":path", path.encode()),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            )
        )
        self.socket.sendall(self.PREFACE + self.frame(1, 4, headers))
        self.left = b"\x00" + (size + 10).to_bytes(4, "big") + bytes(size)
        self.window = self.window_of_all = 65_535  # of the call, and of its connection
        self.unsent = b""
        self.received = b""
        self.socket.setblocking(False)

    @staticmethod
    def frame(kind, flags, data):
        return len(data).to_bytes(3, "big") + bytes([kind, flags]) + (1).to_bytes(4, "big") + data

    def pump(self):
        """Send what the server's windows allow."""
        with contextlib.suppress(BlockingIOError, OSError):
            self.received += self.socket.recv(65536)
        while len(self.received) >= 9 and len(self.received) >= 9 + int.from_bytes(self.received[:3], "big"):
            end = 9 + int.from_bytes(self.received[:3], "big")
            kind, stream, data = self.received[3], int.from_bytes(self.received[5:9], "big"), self.received[9:end]
            self.received = self.received[end:]
            if kind == 8 and stream == 1:
                self.window += int.from_bytes(data, "big")
            elif kind == 8:
                self.window_of_all += int.from_bytes(data, "big")
            elif kind == 4 and data:
                self.unsent += bytes(3) + b"\x04\x01" + bytes(4)  # before that the new window is not valid
                for at in range(0, len(data), 6):
                    if data[at : at + 2] == b"\x00\x04":
                        self.window += int.from_bytes(data[at + 2 : at + 6], "big") - 65_535
            elif kind in (3, 7) or (kind == 1 and stream == 1):
                self.left = b""  # it was refused
        size = min(len(self.left), self.window, self.window_of_all, 16_384)
        if not self.unsent and size > 0:
            self.unsent = self.frame(0, 0, self.left[:size])
            self.left = self.left[size:]
            self.window -= size
            self.window_of_all -= size
        with contextlib.suppress(BlockingIOError, OSError):
            self.unsent = self.unsent[self.socket.send(self.unsent) :]


@pytest.mark.parametrize("path", [SEGMENT, STREAM])
def test_messages_that_do_not_end_hold_no_more_than_the_budget_and_give_way(serving, path, held, pair):
    limits = {**SMALL, "max_body_bytes": 2_000_000, "max_inflight_bytes": 6_000_000}
    with serving(**limits) as live, contextlib.ExitStack() as stack:
        calls = []
        for _ in range(10):
            calls.append(Unfinished(live, path, 1_500_000))
            stack.callback(calls[-1].socket.close)
        peak, begin = 0, time.monotonic()
        while time.monotonic() - begin < (0.7 if peak > 1_500_000 else 5):
            for call in calls:
                call.pump()
            peak = max(peak, held(live))
        assert 1_500_000 < peak <= 6_000_000
        assert eventually(lambda: live.post(pair.files()).status_code == 200)
        with channel_to(live) as channel:
            SegmentationStub(channel).Segment(pb.SegmentRequest(images=pair.files()), timeout=10)
        stack.close()
        assert eventually(lambda: held(live) == 0)


def test_large_messages_at_once_are_counted(serving, held, pair):
    message = pb.SegmentRequest(images=pair.files(pad=bytes(900_000))).SerializeToString()
    codes = []
    with serving(**{**SMALL, "max_body_bytes": 2_000_000, "max_inflight_bytes": 2_000_000}) as live:

        def send():
            with channel_to(live) as channel:
                try:
                    channel.unary_unary(SEGMENT)(message, timeout=10)
                except grpc.RpcError as error:
                    codes.append(error.code().name)

        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        peak = 0
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, held(live))
        assert peak <= 2_000_000
        assert eventually(lambda: held(live) == 0)
        # "pad" is no input of the model: that is said of those that were taken.
        assert set(codes) <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


def test_silent_connections_are_bounded_and_closed(serving, pair):
    with serving(max_grpc_connections=20, head_timeout_s=0.5) as live:
        address = ("127.0.0.1", live.server.grpc_port)
        silent = [socket.create_connection(address, 10) for _ in range(40)]
        assert live.post(pair.files()).status_code == 200
        for one in silent:
            one.settimeout(4)
            with contextlib.suppress(ConnectionError):
                while one.recv(1000):
                    pass
            one.close()
        assert health(live) == health_pb2.HealthCheckResponse.SERVING

"""Calls are admitted on their metadata; messages and compressed bytes have limits; health and reflection."""

import contextlib
import gzip
import socket
import threading
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from geminifusion_runtime.model import Model
from geminifusion_service.api.v1.servicer import SERVICE_NAME
from geminifusion_service.grpc_server import REFLECTION_V1
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

SEGMENT = f"/{SERVICE_NAME}/Segment"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def channel(live_server):
    with grpc.insecure_channel(live_server.grpc_target) as opened:
        yield opened


def held_call(channel):
    """`Segment` as called by a client that sends its metadata and not its message."""
    return channel.stream_unary(
        SEGMENT,
        request_serializer=pb.SegmentRequest.SerializeToString,
        response_deserializer=pb.SegmentResponse.FromString,
        _registered_method=True,
    )


def test_a_full_server_rejects_before_the_message_is_sent(serving, monkeypatch, pair):
    with serving(queue_size=1) as live, grpc.insecure_channel(live.grpc_target) as channel:
        reached, release, never = threading.Event(), threading.Event(), threading.Event()
        run = Model.run_stacked

        def held(model, *arguments):
            reached.set()
            assert release.wait(20)
            return run(model, *arguments)

        monkeypatch.setattr(Model, "run_stacked", held)
        first = SegmentationStub(channel).Segment.future(pb.SegmentRequest(images=pair.files()))
        assert reached.wait(10)

        def keep():
            never.wait(20)
            return
            yield

        with pytest.raises(grpc.RpcError) as refused:
            held_call(channel)(keep(), timeout=10)
        never.set()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        metadata = dict(refused.value.trailing_metadata())
        assert (metadata["code"], metadata["retry-pushback-ms"]) == ("queue_full", "1000")
        release.set()
        assert first.result(20).height == 48, "the admitted one is served"


def test_a_message_that_never_arrives_times_out(serving):
    with serving(body_timeout_s=0.1) as live, grpc.insecure_channel(live.grpc_target) as channel:
        never = threading.Event()

        def keep():
            never.wait(20)
            return
            yield

        with pytest.raises(grpc.RpcError) as refused:
            held_call(channel)(keep())
        never.set()
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert dict(refused.value.trailing_metadata())["code"] == "body_timeout"


def test_a_call_without_a_message_is_rejected(channel):
    with pytest.raises(grpc.RpcError) as refused:
        held_call(channel)(iter(()))
    assert dict(refused.value.trailing_metadata())["code"] == "empty_body"


def test_permanent_errors_tell_clients_not_to_retry(channel, pair):
    with pytest.raises(grpc.RpcError) as refused:
        SegmentationStub(channel).Segment(pb.SegmentRequest(images=pair.files(rgb=b"broken")))
    metadata = dict(refused.value.trailing_metadata())
    assert (metadata["code"], metadata["retry-pushback-ms"]) == ("undecodable_image", "-1")
    assert "retry-after" not in metadata


def test_compressed_requests_are_read_and_decompressed_only_up_to_the_limit(serving, pair):
    with serving(max_body_bytes=100_000) as live, grpc.insecure_channel(live.grpc_target) as channel:
        stub = SegmentationStub(channel)
        request = pb.SegmentRequest(images=pair.files())
        assert stub.Segment(request, compression=grpc.Compression.Gzip).mask == stub.Segment(request).mask
        bomb = pb.SegmentRequest(images=pair.files(rgb=bytes(20_000_000)))
        assert len(gzip.compress(bomb.SerializeToString())) < 100_000
        with pytest.raises(grpc.RpcError) as refused:
            stub.Segment(bomb, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.Segment(request).height == 48


@contextmanager
def counting_relay(target):
    """A relay in front of a server that counts the bytes it sends back."""
    host, port = target.split(":")
    count = [0]

    def pump(source, sink, counter):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                counter[0] += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            client, _ = listener.accept()
            with client, socket.create_connection((host, int(port))) as server:
                upstream = threading.Thread(target=pump, args=(client, server, [0]))
                upstream.start()
                pump(server, client, count)
                upstream.join(10)

        relay = threading.Thread(target=accept)
        relay.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", count
        relay.join(10)


@pytest.mark.parametrize(("mask_format", "compressed"), [(pb.MASK_FORMAT_RLE, True), (pb.MASK_FORMAT_PNG, False)])
def test_only_responses_that_shrink_are_compressed(live_server, make_pair, mask_format, compressed):
    noise = make_pair(0, 100, 160)
    rng = np.random.default_rng(0)
    noise.rgb[:] = 255 * rng.integers(0, 2, (100, 160, 1), dtype=np.uint8)
    request = pb.SegmentRequest(images=noise.files(), format=mask_format)
    with counting_relay(live_server.grpc_target) as (target, count), grpc.insecure_channel(target) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        before = count[0]
        answer = SegmentationStub(channel).Segment(request)
        received = count[0] - before
    assert (received < 0.7 * answer.ByteSize()) is compressed


def test_health_knows_services_and_models(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE_NAME, "inference.GRPCInferenceService", "model/tiny", "model/tiny@1"):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING, name
    for name in ("model/huge", "nobody"):
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(health_pb2.HealthCheckRequest(service=name))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watching = health.Watch(health_pb2.HealthCheckRequest(service=name))
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watching.cancel()


def test_a_watch_of_health_reports_the_drain(serving):
    with serving() as live, grpc.insecure_channel(live.grpc_target) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == SERVING
        live.server.segmenter.mark_draining()
        assert next(watching).status == NOT_SERVING
        watching.cancel()


def test_reflection_is_served_under_v1_as_well(channel):
    ask = channel.stream_stream(
        f"/{REFLECTION_V1}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        _registered_method=True,
    )
    listing, file = ask(
        iter(
            [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
            ]
        )
    )
    names = [service.name for service in listing.list_services_response.service]
    assert {SERVICE_NAME, "inference.GRPCInferenceService", REFLECTION_V1} <= set(names)
    assert len(file.file_descriptor_response.file_descriptor_proto) == 1

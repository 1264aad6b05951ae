"""SIGTERM while requests come: whatever was accepted is answered, and nothing is accepted that will not be.

A client that sends `Expect: 100-continue` knows whether it was accepted: the server invites the body only then.
"""

import signal
import threading
import time

import grpc
import pytest

from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

CLIENTS = 6


@pytest.mark.slow
def test_every_request_accepted_over_http_is_answered(server_process, raw_http, make_pair):
    files = make_pair(0, 480, 640).files()
    answered, lost, refused = [], [], []
    stop = threading.Event()

    def client(server):
        connection = None
        while not stop.is_set():
            try:
                connection = connection or raw_http(server.host, server.http_port, files)
                connection.send(connection.expectant_head)
                invitation = connection.answer()
            except OSError:  # no longer listening
                refused.append("unreachable")
                connection = None
                time.sleep(0.02)
                continue
            if not invitation.startswith(b"HTTP/1.1 100"):
                refused.append(invitation[:12])
                connection = None
                continue
            try:
                connection.send(connection.body)
                status = connection.status()
            except OSError as error:
                status = repr(error)
            (answered if status == 200 else lost).append(status)
            if status != 200:
                connection = None

    with server_process("--decode-workers", 1, "--drain-s", 30) as server:
        threads = [threading.Thread(target=client, args=(server,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        before = len(answered)
        assert server.terminate() == 0
        stop.set()
        for thread in threads:
            thread.join(30)
        assert "Traceback" not in "".join(server.stderr)
    assert lost == []
    assert before >= 1
    assert len(answered) > before, "nothing was in flight when it was told to stop"


@pytest.mark.slow
def test_every_call_in_flight_over_grpc_is_answered(server_process, make_pair):
    message = pb.SegmentRequest(images=make_pair(0, 1200, 1600).files())
    with server_process("--decode-workers", 1, "--drain-s", 30) as server:
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = SegmentationStub(channel)
            stub.Segment(message, timeout=30)
            calls = [stub.Segment.future(message, timeout=30) for _ in range(CLIENTS)]
            until = time.monotonic() + 20
            while server.metric("geminifusion_in_flight") < CLIENTS:
                assert time.monotonic() < until, "the calls did not arrive"
            server.process.send_signal(signal.SIGTERM)
            assert [call.code() for call in calls] == [grpc.StatusCode.OK] * CLIENTS
        assert server.process.wait(60) == 0

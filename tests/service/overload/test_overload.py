"""More requests than the server takes on: refused at once and retryably; nothing hangs, and it ends when they do."""

import threading
import time

import grpc
import httpx
import pytest

from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub

CLIENTS, QUEUE = 12, 2


def hammer(send, seconds):
    """`send()` from many threads; what it returned, each with its seconds."""
    answers, until = [], time.monotonic() + seconds

    def client():
        while time.monotonic() < until:
            start = time.monotonic()
            answers.append((send(), time.monotonic() - start))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a request hangs"
    return answers


def test_http_overload_is_refused_retryably_and_leaves_no_trace(serving, make_pair):
    files = make_pair(1, 480, 640).files()  # tens of milliseconds to decode
    with serving(queue_size=QUEUE, decode_workers=1) as live, httpx.Client(trust_env=False, timeout=30) as client:

        def send():
            answer = client.post(f"{live.url}/v1/segment", files=files)
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.json()["code"] == "queue_full"
            return answer.status_code

        answers = hammer(send, 0.8)
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 429}
        accepted = [seconds for status, seconds in answers if status == 200]
        # Those that were let in wait for nobody but each other, whatever the crowd outside.
        assert sorted(accepted)[len(accepted) // 2] < 2
        after = time.monotonic()
        while live.post(files).status_code != 200:
            assert time.monotonic() - after < 2, "it has not recovered"
        assert live.get("/healthz/ready").status_code == 200


@pytest.mark.slow
def test_grpc_overload_is_refused_as_resource_exhausted(serving, make_pair):
    message = pb.SegmentRequest(images=make_pair(1, 480, 640).files())
    with serving(queue_size=QUEUE, decode_workers=1) as live, grpc.insecure_channel(live.grpc_target) as channel:
        stub = SegmentationStub(channel)

        def send():
            try:
                stub.Segment(message, timeout=30)
            except grpc.RpcError as error:
                return error.code(), dict(error.trailing_metadata())["code"]
            return grpc.StatusCode.OK, "ok"

        answers = {answer for answer, _ in hammer(send, 1.5)}
        assert answers == {(grpc.StatusCode.OK, "ok"), (grpc.StatusCode.RESOURCE_EXHAUSTED, "queue_full")}
        assert stub.Segment(message, timeout=30).mask

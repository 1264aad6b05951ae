"""Streams over gRPC: newest frame wins, back-pressure, limits, drain; with the engine held where order matters."""

import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from geminifusion_runtime.model import Model
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb.segmentation_pb2_grpc import SegmentationStub


class Gate:
    """Holds the engine while it is closed."""

    def __init__(self, monkeypatch):
        self._open = threading.Event()
        self._open.set()
        self.reached = threading.Event()
        self.num_runs = 0
        run = Model.run_stacked

        def held(model, *arguments):
            if not self._open.is_set():
                self.num_runs += 1
                self.reached.set()
            assert self._open.wait(20)
            return run(model, *arguments)

        monkeypatch.setattr(Model, "run_stacked", held)

    def close(self):
        self._open.clear()

    def open(self):
        self._open.set()


@pytest.fixture
def gate(monkeypatch):
    made = Gate(monkeypatch)
    yield made
    made.open()


@pytest.fixture
def stub(live_server):
    with grpc.insecure_channel(live_server.grpc_target) as channel:
        yield SegmentationStub(channel)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def metric(live, name):
    for line in live.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"there is no metric {name}")


def frame(pair, number, **fields):
    return pb.SegmentRequest(images=pair.files(), request_id=f"f{number}", **fields)


def test_a_camera_gets_the_newest_frame_while_the_engine_is_behind(stub, gate, pair):
    gate.close()
    sent = iter([frame(pair, number, supersedable=True) for number in range(12)])
    call = stub.SegmentStream(sent)
    superseded = [next(call) for _ in range(9)]
    assert [answer.frame for answer in superseded] == list(range(2, 11)), "0 and 1 are at the engine, 11 waits"
    assert {answer.error.code for answer in superseded} == {"frame_superseded"}
    assert [answer.request_id for answer in superseded] == [f"f{number}" for number in range(2, 11)]
    assert not any(answer.error.HasField("retry_after_s") for answer in superseded)
    gate.open()
    rest = list(call)
    assert [(answer.frame, answer.WhichOneof("result")) for answer in rest] == [
        (0, "response"), (1, "response"), (11, "response")
    ]  # fmt: skip


def test_answers_of_a_stream_are_those_of_single_calls(stub, make_pair):
    pairs = [make_pair(seed) for seed in range(3)]
    answers = list(stub.SegmentStream(iter([frame(one, number) for number, one in enumerate(pairs)])))
    assert [answer.frame for answer in answers] == [0, 1, 2]
    assert [a.response.mask for a in answers] == [stub.Segment(frame(one, 0)).mask for one in pairs]


def test_supersedable_is_refused_outside_streams(stub, pair):
    with pytest.raises(grpc.RpcError) as refused:
        stub.Segment(frame(pair, 0, supersedable=True))
    assert dict(refused.value.trailing_metadata())["code"] == "invalid_option"


@pytest.mark.slow
def test_a_client_that_does_not_read_is_not_read_from(live_server, make_pair):
    # Large answers, so that a few of them fill what the transport itself holds.
    image = make_pair(0, 700, 900)
    large = pb.SegmentRequest(images=image.files(), format=pb.MASK_FORMAT_NPZ)
    assert large.ByteSize() > 100_000
    sent = []

    def frames():
        for number in range(10_000):
            sent.append(number)
            yield large

    with grpc.insecure_channel(live_server.grpc_target) as channel:
        call = SegmentationStub(channel).SegmentStream(frames())
        before = -1
        while before != len(sent):  # until nothing moves any more
            before = len(sent)
            time.sleep(0.4)
        assert len(sent) < 500
        next(call)
        call.cancel()


def test_a_client_that_goes_takes_its_queued_frames_with_it(stub, live_server, gate, pair):
    gate.close()
    before = metric(live_server, 'geminifusion_dropped_total{reason="client_gone"}')
    call = stub.SegmentStream(iter([frame(pair, number) for number in range(4)]))
    until(lambda: metric(live_server, "geminifusion_in_flight") == 4)
    assert gate.reached.wait(10)
    call.cancel()
    until(lambda: metric(live_server, "geminifusion_in_flight") == 0)
    assert metric(live_server, 'geminifusion_dropped_total{reason="client_gone"}') == before + 4
    gate.open()
    until(lambda: metric(live_server, "geminifusion_queue_depth") == 0)
    assert gate.num_runs == 1, "only the batch that was at the engine already"


def test_only_so_many_streams_are_let_in(serving, pair):
    with serving(max_streams=1) as live, grpc.insecure_channel(live.grpc_target) as channel:
        stub = SegmentationStub(channel)
        hold = threading.Event()

        def first():
            yield frame(pair, 0)
            hold.wait(20)

        open_call = stub.SegmentStream(first())
        next(open_call)
        with pytest.raises(grpc.RpcError) as refused:
            next(stub.SegmentStream(iter([frame(pair, 1)])))
        hold.set()
        assert list(open_call) == []
        error = refused.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        metadata = dict(error.trailing_metadata())
        assert (metadata["code"], metadata["retry-after"], metadata["retry-pushback-ms"]) == ("queue_full", "1", "1000")
        status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
        reason, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert status.details[0].Unpack(reason)
        assert status.details[1].Unpack(retry)
        assert (status.code, reason.reason, retry.retry_delay.seconds) == (8, "queue_full", 1)
        assert next(stub.SegmentStream(iter([frame(pair, 1)]))).response.height == 48, "the place is free again"


def test_a_resting_stream_ends(serving, pair):
    with serving(stream_idle_s=0.1) as live, grpc.insecure_channel(live.grpc_target) as channel:
        hold = threading.Event()

        def one():
            yield frame(pair, 0)
            hold.wait(20)

        call = SegmentationStub(channel).SegmentStream(one())
        assert next(call).response.height == 48
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
        hold.set()
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert dict(ended.value.trailing_metadata())["code"] == "body_timeout"


def test_stopping_answers_accepted_frames_and_then_ends_the_stream(serving, gate, pair):
    with serving(drain_s=20) as live, grpc.insecure_channel(live.grpc_target) as channel:
        gate.close()
        hold = threading.Event()

        def frames():
            for number in range(3):
                yield frame(pair, number)
            hold.wait(20)

        call = SegmentationStub(channel).SegmentStream(frames())
        until(lambda: metric(live, "geminifusion_in_flight") == 3)
        stopping = threading.Thread(target=live.stop)
        stopping.start()
        time.sleep(0.1)
        gate.open()
        answers, error = [], None
        try:
            for answer in call:
                answers.append(answer)
        except grpc.RpcError as ended:
            error = ended
        hold.set()
        stopping.join(20)
        assert [answer.frame for answer in answers] == [0, 1, 2]
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata())["code"] == "not_ready"

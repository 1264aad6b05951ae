"""inference.GRPCInferenceService of a live server: the same tensors, the same errors."""

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from geminifusion_service.api.open_inference.servicer import SERVICE_NAME
from geminifusion_service.pb import open_inference_pb2 as pb
from geminifusion_service.pb.open_inference_pb2_grpc import GRPCInferenceServiceStub

Tensor = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


@pytest.fixture
def channel(live_server):
    with grpc.insecure_channel(live_server.grpc_target) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return GRPCInferenceServiceStub(channel)


def raw_request(pair, **fields):
    return pb.ModelInferRequest(
        model_name="tiny_raw",
        inputs=[
            Tensor(name="rgb", datatype="UINT8", shape=[1, *pair.rgb.shape]),
            Tensor(name="depth", datatype="UINT16", shape=[1, *pair.depth_mm.shape]),
        ],
        raw_input_contents=[pair.rgb.tobytes(), pair.depth_mm.tobytes()],
        **fields,
    )


def assert_refused(call, status, code):
    with pytest.raises(grpc.RpcError) as refused:
        call()
    error = refused.value
    assert error.code() is status
    assert dict(error.trailing_metadata())["code"] == code
    assert error.details().startswith(f"{code}: ")


def test_server_and_model_say_what_they_say_over_http(stub, live_server):
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="tiny", version="1")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="tiny", version="2")).ready
    http = live_server.get("/v2").json()
    assert list(stub.ServerMetadata(pb.ServerMetadataRequest()).extensions) == http["extensions"]
    for name in ("tiny", "tiny_raw"):
        over_http = live_server.get(f"/v2/models/{name}").json()
        answer = stub.ModelMetadata(pb.ModelMetadataRequest(name=name))
        assert [(t.name, t.datatype, list(t.shape)) for t in [*answer.inputs, *answer.outputs]] == [
            tuple(tensor.values()) for tensor in over_http["inputs"] + over_http["outputs"]
        ]
        config = stub.ModelConfig(pb.ModelConfigRequest(name=name)).config
        over_http = live_server.get(f"/v2/models/{name}/config").json()
        assert config.max_batch_size == over_http["max_batch_size"]
        assert [(t.name, pb.DataType.Name(t.data_type), list(t.dims)) for t in config.input] == [
            tuple(tensor.values()) for tensor in over_http["input"]
        ]
    assert stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats[0].name == "tiny"


def test_raw_contents_answer_raw_contents(stub, pair):
    answer = stub.ModelInfer(raw_request(pair, id="r-1"))
    assert (answer.model_name, answer.model_version, answer.id) == ("tiny_raw", "1", "r-1")
    assert [(out.name, out.datatype, list(out.shape)) for out in answer.outputs] == [
        ("labels", "UINT8", [1, 48, 64]),
        ("confidence", "FP32", [1, 12, 16]),
        ("gate", "FP32", [1, 12, 16]),
    ]
    assert answer.raw_output_contents[0] == pair.labels.tobytes()
    assert len(answer.raw_output_contents[1]) == 4 * 12 * 16
    assert answer.parameters["compute_ms"].double_param > 0


def test_typed_contents_answer_typed_contents(stub, make_pair):
    pair = make_pair(5, 16, 24)
    request = pb.ModelInferRequest(model_name="tiny", outputs=[Output(name="labels"), Output(name="gate")])
    colors = request.inputs.add(name="rgb", datatype="UINT8", shape=[1, 16, 24, 3])
    colors.contents.uint_contents.extend(pair.rgb.ravel().tolist())
    metres = request.inputs.add(name="depth", datatype="FP32", shape=[1, 16, 24])
    metres.contents.fp32_contents.extend((pair.depth_mm / 1000).ravel().tolist())
    answer = stub.ModelInfer(request)
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.uint_contents) == pair.labels.ravel().tolist()
    assert len(answer.outputs[1].contents.fp32_contents) == 4 * 6


def test_files_come_raw_or_typed(stub, pair, live_server):
    png = live_server.post(pair.files()).content
    typed = pb.ModelInferRequest(model_name="tiny")
    raw = pb.ModelInferRequest(model_name="tiny")
    for name, data in pair.files().items():
        typed.inputs.add(name=name, datatype="BYTES", shape=[1]).contents.bytes_contents.append(data)
        raw.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        raw.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
    assert list(stub.ModelInfer(typed).outputs[0].contents.bytes_contents) == [png]
    answer = stub.ModelInfer(raw)
    assert list(answer.outputs[0].shape) == [1, 1]
    assert answer.raw_output_contents[0] == len(png).to_bytes(4, "little") + png


def test_parameters_of_every_kind_are_options(stub, pair):
    request = raw_request(pair, outputs=[Output(name="labels")])
    request.parameters["depth_scale"].double_param = 0.002
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 20_000_000
    request.parameters["sensor_policy"].string_param = "warn"
    answer = stub.ModelInfer(request)
    expected = 2 * (pair.labels >= 2) + (pair.depth_mm * np.float32(0.002) > 2)
    assert answer.raw_output_contents[0] == expected.astype(np.uint8).tobytes()


TWO = pb.InferParameter(int64_param=2)


def damaged(pair, change):
    request = raw_request(pair)
    change(request)
    return request


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: r.raw_input_contents.pop(), "malformed_body"),
        (lambda r: r.inputs[0].contents.uint_contents.append(1), "malformed_body"),
        (lambda r: r.inputs[0].shape.append(2), "malformed_body"),
        (lambda r: r.ClearField("inputs"), "malformed_body"),
        (lambda r: r.ClearField("raw_input_contents"), "malformed_body"),
        (lambda r: r.inputs[0].MergeFrom(Tensor(datatype="FP8")), "malformed_body"),
        (lambda r: r.inputs[1].MergeFrom(Tensor(name="rgb")), "malformed_body"),
        (lambda r: r.inputs[1].MergeFrom(Tensor(name="thermal")), "missing_part"),
        (lambda r: r.outputs.add(name="nothing"), "invalid_option"),
        (lambda r: r.outputs.add(name="labels").parameters["classification"].MergeFrom(TWO), "invalid_option"),
        (lambda r: r.parameters["scale"].MergeFrom(TWO), "invalid_option"),
        (lambda r: r.parameters["depth_scale"].MergeFrom(pb.InferParameter()), "invalid_option"),
        (lambda r: r.inputs[0].parameters["layout"].MergeFrom(TWO), "invalid_option"),
    ],
)
def test_bad_requests_are_refused_with_status_and_code(stub, pair, change, code):
    assert_refused(lambda: stub.ModelInfer(damaged(pair, change)), grpc.StatusCode.INVALID_ARGUMENT, code)


def test_typed_contents_of_another_type_are_refused(stub):
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="rgb", datatype="UINT8", shape=[1, 1, 1, 3]).contents.int_contents.extend([1, 2, 3])
    assert_refused(lambda: stub.ModelInfer(request), grpc.StatusCode.INVALID_ARGUMENT, "malformed_body")
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="rgb", datatype="UINT8", shape=[1, 1, 1, 3]).contents.uint_contents.extend([1, 2, 256])
    assert_refused(lambda: stub.ModelInfer(request), grpc.StatusCode.INVALID_ARGUMENT, "malformed_body")
    request = pb.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="depth", datatype="FP16", shape=[1, 1, 1]).contents.fp32_contents.append(1)
    assert_refused(lambda: stub.ModelInfer(request), grpc.StatusCode.INVALID_ARGUMENT, "malformed_body")


def test_unknown_models_are_not_found(stub, pair):
    missing = {"name": "nothing"}
    for call in (
        lambda: stub.ModelMetadata(pb.ModelMetadataRequest(**missing)),
        lambda: stub.ModelConfig(pb.ModelConfigRequest(**missing)),
        lambda: stub.ModelStatistics(pb.ModelStatisticsRequest(**missing)),
        lambda: stub.ModelInfer(pb.ModelInferRequest(model_name="nothing")),
        lambda: stub.ModelInfer(raw_request(pair, model_version="7")),
    ):
        assert_refused(call, grpc.StatusCode.NOT_FOUND, "model_not_found")


def test_the_deadline_of_the_call_holds(stub, pair):
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(raw_request(pair), timeout=1e-4)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stream_answers_in_order_and_outlives_a_bad_request(stub, make_pair):
    pairs = [make_pair(seed) for seed in range(6)]

    def requests():
        for index, pair in enumerate(pairs):
            request = raw_request(pair, id=str(index), outputs=[Output(name="labels")])
            if index == 2:
                request.raw_input_contents.pop()
            if index == 4:
                request.parameters["triton_enable_empty_final_response"].bool_param = True
            yield request

    answers = list(stub.ModelStreamInfer(requests()))
    assert [answer.infer_response.id for answer in answers] == [str(index) for index in range(6)]
    assert answers[2].error_message.startswith("malformed_body: ")
    assert not answers[2].infer_response.outputs
    for index in (0, 1, 3, 4, 5):
        assert not answers[index].error_message
        assert answers[index].infer_response.raw_output_contents[0] == pairs[index].labels.tobytes()
    assert answers[4].infer_response.parameters["triton_final_response"].bool_param
    assert "triton_final_response" not in answers[3].infer_response.parameters


def test_health_and_reflection_know_the_service(channel):
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE_NAME)
    answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked])))
    assert answer.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(("datatype", "dtype", "factor"), [("FP32", "<f4", 1 / 255), ("UINT16", "<u2", 256)])
def test_colour_of_another_type_is_refused_and_never_cast(stub, pair, datatype, dtype, factor):
    request = raw_request(pair)
    request.inputs[0].datatype = datatype
    request.raw_input_contents[0] = (pair.rgb * float(factor)).astype(dtype).tobytes()
    assert_refused(lambda: stub.ModelInfer(request), grpc.StatusCode.INVALID_ARGUMENT, "unprocessable")

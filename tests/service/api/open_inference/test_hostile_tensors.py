"""Tensors that announce more than they hold: refused before anything is made of them; V03, V05, V06, V20."""

import json
import tracemalloc

import httpx
import numpy as np
import pytest

from geminifusion_runtime.errors import TooLargeError
from geminifusion_service.api.open_inference.grpc_messages import request_from
from geminifusion_service.api.open_inference.tensors import check_shape, from_json, from_raw
from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.pb import open_inference_pb2 as pb

MOST_BYTES = 2**20


@pytest.fixture
def little_memory():
    """The test takes no more than MOST_BYTES, whatever is posted."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


LONG_AND_SHORT = ["a" * 5_000] + ["b"] * 1_000  # as an array of text they would take 20 MB, and squared as much


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("UINT8", (1001,), LONG_AND_SHORT, "holds what is no UINT8"),
        ("UINT8", (2,), LONG_AND_SHORT, "has 1001 values, but shape [2] has 2"),
        ("BYTES", (2,), LONG_AND_SHORT, "has 1001 values, but shape [2] has 2"),
        ("UINT8", (2,), [[], []], "holds what is no UINT8"),
        ("UINT8", (2, 2), [[1, 2], [3]], "not nested as its shape"),
        ("UINT8", (2, 2), [[1, 2], 3], "not nested as its shape"),
        ("UINT8", (2, 2), [1, [2], 3, 4], "holds what is no UINT8"),
        ("UINT8", (1, 1), [[[1]]], "holds what is no UINT8"),
        ("UINT8", (2,), [1, True], "holds what is no UINT8"),
        ("UINT8", (2,), [1, 2.0], "holds what is no UINT8"),
        ("UINT8", (1,), [256], "leaves UINT8's 0 to 255"),
        ("UINT8", (1,), [-1], "leaves UINT8's 0 to 255"),
        ("INT64", (1,), [2**63], "leaves INT64's"),
        ("UINT64", (1,), [10**400], "leaves UINT64's"),
        ("FP32", (1,), [10**400], "holds a number that is too long"),
        ("FP32", (1,), [None], "holds what is no FP32"),
        ("BOOL", (1,), [1], "holds what is no BOOL"),
    ],
)
def test_json_that_is_no_tensor_is_refused_by_its_count_and_types(little_memory, datatype, shape, data, message):
    with pytest.raises(MalformedBodyError) as raised:
        from_json("rgb", datatype, shape, data)
    assert message in str(raised.value)


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
@pytest.mark.parametrize(("datatype", "dtype"), [("UINT8", "u1"), ("INT64", "i8"), ("UINT64", "u8"), ("FP32", "f4")])
def test_json_numbers_are_read_exactly(nested, datatype, dtype):
    values = np.arange(24, dtype=dtype).reshape(1, 2, 4, 3)
    if datatype == "UINT64":
        values[0, 0, 0, 0] = 2**64 - 1
    tensor = from_json("rgb", datatype, values.shape, values.tolist() if nested else values.ravel().tolist())
    assert tensor.array.dtype == values.dtype
    assert np.array_equal(tensor.array, values)


def test_nested_lists_of_nothing_have_the_shape_they_say():
    assert from_json("rgb", "UINT8", (2, 0, 3), [[], []]).array.shape == (2, 0, 3)


@pytest.mark.parametrize("shape", [[0, 10**30], [0, 10**4000], [2**40 + 1], [2**20] * 3], ids=["0", "long", "1", "3"])
def test_a_shape_beyond_any_request_is_refused(little_memory, shape):
    with pytest.raises(MalformedBodyError, match="more values than any request holds"):
        check_shape("rgb", "UINT8", shape)


@pytest.mark.parametrize("shape", [[15_000_000], [1, 15_000_000], [5000, 0]])
def test_files_beyond_any_batch_are_refused_before_they_are_split(little_memory, shape):
    with pytest.raises(TooLargeError, match="BYTES of more than 4096 files"):
        check_shape("rgb", "BYTES", shape)


def test_files_are_split_where_their_lengths_say():
    data = memoryview(b"\1\0\0\0a\0\0\0\0\2\0\0\0bc")
    assert from_raw("rgb", "BYTES", (3,), data).elements == (b"a", b"", b"bc")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (pb.ModelInferRequest(inputs=[pb.ModelInferRequest.InferInputTensor()] * 17), "17 inputs came"),
        (
            pb.ModelInferRequest(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor()] * 17),
            "17 outputs came",
        ),
        (
            pb.ModelInferRequest(inputs=[pb.ModelInferRequest.InferInputTensor(name="n" * 1000)]),
            "the name of an input has 1000 characters",
        ),
        (
            pb.ModelInferRequest(
                inputs=[pb.ModelInferRequest.InferInputTensor(name="rgb", datatype="UINT8", shape=[1] * 10_000)]
            ),
            "has 10000 axes",
        ),
    ],
    ids=["inputs", "outputs", "name", "axes"],
)
def test_a_message_of_many_parts_is_refused(little_memory, message, said):
    with pytest.raises(MalformedBodyError) as raised:
        request_from(message)
    assert said in str(raised.value)


def test_a_server_refuses_them_and_goes_on(live_server, pair):
    header = {"name": "rgb", "datatype": "BYTES", "shape": [100_000], "parameters": {"binary_data_size": 400_000}}
    empty_files = json.dumps({"inputs": [header]}).encode()
    texts = {"name": "rgb", "datatype": "UINT8", "shape": [2], "data": LONG_AND_SHORT}
    no_values = b'{"inputs":[{"name":"rgb","datatype":"UINT8","shape":[0,' + b"9" * 30 + b',5,3],"data":[]}]}'
    with httpx.Client(base_url=live_server.url, trust_env=False) as client:
        for body, headers, status, said in [
            (json.dumps({"inputs": [texts]}).encode(), {}, 400, "has 1001 values"),
            (b'{"inputs":[' + b"[]," * 1_100_000 + b"[]]}", {}, 413, "more than 2000000 values"),
            (no_values, {}, 400, "more values than any request holds"),
            (
                empty_files + bytes(400_000),
                {"Inference-Header-Content-Length": str(len(empty_files))},
                413,
                "more than 4096 files",
            ),
        ]:
            response = client.post("/v2/models/tiny_raw/infer", content=body, headers=headers)
            assert response.status_code == status, response.text
            assert said in response.json()["error"]
    assert live_server.post(pair.files()).status_code == 200

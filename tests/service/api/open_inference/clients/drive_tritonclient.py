"""Drives a running server with tritonclient, unchanged, over HTTP and gRPC.

python drive_tritonclient.py HTTP_ADDRESS GRPC_ADDRESS MODEL DESCRIPTOR FRAME

DESCRIPTOR is a file of the server's FileDescriptorProto. FRAME is an npz of `rgb` (H W 3 uint8), `depth_mm` (H W
uint16), `rgb_file`, `depth_file` and `mask_file` (bytes as uint8), and `labels` (H W uint8).
It runs in an environment of its own: tritonclient's protobuf messages have the names of the server's.
"""

import queue
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException
from wire import check_same_wire


def inputs_of(library, tensors, **how):
    made = []
    for name, (datatype, value) in tensors.items():
        entry = library.InferInput(name, list(value.shape), datatype)
        entry.set_data_from_numpy(value, **how)
        made.append(entry)
    return made


def outputs_of(library, *names, **how):
    return [library.InferRequestedOutput(name, **how) for name in names]


def pixels(frame):
    return {"rgb": ("UINT8", frame["rgb"][None]), "depth": ("UINT16", frame["depth_mm"][None])}


def files(frame):
    return {
        name: ("BYTES", np.array([[frame[f"{name}_file"].tobytes()]], dtype=np.object_)) for name in ("rgb", "depth")
    }


def refused(call, status):
    try:
        call()
    except InferenceServerException as error:
        refusal = error
    else:
        raise AssertionError("the server accepted what it has to refuse")
    assert refusal.status() == status, (refusal.status(), str(refusal))
    return str(refusal)


def check_state(client, model, documents):
    """Live, ready, metadata, configuration, statistics and the repository's index."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert not client.is_model_ready("nothing")
    server, metadata, config, statistics, index = documents
    assert server["name"] == "geminifusion"
    assert [entry["datatype"] for entry in metadata["inputs"]] == ["UINT8", "FP32"]
    assert [int(size) for size in metadata["inputs"][0]["shape"]] == [-1, -1, -1, 3]
    assert config["max_batch_size"] > 1
    assert [entry["name"] for entry in config["output"]] == ["labels", "confidence", "gate"]
    assert statistics["model_stats"][0]["inference_stats"]["success"]
    assert [entry["name"] for entry in index] == [model]


def check_answers(library, client, model, frame):
    """Pixels and files, in one request and in a batch, by both faces of the model."""
    answer = client.infer(f"{model}_raw", inputs_of(library, pixels(frame)), request_id="one", timeout=60_000_000)
    np.testing.assert_array_equal(answer.as_numpy("labels")[0], frame["labels"])
    assert answer.as_numpy("confidence").dtype == np.float32
    asked = outputs_of(library, "labels")
    two = {name: (datatype, np.repeat(value, 2, axis=0)) for name, (datatype, value) in pixels(frame).items()}
    answer = client.infer(f"{model}_raw", inputs_of(library, two), outputs=asked, priority=1)
    np.testing.assert_array_equal(answer.as_numpy("labels"), np.stack([frame["labels"]] * 2))
    assert answer.as_numpy("confidence") is None
    answer = client.infer(model, inputs_of(library, files(frame)))
    assert answer.as_numpy("mask").shape == (1, 1)
    assert answer.as_numpy("mask")[0, 0] == frame["mask_file"].tobytes()
    answer = client.infer(model, inputs_of(library, files(frame)), outputs=asked)
    np.testing.assert_array_equal(answer.as_numpy("labels")[0], frame["labels"])
    answer = client.infer(model, inputs_of(library, files(frame)), parameters={"format": "palette"})
    assert b"PLTE" in answer.as_numpy("mask")[0, 0]


def check_refusals(library, client, model, frame, *, invalid, not_found):
    """Errors arrive as the client's own exception, with their status and words."""
    one = inputs_of(library, {"rgb": pixels(frame)["rgb"]})
    assert "depth is missing" in refused(lambda: client.infer(model, one), invalid)
    assert "nothing" in refused(lambda: client.infer("nothing", one), not_found)
    assert "nothing" in refused(lambda: client.get_model_metadata("nothing"), not_found)
    both = inputs_of(library, pixels(frame))
    wrong = {"parameters": {"depthscale": 1}}
    assert "no parameter 'depthscale'" in refused(lambda: client.infer(model, both, **wrong), invalid)


def check_json(client, model, frame):
    """Tensors as JSON, which only HTTP has."""
    library = tritonclient.http
    small = {name: (datatype, value[:, :32, :48]) for name, (datatype, value) in pixels(frame).items()}
    asked = outputs_of(library, "labels", binary_data=False)
    answer = client.infer(f"{model}_raw", inputs_of(library, small, binary_data=False), outputs=asked)
    binary = client.infer(f"{model}_raw", inputs_of(library, small), outputs=outputs_of(library, "labels"))
    np.testing.assert_array_equal(answer.as_numpy("labels"), binary.as_numpy("labels"))
    assert answer.as_numpy("labels").shape == (1, 32, 48)
    waiting = [client.async_infer(f"{model}_raw", inputs_of(library, small)) for _ in range(4)]
    for one in waiting:
        np.testing.assert_array_equal(one.get_result().as_numpy("labels"), binary.as_numpy("labels"))


def check_stream(client, model, frame):
    """Answers come in order, and a bad request ends neither the stream nor the others."""
    library, answers = tritonclient.grpc, queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for index in range(4):
        tensors = {"rgb": pixels(frame)["rgb"]} if index == 2 else pixels(frame)
        client.async_stream_infer(f"{model}_raw", inputs_of(library, tensors), request_id=str(index))
    for index in range(4):
        result, error = answers.get(timeout=60)
        if index == 2:
            assert "depth is missing" in str(error)
            continue
        assert error is None, error
        assert result.get_response().id == str(index)
        np.testing.assert_array_equal(result.as_numpy("labels")[0], frame["labels"])
    client.stop_stream()


def main(http_address, grpc_address, model, descriptor_path, frame_path):
    theirs = (tritonclient.grpc.service_pb2.DESCRIPTOR, tritonclient.grpc.model_config_pb2.DESCRIPTOR)
    assert check_same_wire(descriptor_path, *theirs) > 40
    frame = dict(np.load(frame_path))
    raw = f"{model}_raw"
    with tritonclient.http.InferenceServerClient(http_address, concurrency=4) as client:
        check_answers(tritonclient.http, client, model, frame)
        check_json(client, model, frame)
        check_refusals(tritonclient.http, client, model, frame, invalid="400", not_found="404")
        check_state(
            client,
            model,
            (
                client.get_server_metadata(),
                client.get_model_metadata(raw),
                client.get_model_config(raw),
                client.get_inference_statistics(model),
                client.get_model_repository_index(),
            ),
        )
    with tritonclient.grpc.InferenceServerClient(grpc_address) as client:
        check_answers(tritonclient.grpc, client, model, frame)
        check_stream(client, model, frame)
        check_refusals(
            tritonclient.grpc,
            client,
            model,
            frame,
            invalid="StatusCode.INVALID_ARGUMENT",
            not_found="StatusCode.NOT_FOUND",
        )
        check_state(
            client,
            model,
            (
                client.get_server_metadata(as_json=True),
                client.get_model_metadata(raw, as_json=True),
                client.get_model_config(raw, as_json=True)["config"],
                client.get_inference_statistics(model, as_json=True),
                client.get_model_repository_index(as_json=True)["models"],
            ),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

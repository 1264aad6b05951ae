"""Drives a running server with the client of KServe, unchanged, over HTTP and gRPC; see drive_tritonclient.py."""

import asyncio
import base64
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2
from kserve.protocol.infer_type import RequestedOutput
from wire import check_same_wire


def request_of(model, tensors, *, binary, outputs=None, **fields):
    inputs = []
    for name, (datatype, value) in tensors.items():
        entry = InferInput(name, list(value.shape), datatype)
        entry.set_data_from_numpy(value, binary_data=binary)
        inputs.append(entry)
    asked = None if outputs is None else [RequestedOutput(name) for name in outputs]
    return InferRequest(model, inputs, request_outputs=asked, **fields)


def pixels(frame):
    return {"rgb": ("UINT8", frame["rgb"][None]), "depth": ("UINT16", frame["depth_mm"][None])}


def files(frame):
    return {name: ("BYTES", np.array([frame[f"{name}_file"].tobytes()], dtype=np.object_)) for name in ("rgb", "depth")}


async def refuses(call, text):
    try:
        await call
    except Exception as error:  # the two transports raise what their libraries raise
        refusal = str(error)
    else:
        raise AssertionError("the server accepted what it has to refuse")
    assert text in refusal, refusal


async def check_http(url, model, frame):
    client = InferenceRESTClient(RESTConfig(protocol="v2", verbose=False))

    async def infer(request):
        return await client.infer(url, request, model_name=request.model_name)

    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, model)
    everything = {"parameters": {"binary_data_output": True}}
    answer = await infer(request_of(f"{model}_raw", pixels(frame), binary=True, **everything))
    np.testing.assert_array_equal(answer.get_output_by_name("labels").as_numpy()[0], frame["labels"])
    small = {name: (datatype, value[:, :32, :48]) for name, (datatype, value) in pixels(frame).items()}
    in_json = await infer(request_of(f"{model}_raw", small, binary=False, outputs=["labels"]))
    in_binary = await infer(request_of(f"{model}_raw", small, binary=True, outputs=["labels"]))
    np.testing.assert_array_equal(in_json.outputs[0].as_numpy(), in_binary.outputs[0].as_numpy())
    answer = await infer(request_of(model, files(frame), binary=True, outputs=["labels"]))
    assert np.array_equal(answer.outputs[0].as_numpy().reshape(frame["labels"].shape), frame["labels"])
    # Files in the answer: this client reads BYTES as text, so they are asked for in JSON, which says base64.
    answer = await infer(request_of(model, files(frame), binary=True, outputs=["mask"]))
    assert base64.b64decode(answer.outputs[0].data[0]) == frame["mask_file"].tobytes()
    await refuses(infer(request_of("nothing", pixels(frame), binary=True)), "no model 'nothing'")
    await refuses(infer(request_of(model, {"rgb": pixels(frame)["rgb"]}, binary=True)), "depth is missing")
    await client.close()


async def check_grpc(address, model, frame):
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(model)
    for binary in (True, False):
        answer = await client.infer(request_of(f"{model}_raw", pixels(frame), binary=binary))
        np.testing.assert_array_equal(answer.get_output_by_name("labels").as_numpy()[0], frame["labels"])
    answer = await client.infer(request_of(model, files(frame), binary=True))
    assert answer.outputs[0].as_numpy().ravel()[0] == frame["mask_file"].tobytes()
    await refuses(client.infer(request_of("nothing", pixels(frame), binary=True)), "model_not_found")
    await refuses(client.infer(request_of(model, {"rgb": pixels(frame)["rgb"]}, binary=True)), "missing_part")
    await client.close()


def main(http_address, grpc_address, model, descriptor_path, frame_path):
    # KServe numbers the fields of the repository calls, which its client does not make, otherwise than Triton.
    assert check_same_wire(descriptor_path, grpc_predict_v2_pb2.DESCRIPTOR, but=("Repository",)) >= 20
    frame = dict(np.load(frame_path))
    asyncio.run(check_http(f"http://{http_address}", model, frame))
    asyncio.run(check_grpc(grpc_address, model, frame))


if __name__ == "__main__":
    main(*sys.argv[1:])

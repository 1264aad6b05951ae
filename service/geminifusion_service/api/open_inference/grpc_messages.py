"""Requests and responses as gRPC messages of the protocol."""

from __future__ import annotations

from collections.abc import Mapping

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_service.api.open_inference import tensors
from geminifusion_service.api.open_inference.parameters import Parameter
from geminifusion_service.api.open_inference.schemas import InferenceRequest, InferenceResponse
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor
from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.pb import open_inference_pb2 as pb

_MAX_TENSORS = 16
_MAX_NAME = 100
# Clients that build one request for both transports send these too; over gRPC the form of the inputs decides.
_OF_HTTP = ("binary_data", "binary_data_size", "content_type")
_CONTENTS = {
    BYTES: "bytes_contents",
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def request_from(message: pb.ModelInferRequest) -> InferenceRequest:
    """The request in a message; its tensors view the bytes of the message.

    Raises:
        MalformedBodyError: contents that do not fit their tensors, or that are both raw and typed.
        InvalidOptionError: a parameter of an output; over gRPC there are none.
    """
    for what, entries in (("inputs", message.inputs), ("outputs", message.outputs)):
        if len(entries) > _MAX_TENSORS:
            raise MalformedBodyError(f"{len(entries)} {what} came; this server takes at most {_MAX_TENSORS}")
    for output in message.outputs:
        for key, value in _parameters(output.parameters).items():
            if key not in _OF_HTTP and (key != "classification" or value != 0):
                raise InvalidOptionError(f"there is no parameter {key[:100]!r} of an output")
    return InferenceRequest(
        model_name=message.model_name,
        model_version=message.model_version or None,
        id=message.id,
        parameters=_parameters(message.parameters),
        inputs=_inputs(message),
        outputs=tuple(output.name for output in message.outputs),
    )


def _inputs(message: pb.ModelInferRequest) -> tuple[Tensor, ...]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise MalformedBodyError(
            f"{len(message.inputs)} inputs came with {len(raw)} raw_input_contents; send one for each"
        )
    read = []
    for index, entry in enumerate(message.inputs):
        name = entry.name
        if len(name) > _MAX_NAME:
            raise MalformedBodyError(f"the name of an input has {len(name)} characters; expected at most {_MAX_NAME}")
        datatype, sizes = tensors.check_shape(name, entry.datatype, entry.shape)
        for key in entry.parameters:
            if key not in _OF_HTTP:
                raise InvalidOptionError(f"there is no parameter {key[:100]!r} of an input")
        if not raw:
            read.append(_typed(entry, datatype, sizes))
        elif entry.HasField("contents") and entry.contents.ByteSize():
            raise MalformedBodyError(f"{name} has contents beside raw_input_contents; send one of them")
        else:
            read.append(tensors.from_raw(name, datatype, sizes, memoryview(raw[index])))
    return tuple(read)


def _typed(entry: pb.ModelInferRequest.InferInputTensor, datatype: str, shape: tuple[int, ...]) -> Tensor:
    if datatype not in _CONTENTS:
        raise MalformedBodyError(f"{entry.name} is {datatype}, which has no typed contents; send raw_input_contents")
    field = _CONTENTS[datatype]
    filled = [descriptor.name for descriptor, _ in entry.contents.ListFields()]
    if filled and filled != [field]:
        raise MalformedBodyError(f"{entry.name} is {datatype}, but has {', '.join(filled)}; send {field}")
    return tensors.from_values(entry.name, datatype, shape, getattr(entry.contents, field))


def response_message(response: InferenceResponse, *, raw: bool) -> pb.ModelInferResponse:
    """The response as a message, with raw or typed contents."""
    message = pb.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for name, value in response.parameters.items():
        _set(message.parameters[name], value)
    for tensor in response.outputs:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_output_contents.append(bytes(tensors.to_raw(tensor)))
        else:
            values = tensor.elements if tensor.array is None else tensor.array.ravel().tolist()
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(values)
    return message


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    read = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidOptionError(f"parameter {name[:100]!r} has no value")
        read[name] = getattr(parameter, choice)
    return read


def _set(parameter: pb.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value

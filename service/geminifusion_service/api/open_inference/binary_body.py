"""The body of POST /v2/models/{name}/infer and of its response: JSON, followed by the bytes of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from geminifusion_runtime import strict_json
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_service.api.open_inference import tensors
from geminifusion_service.api.open_inference.parameters import Parameter
from geminifusion_service.api.open_inference.schemas import InferenceRequest, InferenceResponse
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor, bytes_tensor
from geminifusion_service.errors import MalformedBodyError

HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_TENSORS = 16


@dataclass(frozen=True, kw_only=True)
class ParsedRequest:
    """A request, and which of its outputs are sent as bytes: those named, else all or none."""

    request: InferenceRequest
    binary: Mapping[str, bool]
    binary_by_default: bool


def parse_header_length(text: str | None, body_length: int) -> int | None:
    """Number of bytes of the body that are JSON; None where all are.

    Raises:
        MalformedBodyError: the header is no number, or beyond the end of the body.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise MalformedBodyError(f"{HEADER_LENGTH} is {text[:50]!r}; expected the length of the JSON in bytes")
    if int(text) > body_length:
        raise MalformedBodyError(f"{HEADER_LENGTH} is {int(text)}, but the body has {body_length} bytes")
    return int(text)


def parse_request(
    body: bytes, header_length: int | None, *, model_name: str, model_version: str | None, input_names: Sequence[str]
) -> ParsedRequest:
    """The request in a body; its tensors view the body where they are binary.

    Args:
        header_length: see `parse_header_length`. 0 means that the whole body is the file of a model with one input.
        input_names: inputs of the model, for such a body.

    Raises:
        MalformedBodyError: the body does not follow the protocol; the message names the place.
        InvalidOptionError: a parameter that is neither a number, text nor a boolean.
    """
    if header_length == 0:
        return _raw_request(body, model_name, model_version, input_names)
    json_length = len(body) if header_length is None else header_length
    document = _object("the request", _parse(body[:json_length] if json_length < len(body) else body))
    parameters = _parameters("the request", document)
    inputs = _inputs(document, memoryview(body)[json_length:])
    binary, names = {}, []
    for output in _objects(document, "outputs"):
        name = _name("an output", output)
        names.append(name)
        for key, value in _parameters(name, output).items():
            if key == "binary_data":
                binary[name] = _boolean(f"binary_data of {name}", value)
            elif key != "classification" or value != 0:
                raise InvalidOptionError(f"there is no parameter {key[:100]!r} of an output; expected binary_data")
    request_id = _optional(document, "id", "")
    if not isinstance(request_id, str):
        raise MalformedBodyError(f"id is {str(request_id)[:100]}; expected text")
    return ParsedRequest(
        request=InferenceRequest(
            model_name=model_name,
            model_version=model_version,
            id=request_id,
            parameters=parameters,
            inputs=inputs,
            outputs=tuple(names),
        ),
        binary=binary,
        binary_by_default=_boolean("binary_data_output", parameters.get("binary_data_output", False)),
    )


def _raw_request(body: bytes, model_name: str, model_version: str | None, input_names: Sequence[str]) -> ParsedRequest:
    if len(input_names) != 1:
        raise MalformedBodyError(
            f"{HEADER_LENGTH} is 0, which only a model of one input understands; "
            f"{model_name} has {' and '.join(input_names)}, so send the JSON that names them"
        )
    image = bytes_tensor(input_names[0], [body], (1, 1))
    request = InferenceRequest(model_name=model_name, model_version=model_version, inputs=(image,))
    return ParsedRequest(request=request, binary={}, binary_by_default=True)


def _inputs(document: Mapping[str, Any], rest: memoryview) -> tuple[Tensor, ...]:
    read, position = [], 0
    for entry in _objects(document, "inputs"):
        name = _name("an input", entry)
        datatype, shape = tensors.check_shape(name, entry.get("datatype"), entry.get("shape"))
        parameters = _parameters(name, entry)
        size = parameters.pop("binary_data_size", None)
        content_type = parameters.pop("content_type", "base64")
        if parameters:
            raise InvalidOptionError(f"there is no parameter {next(iter(parameters))[:100]!r} of an input")
        if size is None:
            if "data" not in entry:
                raise MalformedBodyError(f"{name} has neither data nor binary_data_size; send one of them")
            if datatype == BYTES and content_type != "base64":
                raise InvalidOptionError(f"content_type of {name} is {content_type!r}; JSON carries files as base64")
            read.append(tensors.from_json(name, datatype, shape, entry["data"]))
            continue
        if "data" in entry:
            raise MalformedBodyError(f"{name} has both data and binary_data_size; send one of them")
        if type(size) is not int or not 0 <= size <= len(rest) - position:
            raise MalformedBodyError(
                f"binary_data_size of {name} is {str(size)[:50]}, but {len(rest) - position} bytes are left of the body"
            )
        read.append(tensors.from_raw(name, datatype, shape, rest[position : position + size]))
        position += size
    if position != len(rest):
        raise MalformedBodyError(
            f"{len(rest)} bytes follow the JSON, but binary_data_size of all inputs adds up to {position}"
        )
    return tuple(read)


def _parse(text: bytes) -> object:
    try:
        return from_json(text)
    except ValueError as error:
        raise MalformedBodyError(f"the body is no JSON ({str(error)[:200]}); send an inference request") from None


def _object(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBodyError(f"{what} is {type(value).__name__} in JSON; expected an object")
    return value


def _optional(entry: Mapping[str, Any], key: str, default: object) -> object:
    """A value or its default; some libraries write null for what is absent."""
    value = entry.get(key)
    return default if value is None else value


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = _optional(document, key, [])
    if not isinstance(entries, list) or len(entries) > _MAX_TENSORS:
        raise MalformedBodyError(f"{key} is no list of at most {_MAX_TENSORS} tensors")
    return [_object(f"an entry of {key}", entry) for entry in entries]


def _name(what: str, entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise MalformedBodyError(f"{what} has no name; expected 1 to 100 characters")
    return name


def _parameters(what: str, entry: Mapping[str, Any]) -> dict[str, Parameter]:
    parameters = _object(f"parameters of {what}", _optional(entry, "parameters", {}))
    for key, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidOptionError(f"parameter {key[:100]!r} of {what} is no number, text or boolean")
    return parameters


def _boolean(what: str, value: Parameter) -> bool:
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{what} is {str(value)[:100]!r}, expected true or false")
    return value


def write_response(response: InferenceResponse, parsed: ParsedRequest) -> tuple[bytes, int | None]:
    """The body of a response and the number of its bytes that are JSON; None where all are."""
    described, chunks = [], []
    for tensor in response.outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if parsed.binary.get(tensor.name, parsed.binary_by_default):
            chunk = tensors.to_raw(tensor)
            chunks.append(chunk)
            entry["parameters"] = {"binary_data_size": len(chunk)}
        else:
            if tensor.datatype == BYTES:
                entry["parameters"] = {"content_type": "base64"}
            entry["data"] = tensors.to_json(tensor)
        described.append(entry)
    header = strict_json.to_bytes(
        {
            "model_name": response.model_name,
            "model_version": response.model_version,
            **({"id": response.id} if response.id else {}),
            "parameters": dict(response.parameters),
            "outputs": described,
        }
    )
    return (b"".join([header, *chunks]), len(header)) if chunks else (header, None)

"""The options of the client and the command line are those of the one definition, and reach the server unchanged."""

import dataclasses
import json
import struct
from typing import get_type_hints
from urllib.parse import parse_qsl

import click
import httpx
import numpy as np
import pytest

from geminifusion import Client
from geminifusion.commands import predict
from geminifusion.errors import InvalidInputError
from geminifusion.grpc_messages import segment_message
from geminifusion.options import CallOptions, segment_call
from geminifusion.wire import frame_message, segment_query
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
from geminifusion_service.api.v1.query import options_from_query
from geminifusion_service.api.v1.websocket_messages import request_from

RGB, DEPTH = np.zeros((2, 3, 3), np.uint8), np.ones((2, 3), np.float32)
IMAGES = {"rgb": RGB, "depth": DEPTH}
SET_BY_THE_CLIENT = {"format", "overlay_on", "classes"}
NAMES = [name for name in OPTION_NAMES if name not in SET_BY_THE_CLIENT]


def another_than_the_default(name):
    schema = SEGMENT_OPTIONS.schemas()[name]
    if name.endswith("intrinsics"):
        return (500.0, 501.0, 320.5, 240.0)
    if name == "extrinsics":
        return (1.0, 0.0, 0.0, 0.05, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    if "enum" in schema:
        return next(choice for choice in reversed(schema["enum"]) if choice != schema.get("default"))
    return {"string": "tiny-1", "number": 0.5, "boolean": True, "array": (65535.0, 1.5)}[schema["type"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_the_client_reaches_the_server_over_every_transport(name):
    call = segment_call(IMAGES, {name: another_than_the_default(name)})
    assert getattr(call.options, name) == another_than_the_default(name)
    query = parse_qsl(str(httpx.QueryParams(segment_query(call))))
    assert options_from_query(query, request_id="another", accept=None) == call.options
    message = request_from(frame_message(call))
    assert (message.options, message.parts) == (call.options, call.images)
    assert SEGMENT_MESSAGES.parse(segment_message(call)) == call.options


@pytest.mark.parametrize(("name", "value"), [("lidar_scale", 0.5), ("thermal_invalid", (65535.0, 1.5))])
def test_options_of_a_modality_reach_the_server_over_every_transport(name, value):
    call = segment_call(IMAGES, {name: value})
    query = parse_qsl(str(httpx.QueryParams(segment_query(call))))
    assert dict(query)[name] == ("0.5" if name == "lidar_scale" else "65535.0,1.5")
    assert options_from_query(query, request_id="another", accept=None) == call.options
    assert request_from(frame_message(call)).options == call.options
    assert SEGMENT_MESSAGES.parse(segment_message(call)) == call.options


def test_type_checkers_see_the_options_and_types_of_the_definition():
    typed, defined = get_type_hints(CallOptions), get_type_hints(SegmentOptions)
    assert list(typed) == NAMES
    for name in NAMES:
        if name not in ("depth_invalid", "intrinsics", "rgb_intrinsics", "extrinsics"):  # any numbers, or a matrix
            assert typed[name] == defined[name], name


def test_predict_has_every_option_with_its_description():
    context = click.Context(predict)
    options = {option.name: option for option in predict.get_params(context) if isinstance(option, click.Option)}
    for name in set(NAMES) - {"confidence", "gate"}:
        described = SEGMENT_OPTIONS.schemas()[name]["description"]
        assert options[name].help.lower().startswith(described.lower()), name
    assert "--depth-scale FLOAT RANGE" in predict.get_help(context)


def test_an_option_is_checked_before_anything_is_sent():
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(InvalidInputError, match="align is 'stretch', expected one of none, resize"):
            client.segment(RGB, DEPTH, align="stretch")
        with pytest.raises(InvalidInputError, match="did you mean depth_scale"):
            client.segment(RGB, DEPTH, depthscale=1)
        with pytest.raises(InvalidInputError, match="request_id is 'a b', expected"):
            client.segment(RGB, DEPTH, request_id="a b")


def test_only_what_differs_from_the_defaults_is_sent():
    call = segment_call(IMAGES, {"gate": False, "request_id": "r-1"})
    assert segment_query(call) == {"format": "json", "request_id": "r-1"}
    (length,) = struct.unpack_from("<I", frame_message(call))
    sizes = {name: len(data) for name, data in call.images.items()}
    header = json.loads(frame_message(call)[4 : 4 + length])
    assert header == {"images": sizes, "format": "json", "request_id": "r-1"}
    assert dataclasses.asdict(call.options)["classes"] is False

"""Every option travels every transport: all fields of `SegmentOptions` are walked, so a new one is tested by itself."""

import dataclasses
import json
import struct

import pytest

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_service.api.open_inference.parameters import options_from
from geminifusion_service.api.v1.grpc_options import SEGMENT_MESSAGES
from geminifusion_service.api.v1.openapi import SEGMENT_OPERATION
from geminifusion_service.api.v1.query import options_from_query
from geminifusion_service.api.v1.websocket_messages import request_from
from geminifusion_service.pb import segmentation_pb2 as pb

SCHEMAS = SEGMENT_OPTIONS.schemas()
MAPS = ("confidence", "gate", "disagreement")


def another_than_the_default(name):
    """A value of an option as JSON has it."""
    schema = SCHEMAS[name]
    if name.endswith("intrinsics"):
        return [500, 501, 320.5, 240]
    if name == "extrinsics":
        return [1, 0, 0, 0.05, 0, 1, 0, 0, 0, 0, 1, 0]
    if "enum" in schema:
        return next(choice for choice in reversed(schema["enum"]) if choice != schema.get("default"))
    return {"string": "tiny-1", "number": 0.5, "boolean": True, "array": [65535, 1.5]}[schema["type"]]


VALUES = {name: another_than_the_default(name) for name in OPTION_NAMES}


def expected(**values):
    return SegmentOptions(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def as_text(value):
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_a_query_carries_every_option(name):
    values = {"format": "json", "request_id": "r-1", name: VALUES[name]}
    pairs = [(key, as_text(value)) for key, value in values.items() if key != "request_id" or name == "request_id"]
    assert options_from_query(pairs, request_id="r-1", accept=None) == expected(**values)


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_a_websocket_message_carries_every_option(name):
    head = json.dumps({"images": {}, name: VALUES[name]}).encode()
    request = request_from(struct.pack("<I", len(head)) + head)
    assert request.options == expected(**{name: VALUES[name]})


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_a_grpc_message_has_a_field_for_every_option_in_both_directions(name):
    options = expected(**{name: VALUES[name]})
    message = pb.SegmentRequest(**SEGMENT_MESSAGES.fields(options))
    assert [field.name for field, _ in message.ListFields()] == [name]
    assert SEGMENT_MESSAGES.parse(pb.SegmentRequest.FromString(message.SerializeToString())) == options


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("lidar_scale", 0.5, SegmentOptions(scales={"lidar": 0.5})),
        ("thermal_invalid", [65535, 1.5], SegmentOptions(invalids={"thermal": (65535, 1.5)})),
    ],
)
def test_options_of_a_modality_travel_like_the_others(name, value, options):
    query = options_from_query([(name, as_text(value)), ("format", "png")], request_id="r-1", accept=None)
    assert dataclasses.replace(query, request_id=None) == options
    head = json.dumps({"images": {}, name: value}).encode()
    assert request_from(struct.pack("<I", len(head)) + head).options == options
    message = pb.SegmentRequest(**SEGMENT_MESSAGES.fields(options))
    assert [field.name for field, _ in message.ListFields()] in (["scales"], ["invalids"])
    assert SEGMENT_MESSAGES.parse(pb.SegmentRequest.FromString(message.SerializeToString())) == options
    parameter = as_text(value) if isinstance(value, list) else value
    inferred = options_from({name: parameter}, model="m", outputs=("mask",), milliseconds_left=None, request_id="")
    assert dataclasses.replace(inferred, model=None) == options


def test_modality_weights_of_open_inference_come_with_the_gate():
    outputs = ("labels", "modality_weights")
    options = options_from({}, model="m", outputs=outputs, milliseconds_left=None, request_id="")
    assert options.gate


def test_grpc_enums_and_options_have_the_same_choices():
    for name, schema in SCHEMAS.items():
        if "enum" in schema:
            enum = pb.SegmentRequest.DESCRIPTOR.fields_by_name[name].enum_type
            assert len(enum.values) == 1 + len(schema["enum"]), name


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_open_inference_carries_every_option_as_a_parameter_or_in_its_own_place(name):
    value = VALUES[name]
    places = {"model": "tiny", "outputs": ("mask",), "milliseconds_left": None, "request_id": "r-1"}
    if name in MAPS:
        options = options_from({}, **{**places, "outputs": ("mask", name)})
    elif name in places:
        options = options_from({}, **{**places, name: value})
    else:
        parameter = as_text(value) if isinstance(value, list) else value
        options = options_from({name: parameter}, **places)
    assert options == expected(**{"model": "tiny", "request_id": "r-1", name: value})


def test_the_openapi_operation_documents_every_option():
    documented = {option["name"]: option for option in SEGMENT_OPERATION["parameters"]}
    assert tuple(documented) == OPTION_NAMES
    assert all(option["description"].startswith(SCHEMAS[name]["description"]) for name, option in documented.items())


def test_null_is_not_a_value_on_the_wire():
    head = b'{"images": {}, "format": null}'
    with pytest.raises(InvalidOptionError, match="format is null; leave it out for its default"):
        request_from(struct.pack("<I", len(head)) + head)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"align": 5}, "align is '5', expected one of none, resize"),
        ({"depth-scale": 1}, "there is no parameter 'depth-scale'; did you mean depth_scale?"),
        ({"depth_scale": True}, "depth_scale is 'true', expected metres"),
        ({"depth_scale": float("inf")}, "depth_scale is 'Infinity', expected metres"),
        ({"priority": "urgent"}, "priority is 'urgent', expected one of high, normal"),
        ({"timeout": "soon"}, "timeout is 'soon', expected a number of microseconds"),
        ({"timeout": -5}, "deadline_ms is -0.005, expected milliseconds"),
        ({"format": "json"}, "format is 'json', expected one of png, palette, npz, overlay"),
        ({"confidence": True}, "there is no parameter 'confidence'; expected "),
    ],
)
def test_parameters_of_open_inference_are_checked_like_options(parameters, sentence):
    with pytest.raises(InvalidOptionError) as rejected:
        options_from(parameters, model="tiny", outputs=(), milliseconds_left=None, request_id="")
    assert str(rejected.value).startswith(sentence)


@pytest.mark.parametrize(
    ("level", "meant"), [(1, "high"), (0, "normal"), (7, "normal"), ("1", "high"), ("high", "high")]
)
def test_priorities_of_triton_are_levels(level, meant):
    options = options_from({"priority": level}, model="m", outputs=(), milliseconds_left=None, request_id="")
    assert options.priority == meant


def test_the_earliest_deadline_holds():
    given = {"deadline_ms": 300, "timeout": 200_000}
    for left, meant in ((None, 200), (50.0, 50), (-1.0, 0.001)):
        options = options_from(given, model="m", outputs=(), milliseconds_left=left, request_id="")
        assert options.deadline_ms == meant
    message = pb.SegmentRequest(deadline_ms=300)
    assert SEGMENT_MESSAGES.parse(message, milliseconds_left=50).deadline_ms == 50
    assert SEGMENT_MESSAGES.parse(message).deadline_ms == 300
    assert SEGMENT_MESSAGES.parse(pb.SegmentRequest(), milliseconds_left=-3).deadline_ms == 0.001

"""The options of a request: what is accepted as text and as typed values, and the sentence of everything else."""

import pickle
import subprocess
import sys

import pytest

from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import (
    OPTION_NAMES,
    SegmentOptions,
    as_text,
    given_values,
    option_schemas,
    parse_text,
    parse_values,
)


def test_text_and_typed_values_give_the_same_options():
    text = {
        "model": "tiny@1",
        "depth_scale": "0.001",
        "depth_invalid": "65535,1.5",
        "align": "resize",
        "sensor_policy": "drop-modality",
        "format": "json",
        "confidence": "1",
        "gate": "true",
        "disagreement": "TRUE",
        "classes": "0",
        "priority": "high",
        "deadline_ms": "250",
        "request_id": "r-1",
    }
    values = {
        **text,
        "depth_scale": 0.001,
        "depth_invalid": [65535, 1.5],
        "confidence": True,
        "gate": True,
        "disagreement": True,
        "classes": False,
        "deadline_ms": 250,
    }
    assert parse_text(text) == parse_values(values)
    assert set(text) == set(OPTION_NAMES)


def test_one_stored_value_need_not_be_a_list():
    assert parse_values({"depth_invalid": 65535}) == parse_text({"depth_invalid": "65535"})
    assert parse_text({"depth_invalid": ""}) == SegmentOptions()


def test_what_is_sent_is_what_differs_from_the_defaults():
    options = SegmentOptions(depth_invalid=(65535.0,), gate=True)
    assert given_values(options) == {"depth_invalid": (65535.0,), "gate": True}
    assert as_text(options) == {"depth_invalid": "65535.0", "gate": "1"}
    assert parse_text(as_text(options)) == options


def test_options_travel_between_processes():
    options = SegmentOptions(format=None, deadline_ms=5, request_id="r-1")
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"format": "gif"}, "format is 'gif', expected one of png, palette, json, npz, overlay"),
        ({"dept_scale": "1"}, "there is no option 'dept_scale'; did you mean depth_scale?"),
        ({"colour": "1"}, f"there is no option 'colour'; expected {', '.join(OPTION_NAMES)}"),
        (
            {"depth_scale": "mm"},
            "depth_scale is 'mm', expected metres per stored unit in (0, 1000]; millimetres are 0.001",
        ),
        ({"deadline_ms": "0"}, "deadline_ms is '0', expected milliseconds above 0 and at most 3600000"),
        ({"depth_invalid": "1,2,3,4,5,6,7,8,9"}, "depth_invalid is 9 values, expected at most 8"),
        ({"confidence": "yes"}, "confidence is 'yes', expected 1 or 0"),
        ({"request_id": "a\n"}, r"request_id is 'a\n', expected 1 to 128 of A-Z a-z 0-9 . _ : -"),
    ],
)
def test_bad_text_is_one_sentence_that_names_option_value_and_expectation(text, sentence):
    with pytest.raises(InvalidOptionError) as rejected:
        parse_text(text)
    assert str(rejected.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"confidence": 1}, "confidence is 1, expected true or false"),
        ({"confidence": "1"}, "confidence is '1', expected true or false"),
        ({"model": 3}, "model is 3, expected text"),
        ({"depth_scale": True}, "depth_scale is True, expected metres per stored unit"),
        ({"depth_scale": 10**400}, "depth_scale is 1000000000"),
        ({"depth_invalid": [1, float("nan")]}, "depth_invalid is nan, expected stored values"),
        ({"depth_invalid": "65535"}, "depth_invalid is '65535', expected stored values"),
        ({"__dataclass_self__": 1}, "there is no option '__dataclass_self__'"),
    ],
)
def test_types_are_strict(values, sentence):
    with pytest.raises(InvalidOptionError) as rejected:
        parse_values(values)
    assert str(rejected.value).startswith(sentence)
    assert len(str(rejected.value)) < 250


def test_every_option_is_described_for_openapi_and_the_command_line():
    schemas = option_schemas()
    assert tuple(schemas) == OPTION_NAMES
    for name, schema in schemas.items():
        assert schema["type"] in ("string", "number", "boolean", "array"), name
        assert 10 < len(schema["description"]) < 100, name


def test_the_module_needs_neither_an_image_library_nor_a_web_framework():
    heavy = ("cv2", "numpy", "isal", "onnxruntime", "fastapi", "grpc", "httpx", "click")
    code = f"import sys; sys.modules |= dict.fromkeys({heavy}); import geminifusion_runtime.options"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

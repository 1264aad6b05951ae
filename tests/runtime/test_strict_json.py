"""What is written as JSON is JSON, whatever the numbers."""

import json

import pytest

from geminifusion_runtime import strict_json


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("write", [strict_json.dumps, strict_json.to_bytes])
def test_numbers_that_are_not_finite_are_null(write):
    value = {"a": float("nan"), "b": [1.5, float("inf")], "c": (float("-inf"), "text"), "d": {"e": 2}}
    assert json.loads(write(value), parse_constant=refuse) == {
        "a": None, "b": [1.5, None], "c": [None, "text"], "d": {"e": 2},
    }  # fmt: skip


def test_options_are_those_of_the_standard_library():
    assert strict_json.dumps({"ü": 1}, ensure_ascii=False, indent=1) == '{\n "ü": 1\n}'
    assert strict_json.dumps({"b": float("nan"), "a": 1}, sort_keys=True) == '{"a": 1, "b": null}'

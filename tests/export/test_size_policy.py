"""The sizes that an export promises to serve, under the task's input policy."""

import dataclasses
import math

import pytest

from geminifusion_export.build import ExportOptions, _size_policy
from geminifusion_export.errors import ExportError
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.task import InputPolicy


def policy(shorter_side, **options):
    task = nyuv2_task(13)
    if shorter_side:
        task = dataclasses.replace(task, input_policy=InputPolicy(shorter_side=shorter_side, multiple_of=32))
    return _size_policy(task, ExportOptions(name="x", **options))


@pytest.mark.parametrize("shorter_side", [None, 480, 1024])
def test_the_reference_and_frames_twice_as_long_as_wide_are_served(shorter_side):
    size = policy(shorter_side)
    for height, width in (size.reference, (500, 1000), (1000, 500)):
        assert math.prod(size.network_size(height, width)) <= size.max_pixels
    assert size.max_pixels == (1024 * 2048 if shorter_side == 1024 else 1280 * 960)


def test_fewer_pixels_than_the_policy_makes_of_the_reference_are_refused():
    with pytest.raises(ExportError, match=r"--max-pixels is 1000000, .* 640x480 with 1409024 pixels; give at least"):
        policy(1024, max_pixels=1_000_000)
    assert policy(1024, max_pixels=1_500_000).max_pixels == 1_500_000

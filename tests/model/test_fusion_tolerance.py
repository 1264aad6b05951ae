"""What counts as the specification's answer: rounding passes, anything else does not."""

import math

import pytest
import torch

from geminifusion_model.fusion_tolerance import exact_fusion, fusion_tolerance, worst_fusion_error


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=str)
def tensors(request):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 7, 24, generator=generator).to(request.param) for _ in range(4)]


def test_the_exact_answer_rounded_once_is_within_the_tolerance(tensors):
    mixed = exact_fusion(*tensors, 3).to(tensors[0].dtype)
    assert worst_fusion_error(mixed, *tensors, 3) <= 1


def test_twice_the_tolerance_is_an_error_of_two(tensors):
    mixed = exact_fusion(*tensors, 3) + 2 * fusion_tolerance(*tensors, 3)
    assert worst_fusion_error(mixed, *tensors, 3) == pytest.approx(2)


def test_what_is_not_finite_must_be_so_in_both(tensors):
    tensors[0][0, 0, 0] = math.nan
    mixed = exact_fusion(*tensors, 3).to(tensors[0].dtype)
    assert worst_fusion_error(mixed, *tensors, 3) <= 1
    assert worst_fusion_error(mixed.nan_to_num(), *tensors, 3) == math.inf
    mixed[1, 0, 0] = math.inf
    assert worst_fusion_error(mixed, *tensors, 3) == math.inf

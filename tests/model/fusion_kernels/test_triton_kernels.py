"""The Triton kernels against the specification, run by Triton's interpreter: values, gradients, views, tails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="pip install triton")
INTERPRETED = "TRITON_INTERPRET"

if os.environ.get(INTERPRETED) != "1":
    # Triton decides when it is imported, and other tests of this process may want the compiler.
    def test_the_kernels_agree_with_the_specification():
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", str(Path(__file__))],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {INTERPRETED: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]

else:
    import torch

    from geminifusion_model.fusion_kernels.triton_kernels import triton_fusion
    from geminifusion_model.fusion_op import pixelwise_fusion_reference
    from geminifusion_model.fusion_tolerance import worst_fusion_error

    DTYPES = [torch.float32, torch.float16, torch.bfloat16]
    # of B0, B3 and Swin-T; one channel a head, a prime, heads longer than others; tokens that fill no block
    SHAPES = [((2, 301, 32), 8), ((3, 7, 64), 8), ((1, 9, 320), 8), ((1, 11, 96), 8), ((1, 1, 8), 8), ((17, 37), 1)]
    # Triton's interpreter cuts the last bits of bfloat16 off where a GPU rounds: one unit in place of a half.
    SLACK = {torch.bfloat16: 2.0}

    def random_tensors(shape, dtype, count=4):
        generator = torch.Generator().manual_seed(len(shape))
        return [torch.randn(shape, generator=generator).to(dtype) for _ in range(count)]

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize(("shape", "num_heads"), SHAPES)
    def test_values(dtype, shape, num_heads):
        tensors = random_tensors(shape, dtype)
        mixed = triton_fusion(*tensors, num_heads)
        assert (mixed.shape, mixed.dtype) == (shape, dtype)
        assert worst_fusion_error(mixed, *tensors, num_heads) <= SLACK.get(dtype, 1.0)

    @pytest.mark.filterwarnings("ignore:invalid value encountered")  # of numpy, which the interpreter runs on
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_that_are_not_finite(value):
        for position in range(4):
            tensors = random_tensors((2, 5, 16), torch.float32)
            tensors[position][0, ::2, 3] = value
            assert worst_fusion_error(triton_fusion(*tensors, 4), *tensors, 4) <= 1

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize(("shape", "num_heads"), SHAPES)
    def test_gradients(dtype, shape, num_heads):
        *tensors, outer = random_tensors(shape, dtype, 5)
        exact = [tensor.double().requires_grad_() for tensor in tensors]
        expected = torch.autograd.grad(pixelwise_fusion_reference(*exact, num_heads), exact, outer.double())
        inputs = [tensor.requires_grad_() for tensor in tensors]
        found = torch.autograd.grad(triton_fusion(*inputs, num_heads), inputs, outer)
        bound = 4e-6 if dtype == torch.float32 else torch.finfo(dtype).eps * SLACK.get(dtype, 1.0)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == dtype
            torch.testing.assert_close(ours.double(), theirs, rtol=bound, atol=bound)

    def test_columns_of_a_wider_matrix_are_read_in_place():
        wide = random_tensors((13, 5 * 24), torch.float32, 1)[0]
        q, own, cross, *_ = wide.split(24, dim=1)
        key = random_tensors((13, 24), torch.float32, 1)[0]
        mixed = triton_fusion(q, key, own, cross, 3)
        assert worst_fusion_error(mixed, q, key, own, cross, 3) <= 1

    def test_columns_that_are_apart_are_copied():
        tensors = [tensor.t() for tensor in random_tensors((24, 13), torch.float32)]
        assert worst_fusion_error(triton_fusion(*tensors, 3), *tensors, 3) <= 1

    def test_no_tokens_launch_nothing():
        assert triton_fusion(*(torch.empty(0, 16) for _ in range(4)), 4).shape == (0, 16)

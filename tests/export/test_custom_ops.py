"""The compiled kernels on ONNX Runtime against the specification, and against the function in the same file."""

import os
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from geminifusion_export.errors import PluginBuildError
from geminifusion_export.fusion_node import DOMAIN, OP_TYPE, function_body
from geminifusion_export.kernels.ops_build import LIBRARY_NAME, build_onnxruntime_ops
from geminifusion_model.fusion_op import pixelwise_fusion_reference
from geminifusion_runtime.artifact import MODEL_NAME
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.bundled import artifact_path

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="the kernels are compiled here, which needs g++ or clang++"
)

INPUTS = ("q", "k_diff", "v_self", "v_cross")
KINDS = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.bfloat16: onnx.TensorProto.BFLOAT16,
}
DTYPES = list(KINDS)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    saved = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # compile these sources, whatever was built before
    try:
        return build_onnxruntime_ops(folder)
    finally:
        os.environ.pop("XDG_CACHE_HOME") if saved is None else os.environ.update(XDG_CACHE_HOME=saved)


def session(library, dtype, num_heads, *, with_function=False, threads=1):
    """Float tensors in and out, cast to the dtype around the node: numpy has no bfloat16."""
    kind, single = KINDS[dtype], onnx.TensorProto.FLOAT
    make = onnx.helper.make_node
    nodes = [make("Cast", [name], [f"{name}_cast"], to=kind) for name in INPUTS]
    nodes.append(
        make(OP_TYPE, [f"{name}_cast" for name in INPUTS], ["narrow"], domain=DOMAIN, num_heads=num_heads,
             plugin_namespace=DOMAIN, plugin_version="1")
    )  # fmt: skip
    nodes.append(make("Cast", ["narrow"], ["mixed"], to=single))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "fusion", [value(name, single, None) for name in INPUTS], [value("mixed", single, None)]
    )
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid(DOMAIN, 1)]
    functions = [function_body(20)] if with_function else []
    model = onnx.helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session, tensors):
    feeds = {name: tensor.float().numpy() for name, tensor in zip(INPUTS, tensors, strict=True)}
    return torch.from_numpy(session.run(None, feeds)[0])


def draw(shape, dtype, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(shape, generator=generator)).to(dtype) for _ in INPUTS]


def allowed_error(tensors, dtype, num_heads):
    """Float arithmetic's own error, then half a unit in the last place of the result.

    The dot product of D terms is off by at most (D + 1)·eps·Σ|q·k|, its sigmoid has a slope of 1/4 at most, the mixture
    scales that by |v_self - v_cross| and rounds three times; the sigmoid itself is good to 4 eps.
    """
    q, k, own, cross = (tensor.double() for tensor in tensors)
    heads = (*q.shape[:-1], num_heads, q.shape[-1] // num_heads)
    width = heads[-1]
    eps = torch.finfo(torch.float32).eps
    dot = (q * k).abs().reshape(heads).sum(-1, keepdim=True) * (width + 1) * eps / width**0.5
    distance = (own - cross).abs().reshape(heads)
    largest = torch.maximum(own.abs(), cross.abs()).reshape(heads)
    error = (dot / 4 + 4 * eps) * distance + 4 * eps * largest
    return (error + torch.finfo(dtype).eps / 2 * (largest + error) + torch.finfo(dtype).smallest_normal).reshape(
        q.shape
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "num_heads"),
    [
        ((1, 8), 8),  # one element a head
        ((1, 8), 1),  # one row
        ((7, 32), 8),
        ((3, 5, 64), 8),  # three axes
        ((2, 13, 160), 8),  # 20 a head: no power of two
        ((129, 21), 3),  # 7 a head: odd
        ((3, 4, 2, 66), 2),  # 33 a head, four axes
        ((1025, 40), 1),
        ((5, 1500), 1),  # wider than the kernel's block
        ((0, 16), 4),  # nothing
    ],
)
def test_kernel_computes_the_specification(library, dtype, shape, num_heads):
    tensors = draw(shape, dtype)
    truth = pixelwise_fusion_reference(*(tensor.double() for tensor in tensors), num_heads)
    mixed = run(session(library, dtype, num_heads), tensors)
    assert mixed.shape == shape
    assert ((mixed.double() - truth).abs() <= allowed_error(tensors, dtype, num_heads)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_threads_give_the_bits_of_one(library, dtype):
    tensors = draw((4099, 96), dtype)
    assert torch.equal(run(session(library, dtype, 8), tensors), run(session(library, dtype, 8, threads=4), tensors))


def test_weight_is_right_from_one_side_of_float_to_the_other(library):
    logits = torch.cat([torch.linspace(-110, 110, 20011), torch.tensor([0.0, -0.0, 1e-30, 3e38, -3e38])])
    one, zero = torch.ones_like(logits)[:, None], torch.zeros_like(logits)[:, None]
    weight = run(session(library, torch.float32, 1), [logits[:, None], one, one, zero])[:, 0].double()
    truth = torch.sigmoid(logits.double())
    assert ((weight - truth).abs() <= 4 * torch.finfo(torch.float32).eps * truth + 2e-38).all()


def test_infinite_logits_saturate_and_nan_stays_nan(library):
    logits = torch.tensor([float("inf"), float("-inf"), float("nan")])[:, None]
    one = torch.ones_like(logits)
    weight = run(session(library, torch.float32, 1), [logits, one, one, 0 * one])[:, 0]
    assert weight[0] == 1
    assert 0 <= weight[1] < 1e-37
    assert torch.isnan(weight[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_precision_value_passes_unchanged(library, dtype):
    """Own and cross alike: the mixture is that value exactly, whatever the weight."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    values = values[values.isfinite()].reshape(-1, 2)
    zero = torch.zeros_like(values)
    assert torch.equal(run(session(library, dtype, 1), [zero, zero, values, values]).to(dtype), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_results_are_rounded_as_torch_rounds(library, dtype):
    """With equal weights the mixture of neighbours is a tie, and that of far values anything."""
    generator = torch.Generator().manual_seed(1)
    own = torch.randint(-(2**15), 2**15, (60000, 1), generator=generator, dtype=torch.int32).to(torch.int16).view(dtype)
    cross = torch.where(torch.arange(60000)[:, None] % 2 == 0, own.view(torch.int16) + 1, 0).to(torch.int16).view(dtype)
    kept = (own.isfinite() & cross.isfinite())[:, 0]
    own, cross = own[kept], cross[kept]
    zero = torch.zeros_like(own)
    expected = (cross.float() + 0.5 * (own.float() - cross.float())).to(dtype)
    assert torch.equal(run(session(library, dtype, 1), [zero, zero, own, cross]).to(dtype), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel_is_preferred_to_the_function_of_the_file(library, dtype, tmp_path):
    tensors = draw((50, 16), dtype)
    with_both = session(library, dtype, 4, with_function=True)
    assert torch.equal(run(with_both, tensors), run(session(library, dtype, 4), tensors))


@pytest.mark.parametrize(
    ("shapes", "num_heads", "said"),
    [
        ([(4, 16), (4, 16), (5, 16), (4, 16)], 4, r"v_self is \[5 16\] but q is \[4 16\]"),
        ([(4, 16)] * 4, 3, r"q is \[4 16\]; its last axis must be divisible by num_heads = 3"),
    ],
)
def test_wrong_shapes_are_refused_with_the_reason(library, shapes, num_heads, said):
    with pytest.raises(Exception, match=said):
        run(session(library, torch.float32, num_heads), [torch.zeros(shape) for shape in shapes])


def test_no_heads_are_refused_when_the_session_is_made(library):
    with pytest.raises(Exception, match="num_heads is 0; expected at least 1"):
        session(library, torch.float32, 0)


def feeds_of(height, width, seed=0):
    random = np.random.default_rng(seed)
    smooth = random.random((1, 6, 8, 3))
    rgb = np.kron(smooth, np.ones((1, height // 6 + 1, width // 8 + 1, 1)))[:, :height, :width]
    depth = 0.5 + 5 * rgb[..., 0] + 0.1 * random.random((1, height, width))
    return {"rgb": (255 * rgb).astype(np.uint8), "depth": depth.astype(np.float32)}


@pytest.mark.parametrize("size", [(96, 128), (75, 101)])
def test_exported_network_gives_the_same_labels_with_and_without_the_library(library, artifact, size):
    feeds = feeds_of(*size)
    plain = OnnxRuntimeBackend(artifact / MODEL_NAME, threads=2, retained_pixels=48 * 64).run(feeds)
    fused = OnnxRuntimeBackend(artifact / MODEL_NAME, threads=2, custom_ops=library, retained_pixels=48 * 64).run(feeds)
    assert (plain["labels"] == fused["labels"]).mean() >= 0.999
    assert len(np.unique(plain["labels"])) > 1
    np.testing.assert_allclose(fused["confidence"], plain["confidence"], atol=1e-4)
    np.testing.assert_allclose(fused["gate"], plain["gate"], atol=1e-4)


def test_bundled_network_gives_the_same_labels_with_and_without_the_library(library):
    model = artifact_path() / MODEL_NAME
    feeds = feeds_of(192, 256)
    plain = OnnxRuntimeBackend(model, threads=2, retained_pixels=48 * 64).run(feeds)
    fused = OnnxRuntimeBackend(model, threads=2, custom_ops=library, retained_pixels=48 * 64).run(feeds)
    assert (plain["labels"] == fused["labels"]).mean() >= 0.999


def test_second_build_comes_from_the_cache(library, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(library.parent / "cache"))
    monkeypatch.setattr(
        "geminifusion_export.kernels.ops_build.run_compiler", lambda command: pytest.fail("compiled again")
    )
    again = build_onnxruntime_ops(tmp_path / "new" / "folder")
    assert again.name == LIBRARY_NAME
    assert again.read_bytes() == library.read_bytes()


def test_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PluginBuildError, match="CXX is 'no-such-compiler', which is no program"):
        build_onnxruntime_ops(tmp_path)


def test_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(PluginBuildError, match="false failed with code 1"):
        build_onnxruntime_ops(tmp_path)
    assert not list(tmp_path.rglob(LIBRARY_NAME))

"""`enqueue` of the compiled library against the specification, its kernels run by the PTX interpreter."""

import numpy as np
import pytest
from fusion_cases import NAMES, empty_like, fusion_case, values_of
from ptx_interpreter import Memory, PtxError, launch

pytestmark = pytest.mark.slow

KINDS = ("f32", "f16", "bf16")
# head_dim: 4, 8, 20, 32 of B0; 40, 64 of B3; 12 of Swin-T; 1, 3, 37 of nobody; 300 and 264 take a lane several vectors
SHAPES = [
    ((1, 1, 8), 8),
    ((2, 13, 32), 8),
    ((3, 7, 64), 8),
    ((1, 11, 160), 8),
    ((1, 9, 256), 8),
    ((1, 5, 320), 8),
    ((2, 3, 512), 8),
    ((1, 6, 96), 8),
    ((2, 5, 9), 3),
    ((17, 37), 1),
    ((1, 3, 600), 2),
    ((1, 3, 264), 1),
    ((1, 2, 3, 5, 16), 4),
]


def widest(kind, head_dim):
    return next(width for width in ((4, 2, 1) if kind == "f32" else (8, 4, 2, 1)) if head_dim % width == 0)


def fuse(host, case, *, misaligned=False):
    mixed = empty_like(case, misaligned=misaligned)
    plugin = host.create(("num_heads", "int32", [case.num_heads]))
    try:
        assert host.fuse(plugin, case.kind, case.shape, case.inputs, mixed) == 0, host.messages()
    finally:
        plugin.close()
    return mixed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "num_heads"), SHAPES)
def test_the_plugin_computes_the_specification_in_one_pass_over_memory(host, kind, shape, num_heads):
    case = fusion_case(kind, shape, num_heads)
    mixed = fuse(host, case)
    assert case.worst(mixed) <= 1
    assert host.last_kernel == f"geminifusion_pixelwise_fusion_{kind}_x{widest(kind, shape[-1] // num_heads)}"
    for region in host.memory.regions:
        counts = region.writes if region.name == "mixed" else region.reads
        assert (counts == 1).all(), f"bytes of {region.name} are touched {set(counts.tolist())} times"


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_off_a_vector_boundary_are_computed_one_by_one(host, kind):
    case = fusion_case(kind, (2, 5, 32), 4, misaligned=True)
    mixed = fuse(host, case, misaligned=True)
    assert case.worst(mixed) <= 1
    assert host.last_kernel == f"geminifusion_pixelwise_fusion_{kind}_x1"


def test_no_tokens_launch_nothing(host):
    case = fusion_case("f32", (1, 1, 16), 4)
    before = host._host.host_launches()
    plugin = host.create(("num_heads", "int32", [4]))
    assert plugin.enqueue("f32", (0, 9, 16), [*case.inputs.values(), empty_like(case)]) == 0
    plugin.close()
    assert host._host.host_launches() == before


def test_more_rows_than_an_int32_counts_are_refused(host):
    case = fusion_case("f32", (1, 1, 16), 4)
    plugin = host.create(("num_heads", "int32", [4]))
    assert plugin.enqueue("f32", (2**15, 2**14, 16), [*case.inputs.values(), empty_like(case)]) != 0
    plugin.close()
    assert "could not be launched for 2147483648 rows of 4 channels" in host.messages()


def test_a_launch_that_fails_is_reported(host):
    case = fusion_case("f32", (1, 4, 16), 4)
    plugin = host.create(("num_heads", "int32", [4]))
    short = {name: array.reshape(-1)[:-4] if name == "v_cross" else array for name, array in case.inputs.items()}
    with pytest.raises(PtxError, match="out of bounds"):
        host.fuse(plugin, "f32", case.shape, short, empty_like(case))
    plugin.close()
    assert "could not be launched for 16 rows of 4 channels: the stand-in's error" in host.messages()


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_choose_one_value_and_stay_finite(host, kind):
    case = fusion_case(kind, (1, 64, 16), 2)
    for name in ("q", "k_diff"):
        loud = (case.inputs[name] & case.inputs[name].dtype.type(1 << (8 * case.inputs[name].itemsize - 1))).copy()
        loud |= {"f32": np.uint32(0x43000000), "f16": np.uint16(0x5800), "bf16": np.uint16(0x4300)}[kind]  # ±128
        case.inputs[name][...] = loud
    mixed = fuse(host, case)
    signs = [np.where(case.inputs[name] >> (8 * case.inputs[name].itemsize - 1), -1, 1) for name in ("q", "k_diff")]
    agreement = (signs[0] * signs[1]).reshape(1, 64, 2, 8).sum(-1, keepdims=True)
    own = case.inputs["v_self"].reshape(1, 64, 2, 8)
    cross = case.inputs["v_cross"].reshape(1, 64, 2, 8)
    heads = mixed.reshape(1, 64, 2, 8)
    # with weight 0 the other value is left as it is; with weight 1 cross + (own - cross) is own but for its last bits
    crossed = np.broadcast_to(agreement < 0, heads.shape)
    np.testing.assert_array_equal(heads[crossed], cross[crossed])
    owned = np.broadcast_to(agreement > 0, heads.shape)
    found, truth, other = (values_of(bits[owned], kind) for bits in (heads, own, cross))
    # three roundings, and once more as much to the nearest number of the type, which the true value is
    assert (np.abs(found - truth) <= 6 * 2.0**-23 * (np.abs(truth) + np.abs(other))).all()


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_grid_too_small_for_all_rows_takes_them_in_turn(host, blocks):
    case = fusion_case("f16", (3, 41, 64), 8)
    mixed = empty_like(case)
    memory = Memory()
    for name, array in case.inputs.items():
        memory.add(name, array)
    memory.add("mixed", mixed, writable=True)
    pointers = [case.inputs[name].ctypes.data for name in NAMES]
    kernel = host.kernels["geminifusion_pixelwise_fusion_f16_x8"]
    launch(kernel, blocks, 256, [*pointers, 3 * 41 * 8, 8, 0, mixed.ctypes.data], memory)
    assert case.worst(mixed) <= 1
    assert (memory.regions[-1].writes == 1).all()

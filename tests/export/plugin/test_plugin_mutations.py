"""The comparison with the specification notices a kernel that is a little wrong."""

import re

import pytest
from fusion_cases import NAMES, empty_like, fusion_case
from ptx_interpreter import Memory, PtxError, launch, parse

pytestmark = pytest.mark.slow

# Shapes with idle lanes, idle rows, several lanes to a row and several vectors to a lane.
PROBES = [((1, 13, 100), 5), ((2, 5, 1200), 2)]

# name: (pattern in one kernel, replacement); each changes the first place it fits
MUTATIONS = {
    "shuffle with the wrong lane": (r"(shfl\.sync\.bfly\.b32 .*?, %r\d+), %r\d+, (%r\d+)", r"\1, 16, \2"),
    "shuffle that some lanes skip": (r"\tshfl\.sync", "\t@%p1 shfl.sync"),
    "shuffle within half a warp only": (r"(mov\.u32 \t%r\d+), 31;", r"\1, 0x100f;"),
    "last step of the reduction dropped": (r"(setp\.gt\.s32 \t%p\d+, %r\d+), (\d+);", r"\1, 5;"),
    "reduction halves twice": (r"(shr\.s32 \t%r\d+, %r\d+), 1;", r"\1, 2;"),
    "reduction subtracts": (r"add\.f32", "sub.f32"),
    "row behind the last is computed": (r"setp\.lt\.s64", "setp.le.s64"),
    "last row is left out": (r"(setp\.lt\.s64 \t%p\d+, )(%rd\d+), (%rd\d+);\n\tselp", r"\1\3, \2;\n\tselp"),
    "lane behind the row's end reads on": (r"setp\.ge\.s32", "setp.gt.s32"),
    "only the first vector of a lane is read": (
        r"(setp\.lt\.s32 \t%p\d+, %r\d+, %r\d+;\n\t)@%p\d+ bra",
        r"\1@!%p1 bra",
    ),
    "a vector's offset is wrong": (r"shl\.b64 (\t%rd\d+, %rd\d+), (\d)", r"shl.b64 \1, 1"),
    "weight has the wrong sign": (r"neg\.f32", "mov.f32"),
    "weight is not scaled": (r"rsqrt\.approx\.f32 (\t%f\d+), %f\d+", r"mov.f32 \1, 0f3F800000"),
    "weight is not a sigmoid": (r"rcp\.rn\.f32", "mov.f32"),
    "exponential is linear": (r"ex2\.approx\.ftz\.f32", "mov.f32"),
    "values are added": (r"sub\.f32 (\t%f\d+, %f\d+, %f\d+;\n\tfma)", r"add.f32 \1"),
    "mixture starts from the other value": (
        r"(sub\.f32 \t(?:%f\d+), )(%f\d+), (%f\d+)(;\n\tfma\.rn\.f32 \t%f\d+, %f\d+, %f\d+), %f\d+",
        r"\1\2, \3\4, \2",
    ),
    "values are swapped": (r"_param_2\];\n(.*)_param_3\];", r"_param_3];\n\1_param_2];"),
    "query is read twice": (r"_param_1\];", "_param_0];"),
    "output's elements are swapped": (r"(st\.global\.wb\.v4\.u32 \[%rd\d+\]), \{(%r\d+),(%r\d+),", r"\1, {\3,\2,"),
    "product forgets its sum": (r"(fma\.rn\.f32 \t%f\d+, %f\d+, %f\d+), %f\d+", r"\1, 0f00000000"),
    "warps skip rows": (r"(mul\.wide\.u32 \t%rd\d+, %r\d+), 8", r"\1, 16"),
    "warps repeat rows": (r"(mul\.wide\.u32 \t%rd\d+, %r\d+), 8", r"\1, 7"),
}


def verdicts(text):
    """What is wrong with the kernels of this PTX; empty if nothing is found."""
    kernel = parse(text)["geminifusion_pixelwise_fusion_f32_x4"]
    found = []
    for shape, num_heads in PROBES:
        case = fusion_case("f32", shape, num_heads)
        mixed = empty_like(case)
        memory = Memory()
        for name, array in case.inputs.items():
            memory.add(name, array)
        written = memory.add("mixed", mixed, writable=True)
        head_dim = shape[-1] // num_heads
        lanes_log2 = min(5, (head_dim // 4 - 1).bit_length())
        rows = mixed.size // head_dim
        rows_of_block = 256 >> lanes_log2
        pointers = [case.inputs[name].ctypes.data for name in NAMES]
        try:
            grid = -(-rows // rows_of_block)
            launch(kernel, grid, 256, [*pointers, rows, head_dim, lanes_log2, mixed.ctypes.data], memory)
        except PtxError as error:
            found.append(str(error))
            continue
        if not case.worst(mixed) <= 1:
            found.append(f"off by {case.worst(mixed):.3g} times what is allowed")
        if not (written.writes == 1).all():
            found.append("not every byte is written once")
    return found


def kernel_text(ptx):
    return re.search(r"\.visible \.entry geminifusion_pixelwise_fusion_f32_x4\(.*?\n\}", ptx, re.DOTALL).group()


@pytest.mark.parametrize("architecture", [75, 120])
def test_the_kernel_as_compiled_is_not_suspected(compile_ptx, architecture):
    assert verdicts(kernel_text(compile_ptx(architecture))) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(compile_ptx, name):
    text = kernel_text(compile_ptx(75))
    mutated, changed = re.subn(*MUTATIONS[name], text, count=1)
    assert changed == 1, f"the pattern of {name!r} does not fit this compiler's code"
    assert verdicts(mutated), f"{name} went unnoticed"

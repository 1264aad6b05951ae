"""The interpreter that the kernels' tests stand on: it computes, and it refuses what it should."""

import numpy as np
import pytest
from ptx_interpreter import Memory, PtxError, launch, parse

# out[i] = in[i] + in[i ^ 1] for i < count, 32 threads; {guard} and {extra} make variants
PTX = """
.visible .entry add_neighbour(
	.param .u64 add_neighbour_param_0,
	.param .u64 add_neighbour_param_1,
	.param .u32 add_neighbour_param_2
)
.maxntid 32, 1, 1
{{
	.reg .pred 	%p<3>;
	.reg .f32 	%f<3>;
	.reg .b32 	%r<6>;
	.reg .b64 	%rd<6>;

	ld.param.u64 	%rd1, [add_neighbour_param_0];
	ld.param.u64 	%rd2, [add_neighbour_param_1];
	ld.param.u32 	%r1, [add_neighbour_param_2];
	mov.u32 	%r2, %tid.x;
	mul.wide.u32 	%rd3, %r2, 4;
	add.s64 	%rd4, %rd1, %rd3;
	add.s64 	%rd5, %rd2, %rd3;
	mov.u32 	%r3, 0;
	setp.ge.s32 	%p1, %r2, %r1;
	@%p1 bra 	$L__BB0_2;
	ld.global.nc.u32 	%r3, [%rd4];
$L__BB0_2:
	{guard}shfl.sync.bfly.b32 	%r4|%p2, %r3, 1, 31, -1;
	{extra}
	@%p1 bra 	$L__BB0_3;
	mov.b32 	%f1, %r3;
	mov.b32 	%f2, %r4;
	add.f32 	%f1, %f1, %f2;
	st.global.f32 	[%rd5], %f1;
$L__BB0_3:
	ret;
}}
"""


def run(count, *, source=None, target=None, guard="", extra=""):
    source = np.arange(count, dtype=np.float32) if source is None else source
    target = np.zeros(count, np.float32) if target is None else target
    memory = Memory()
    memory.add("source", source)
    memory.add("target", target, writable=True)
    kernel = parse(PTX.format(guard=guard, extra=extra))["add_neighbour"]
    launch(kernel, 1, 32, [source.ctypes.data, target.ctypes.data, count], memory)
    return target, memory


def test_a_shuffle_adds_the_neighbour():
    target, _ = run(20)
    np.testing.assert_array_equal(target, [1, 1, 5, 5, 9, 9, 13, 13, 17, 17, 21, 21, 25, 25, 29, 29, 33, 33, 37, 37])


def test_each_byte_read_and_written_is_counted():
    _, memory = run(20)
    assert [int(region.reads.sum()) for region in memory.regions] == [80, 0]
    assert [int(region.writes.sum()) for region in memory.regions] == [0, 80]


def test_an_access_behind_an_array_is_an_error():
    with pytest.raises(PtxError, match="load out of bounds in 1 threads"):
        run(20, source=np.zeros(19, np.float32))
    with pytest.raises(PtxError, match="store out of bounds in 2 threads"):
        run(20, target=np.zeros(18, np.float32))


def test_a_misaligned_access_is_an_error():
    odd = np.zeros(84, np.uint8)[1:81]
    with pytest.raises(PtxError, match="misaligned global load of 4 bytes"):
        run(20, source=odd)


def test_a_shuffle_some_lanes_skip_is_an_error():
    with pytest.raises(PtxError, match="did not all arrive"):
        run(20, guard="@!%p1 ")


def test_a_register_nothing_was_written_to_is_an_error():
    with pytest.raises(PtxError, match="%r5 is read before it is written"):
        run(20, extra="add.s32 	%r4, %r5, 1;")


@pytest.mark.parametrize(
    "unknown", ["bar.sync 	0;", "cvt.rz.f16.f32 	%r4, %f1;", "add.sat.s32 	%r4, %r3, %r3;"]
)
def test_an_unknown_instruction_is_an_error(unknown):
    with pytest.raises(PtxError, match="unknown instruction"):
        run(20, extra=unknown)


def test_a_kernel_that_never_ends_is_an_error(monkeypatch):
    monkeypatch.setattr("ptx_interpreter.MAX_STEPS", 200)
    with pytest.raises(PtxError, match="did not end within 200 steps"):
        run(20, extra="bra $L__BB0_2;")

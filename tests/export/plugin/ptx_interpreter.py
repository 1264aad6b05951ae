"""Runs a compiled kernel's PTX on numpy, every thread of the grid at once, and counts the bytes it touches.

It knows the instructions our kernels are compiled into and stops with `PtxError` at any other, at an access outside the
arrays it was given, at a misaligned one, and at a shuffle whose lanes did not all arrive. Threads that part ways are
taken forward from the one furthest behind, so that they meet again where their paths do.

What it cannot show: time, the assembler's own mistakes, the last bits of approximate instructions, races.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

WARP = 32
MAX_STEPS = 200_000  # of one launch; a kernel that runs longer never ends

_BITS = {1: np.bool_, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_TYPES: dict[str, type[np.generic]] = {
    "pred": np.bool_,
    "f32": np.float32,
    "f16": np.float16,
    **{f"{kind}{bits}": _BITS[bits] for kind in "ub" for bits in (16, 32, 64)},
    **{f"s{bits}": signed for bits, signed in ((16, np.int16), (32, np.int32), (64, np.int64))},
}
_COMPARISONS: dict[str, Callable] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


class PtxError(RuntimeError):
    """The kernel did something wrong, or something this interpreter does not know."""


class Memory:
    """The arrays a kernel may touch, at their own addresses, with how often each byte was read and written."""

    @dataclass
    class Region:
        name: str
        data: np.ndarray
        writable: bool
        reads: np.ndarray
        writes: np.ndarray

        @property
        def base(self) -> int:
            return self.data.ctypes.data

    def __init__(self) -> None:
        self.regions: list[Memory.Region] = []

    def add(self, name: str, array: np.ndarray, *, writable: bool = False) -> Region:
        data = array.reshape(-1).view(np.uint8)
        assert np.shares_memory(data, array), f"{name} is not contiguous"
        counts = np.zeros((2, data.size), np.int64)
        region = self.Region(name, data, writable, *counts)
        self.regions.append(region)
        return region

    def load(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """`size` bytes at each address: `threads size`."""
        loaded = np.zeros((len(addresses), size), np.uint8)
        for region, where, offsets in self._locate(addresses, size, "load"):
            loaded[where] = region.data[offsets]
            np.add.at(region.reads, offsets, 1)
        return loaded

    def store(self, addresses: np.ndarray, values: np.ndarray) -> None:
        for region, where, offsets in self._locate(addresses, values.shape[1], "store"):
            if not region.writable:
                raise PtxError(f"store into {region.name}, which is an input")
            region.data[offsets] = values[where]
            np.add.at(region.writes, offsets, 1)

    def _locate(self, addresses: np.ndarray, size: int, what: str) -> list[tuple[Region, np.ndarray, np.ndarray]]:
        if (addresses % np.uint64(size)).any():
            raise PtxError(f"misaligned global {what} of {size} bytes")
        found, covered = [], 0
        for region in self.regions:
            offsets = addresses.astype(np.int64) - region.base
            where = np.flatnonzero((offsets >= 0) & (offsets <= region.data.size - size))
            if where.size:
                found.append((region, where, offsets[where, None] + np.arange(size)))
                covered += where.size
        if covered != len(addresses):
            raise PtxError(f"global {what} out of bounds in {len(addresses) - covered} threads")
        return found


@dataclass(frozen=True)
class Instruction:
    text: str
    guard: str | None  # predicate register
    negated: bool
    opcode: tuple[str, ...]
    operands: tuple[str, ...]


@dataclass
class Kernel:
    """One `.entry`: parameters in order as (name, bytes), instructions, and where labels point."""

    name: str
    parameters: list[tuple[str, int]]
    max_threads: int
    registers: dict[str, int] = field(default_factory=dict)  # prefix to bits
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(ptx: str) -> dict[str, Kernel]:
    """The kernels of a PTX module, by name."""
    kernels = {}
    entry = re.compile(r"\.entry\s+(\w+)\((.*?)\)(.*?)\n\{\n(.*?)\n\}", re.DOTALL)
    for name, parameters, directives, body in entry.findall(ptx):
        threads = re.search(r"\.maxntid\s+(\d+)", directives)
        kernel = Kernel(
            name=name,
            parameters=[
                (parameter, int(bits) // 8)
                for bits, parameter in re.findall(r"\.param\s+\.u(\d+)\b.*?(\w+),?$", parameters, re.MULTILINE)
            ],
            max_threads=int(threads.group(1)) if threads else 1024,
        )
        for raw in body.splitlines():
            _parse_line(re.sub(r"//.*", "", raw).strip(), kernel)
        kernels[name] = kernel
    return kernels


def _parse_line(line: str, kernel: Kernel) -> None:
    if inline := re.fullmatch(r"\{\s+(.*;)\s*\}", line):  # inline assembly in a scope of its own
        for statement in inline.group(1).split(";")[:-1]:
            _parse_line(statement.strip() + ";", kernel)
        return
    if not line:
        return
    # `%r<9>` declares %r0 to %r8; a scope's own register has a plain name
    if register := re.fullmatch(r"\.reg\s+\.(\w+)\s+(%?\w+?)(?:<\d+>)?;", line):
        kind, prefix = register.groups()
        kernel.registers[prefix] = 1 if kind == "pred" else int(kind[1:])
        return
    if label := re.fullmatch(r"(\$\w+):", line):
        kernel.labels[label.group(1)] = len(kernel.instructions)
        return
    statement = re.fullmatch(r"(?:@(!?)(%\w+)\s+)?([a-z][\w.:]*)\s*(.*?);", line)
    if statement is None:
        raise PtxError(f"cannot read {line!r}")
    negated, guard, opcode, operands = statement.groups()
    split = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
    kernel.instructions.append(Instruction(line, guard, bool(negated), tuple(opcode.split(".")), tuple(split)))


def launch(kernel: Kernel, grid: int, block: int, arguments: Sequence[int], memory: Memory) -> None:
    """Run `kernel` on `grid` blocks of `block` threads.

    Args:
        arguments: pointers and integers in the order of the kernel's parameters.

    Raises:
        PtxError: see the module's docstring.
    """
    if len(arguments) != len(kernel.parameters):
        raise PtxError(f"{kernel.name} takes {len(kernel.parameters)} arguments, got {len(arguments)}")
    if not (0 < block <= kernel.max_threads and block % WARP == 0 and grid > 0):
        raise PtxError(f"{kernel.name} takes up to {kernel.max_threads} threads, got {grid} blocks of {block}")
    _Run(kernel, grid, block, arguments, memory).to_the_end()


class _Run:
    def __init__(self, kernel: Kernel, grid: int, block: int, arguments: Sequence[int], memory: Memory) -> None:
        self.kernel = kernel
        self.memory = memory
        self.arguments = {name: value for (name, _), value in zip(kernel.parameters, arguments, strict=True)}
        self.sizes = dict(kernel.parameters)
        threads = np.arange(grid * block, dtype=np.uint32)
        self.warp = (threads // WARP).astype(np.int64)
        self.lane = threads % WARP
        self.special = {
            "%tid.x": threads % block,
            "%ctaid.x": threads // block,
            "%ntid.x": np.full_like(threads, block),
            "%nctaid.x": np.full_like(threads, grid),
        }
        self.values: dict[str, np.ndarray] = {}
        self.written: dict[str, np.ndarray] = {}
        self.counter = np.zeros(threads.size, np.int64)

    def to_the_end(self) -> None:
        done = len(self.kernel.instructions)
        with np.errstate(all="ignore"):
            for _ in range(MAX_STEPS):
                position = int(self.counter.min())
                if position == done:
                    return
                self._step(position)
        raise PtxError(f"{self.kernel.name} did not end within {MAX_STEPS} steps")

    def _step(self, position: int) -> None:
        instruction = self.kernel.instructions[position]
        here = np.flatnonzero(self.counter == position)
        self.counter[here] = position + 1
        if instruction.guard is not None:
            taken = self.read(instruction.guard, "pred", here) != instruction.negated
            here = here[taken]
        if here.size:
            handler = _HANDLERS.get(instruction.opcode[0])
            if handler is None:
                raise PtxError(f"unknown instruction {instruction.text!r}")
            handler(self, instruction, here)

    def read(self, operand: str, kind: str, threads: np.ndarray) -> np.ndarray:
        """The operand in `threads`, as an array of PTX type `kind`."""
        wanted = np.dtype(_TYPES[kind])
        if operand in self.special:
            return self.special[operand][threads].view(wanted)
        if operand.startswith("%") or operand in self.kernel.registers:
            if operand not in self.values or not self.written[operand][threads].all():
                raise PtxError(f"{operand} is read before it is written")
            stored = self.values[operand][threads]
            if stored.dtype.itemsize != wanted.itemsize:
                raise PtxError(f"{operand} has {8 * stored.dtype.itemsize} bits, read as {kind}")
            return stored.view(wanted)
        if operand.startswith("0f"):
            return np.full(threads.size, int(operand[2:], 16), np.uint32).view(wanted)
        try:
            bits = int(operand, 0) & ((1 << 8 * wanted.itemsize) - 1)
        except ValueError:
            raise PtxError(f"unknown operand {operand!r}") from None
        return np.full(threads.size, bits, _BITS[8 * wanted.itemsize]).view(wanted)

    def stored_type(self, operand: str) -> np.dtype:
        """How the register's bits are kept."""
        prefix = operand if operand in self.kernel.registers else operand.rstrip("0123456789")
        if prefix not in self.kernel.registers:
            raise PtxError(f"unknown register {operand!r}")
        return np.dtype(_BITS[self.kernel.registers[prefix]])

    def write_extended(self, operand: str, values: np.ndarray, threads: np.ndarray) -> None:
        """`write`, but an integer may go into a wider register, as loads and conversions do; its sign goes with it."""
        wide = self.stored_type(operand)
        if values.dtype.kind in "iu" and wide.itemsize > values.dtype.itemsize:
            values = values.astype(f"{values.dtype.kind}{wide.itemsize}")
        self.write(operand, values, threads)

    def write(self, operand: str, values: np.ndarray, threads: np.ndarray) -> None:
        stored = self.stored_type(operand)
        if values.dtype.itemsize != stored.itemsize:
            raise PtxError(f"{operand} has {8 * stored.itemsize} bits, written as {values.dtype}")
        if operand not in self.values:
            self.values[operand] = np.zeros(self.counter.size, stored)
            self.written[operand] = np.zeros(self.counter.size, bool)
        self.values[operand][threads] = values.view(stored)
        self.written[operand][threads] = True

    def addresses(self, operand: str, threads: np.ndarray) -> np.ndarray:
        match = re.fullmatch(r"\[(%\w+)(?:\+(-?\d+))?\]", operand)
        if match is None:
            raise PtxError(f"unknown address {operand!r}")
        base = self.read(match.group(1), "s64", threads)
        return (base + np.int64(match.group(2) or 0)).view(np.uint64)


def _members(operand: str) -> list[str]:
    return [member.strip() for member in operand.strip("{}").split(",")]


def _unknown(instruction: Instruction) -> PtxError:
    return PtxError(f"unknown instruction {instruction.text!r}")


def _load(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    _, space, *modifiers, kind = instruction.opcode
    target, source = instruction.operands
    if space == "param" and not modifiers:
        name = source.strip("[]")
        if name not in run.arguments or run.sizes[name] != np.dtype(_TYPES[kind]).itemsize:
            raise PtxError(f"no parameter {source} of type {kind}")
        run.write_extended(target, np.full(threads.size, run.arguments[name], _TYPES[kind]), threads)
        return
    registers = _members(target)
    if space != "global" or set(modifiers) - {"nc", f"v{len(registers)}"}:
        raise _unknown(instruction)
    element = np.dtype(_TYPES[kind])
    loaded = run.memory.load(run.addresses(source, threads), element.itemsize * len(registers)).view(element)
    for register, column in zip(registers, loaded.T, strict=True):
        run.write_extended(register, np.ascontiguousarray(column), threads)


def _store(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    _, space, *modifiers, kind = instruction.opcode
    target, source = instruction.operands
    registers = _members(source)
    if space != "global" or set(modifiers) - {"wb", f"v{len(registers)}"}:
        raise _unknown(instruction)
    columns = np.stack([run.read(register, kind, threads) for register in registers], axis=1)
    run.memory.store(run.addresses(target, threads), columns.view(np.uint8))


def _move(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    kind = instruction.opcode[1]
    target, source = instruction.operands
    half = f"b{4 * np.dtype(_TYPES[kind]).itemsize}"
    if source.startswith("{"):
        low, high = (run.read(member, half, threads) for member in _members(source))
        run.write(target, np.ascontiguousarray(np.stack([low, high], axis=1)).view(_TYPES[kind])[:, 0], threads)
    elif target.startswith("{"):
        parts = np.ascontiguousarray(run.read(source, kind, threads)).view(_TYPES[half]).reshape(-1, 2)
        for member, column in zip(_members(target), parts.T, strict=True):
            run.write(member, np.ascontiguousarray(column), threads)
    else:
        run.write(target, run.read(source, kind, threads), threads)


def _two_operands(integer: Callable, floating: Callable | None = None) -> Callable[..., None]:
    def handler(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
        *modifiers, kind = instruction.opcode[1:]
        operation = floating if kind == "f32" else integer
        if operation is None or set(modifiers) - {"rn"}:
            raise _unknown(instruction)
        target, *sources = instruction.operands
        first, second = (run.read(source, kind, threads) for source in sources)
        run.write(target, operation(first, second).astype(_TYPES[kind]), threads)

    return handler


def _multiply(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    *modifiers, kind = instruction.opcode[1:]
    target, *sources = instruction.operands
    first, second = (run.read(source, kind, threads) for source in sources)
    if modifiers == ["wide"] and kind in ("u32", "s32"):
        wide = _TYPES[kind[0] + "64"]
        run.write(target, first.astype(wide) * second.astype(wide), threads)
    elif modifiers == ["lo"] or (kind == "f32" and modifiers in ([], ["rn"])):
        run.write(target, first * second, threads)
    else:
        raise _unknown(instruction)


def _fused_multiply_add(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    _, rounding, kind = instruction.opcode
    if kind != "f32" or rounding not in ("rn", "rm"):
        raise _unknown(instruction)
    target, *sources = instruction.operands
    first, second, third = (run.read(source, kind, threads).astype(np.float64) for source in sources)
    exact = first * second + third  # the product is exact, the sum is rounded once more than on a GPU, in the 53rd bit
    rounded = exact.astype(np.float32)
    if rounding == "rm":
        rounded = np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    run.write(target, rounded, threads)


def _shift(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    operation, kind = instruction.opcode
    target, source, amount = instruction.operands
    values = run.read(source, kind, threads)
    bits = 8 * values.dtype.itemsize
    by = run.read(amount, "u32", threads)
    moved = (np.left_shift if operation == "shl" else np.right_shift)(
        values, np.minimum(by, bits - 1).astype(values.dtype)
    )
    if kind[0] != "s":
        moved = np.where(by < bits, moved, 0).astype(values.dtype)
    run.write(target, moved, threads)


def _negate(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    target, source = instruction.operands
    run.write(target, -run.read(source, instruction.opcode[-1], threads), threads)


def _invert(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    target, source = instruction.operands
    run.write(target, ~run.read(source, instruction.opcode[-1], threads), threads)


def _compare(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    _, comparison, kind = instruction.opcode
    target, *sources = instruction.operands
    if comparison not in _COMPARISONS:
        raise _unknown(instruction)
    run.write(target, _COMPARISONS[comparison](*(run.read(source, kind, threads) for source in sources)), threads)


def _select(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    kind = instruction.opcode[1]
    target, first, second, condition = instruction.operands
    chosen = run.read(condition, "pred", threads)
    run.write(target, np.where(chosen, run.read(first, kind, threads), run.read(second, kind, threads)), threads)


def _convert(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    *modifiers, to, source_kind = instruction.opcode[1:]
    target, source = instruction.operands
    if (modifiers, to, source_kind) == (["rn"], "bf16", "f32"):
        run.write(target, _to_bfloat16(run.read(source, "f32", threads)), threads)
    elif (modifiers, to, source_kind) == ([], "f32", "bf16"):
        run.write(target, (run.read(source, "u16", threads).astype(np.uint32) << 16).view(np.float32), threads)
    elif (modifiers, to, source_kind) == (["sat"], "f32", "f32"):
        values = run.read(source, "f32", threads)
        run.write(target, np.where(np.isnan(values), np.float32(0), np.clip(values, 0, 1)), threads)
    elif (modifiers, to, source_kind) in ((["rn"], "f16", "f32"), ([], "f32", "f16"), (["rn"], "f32", "s32")) or (
        not modifiers and to[0] in "us" and source_kind[0] in "us"
    ):
        run.write_extended(target, run.read(source, source_kind, threads).astype(_TYPES[to]), threads)
    else:
        raise _unknown(instruction)


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


def _unary_float(suffix: tuple[str, ...], operation: Callable) -> Callable[..., None]:
    def handler(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
        if instruction.opcode[1:] != suffix:
            raise _unknown(instruction)
        target, source = instruction.operands
        exact = operation(run.read(source, "f32", threads).astype(np.float64))
        rounded = exact.astype(np.float32)
        if "ftz" in suffix:
            rounded = np.where(np.abs(rounded) < np.finfo(np.float32).tiny, np.float32(0), rounded)
        run.write(target, rounded, threads)

    return handler


def _branch(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    label = instruction.operands[0]
    if label not in run.kernel.labels:
        raise PtxError(f"no label {label}")
    run.counter[threads] = run.kernel.labels[label]


def _return(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    run.counter[threads] = len(run.kernel.instructions)


def _to_global(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    if instruction.opcode[1:] != ("to", "global", "u64"):
        raise _unknown(instruction)
    target, source = instruction.operands
    run.write(target, run.read(source, "u64", threads), threads)


def _shuffle(run: _Run, instruction: Instruction, threads: np.ndarray) -> None:
    if instruction.opcode[1:] != ("sync", "bfly", "b32"):
        raise _unknown(instruction)
    targets, source, mask, clamp, members = instruction.operands
    target, _, valid = targets.partition("|")
    lanes = run.lane[threads].astype(np.int64)
    present = np.zeros(int(run.warp.max()) + 1, np.uint32)
    np.bitwise_or.at(present, run.warp[threads], np.left_shift(np.uint32(1), run.lane[threads]))
    named = run.read(members, "u32", threads)
    if (named != present[run.warp[threads]]).any():
        raise PtxError("a shuffle's lanes did not all arrive")
    control = run.read(clamp, "u32", threads).astype(np.int64)
    segment, limit = control >> 8 & 31, control & 31
    last = (lanes & segment) | (limit & ~segment & 31)
    partner = lanes ^ run.read(mask, "u32", threads).astype(np.int64)
    inside = partner <= last
    values = np.zeros(run.counter.size, np.uint32)
    values[threads] = run.read(source, "b32", threads)
    run.write(target, values[threads - lanes + np.where(inside, partner, lanes)], threads)
    if valid:
        run.write(valid, inside, threads)


_HANDLERS: dict[str, Callable[[_Run, Instruction, np.ndarray], None]] = {
    "ld": _load,
    "st": _store,
    "mov": _move,
    "add": _two_operands(np.add, np.add),
    "sub": _two_operands(np.subtract, np.subtract),
    "mul": _multiply,
    "fma": _fused_multiply_add,
    "and": _two_operands(np.bitwise_and),
    "or": _two_operands(np.bitwise_or),
    "xor": _two_operands(np.bitwise_xor),
    "not": _invert,
    "neg": _negate,
    "shl": _shift,
    "shr": _shift,
    "setp": _compare,
    "selp": _select,
    "cvt": _convert,
    "cvta": _to_global,
    "rsqrt": _unary_float(("approx", "f32"), lambda x: 1 / np.sqrt(x)),
    "rcp": _unary_float(("rn", "f32"), lambda x: 1 / x),
    "ex2": _unary_float(("approx", "ftz", "f32"), np.exp2),
    "bra": _branch,
    "ret": _return,
    "shfl": _shuffle,
}

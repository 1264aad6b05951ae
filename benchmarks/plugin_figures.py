"""The cost of the TensorRT plugin's kernels by the compiler's own figures: bytes per token, registers, occupancy.

    python benchmarks/plugin_figures.py

Needs nvcc and no GPU, so nothing here is a time. Bytes are counted while a small interpreter (that of the tests) runs
the compiled PTX; the minimum is four tensors read and one written.
Registers and memory are what ptxas reports. Occupancy follows from them and the limits of the GPU.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from machine import describe_machine

from geminifusion_export.kernels.plugin_build import find_nvcc, plugin_sources

_TESTS = Path(__file__).parent.parent / "tests" / "export" / "plugin"
PREFIX = "geminifusion_pixelwise_fusion_"
THREADS = 256  # of a block, as fusion_kernel.cu launches
# name: channels and heads of stages, the widths of B0, B3 and Swin-T
STAGES = {"B0": ((32, 64, 160, 256), 8), "B3": ((64, 128, 320, 512), 8), "Swin-T": ((96, 192, 384, 768), 8)}
ELEMENT_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of one multiprocessor, from the CUDA programming guide's table of compute capabilities."""

    registers: int = 65536
    warps: int = 64
    blocks: int = 32
    register_unit: int = 256  # a warp's registers are handed out in this many


GPUS = {80: Multiprocessor(), 90: Multiprocessor()}


def occupancy(gpu: Multiprocessor, registers: int) -> float:
    """Share 0…1 of the warps a multiprocessor can hold, for blocks of `THREADS` without shared memory."""
    of_warp = -(-registers * 32 // gpu.register_unit) * gpu.register_unit
    blocks = min(gpu.registers // of_warp // (THREADS // 32), gpu.warps // (THREADS // 32), gpu.blocks)
    return blocks * (THREADS // 32) / gpu.warps


def compiler_figures(nvcc: Path, architecture: int) -> dict[str, dict[str, int]]:
    """Registers, spilled, stack and shared bytes of each kernel, as ptxas reports them."""
    source = plugin_sources() / "tensorrt" / "fusion_kernel.cu"
    with tempfile.TemporaryDirectory() as folder:
        command: list[str | Path] = [
            nvcc,
            "-std=c++17",
            "-O2",
            "-cubin",
            f"-arch=sm_{architecture}",
            "-Xptxas=-v",
            source,
        ]
        said = subprocess.run([*command, "-o", Path(folder) / "out.cubin"], capture_output=True, text=True, check=True)
    figures = {}
    for block in said.stderr.split("Compiling entry function '")[1:]:
        figures[block.partition("'")[0]] = {
            "registers": _number(r"Used (\d+) registers", block),
            "spilled": _number(r"(\d+) bytes spill stores", block) + _number(r"(\d+) bytes spill loads", block),
            "stack": _number(r"(\d+) bytes stack frame", block),
            "shared": _number(r"(\d+) bytes smem", block),
        }
    return figures


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


@functools.cache
def _test_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def counted_bytes(ptx: str, kind: str, channels: int, heads: int, tokens: int = 24) -> tuple[str, float, float]:
    """Kernel chosen, bytes read and bytes written per token."""
    interpreter, cases = _test_module("ptx_interpreter"), _test_module("fusion_cases")
    head_dim = channels // heads
    width = 16 // ELEMENT_BYTES[kind]
    while head_dim % width:
        width //= 2
    lanes_log2 = min(5, (head_dim // width - 1).bit_length())
    case = cases.fusion_case(kind, (1, tokens, channels), heads)
    mixed = cases.empty_like(case)
    memory = interpreter.Memory()
    for name, array in case.inputs.items():
        memory.add(name, array)
    written = memory.add("mixed", mixed, writable=True)
    name = f"{PREFIX}{kind}_x{width}"
    rows = tokens * heads
    pointers = [case.inputs[name].ctypes.data for name in cases.NAMES]
    arguments = [*pointers, rows, head_dim, lanes_log2, mixed.ctypes.data]
    interpreter.launch(interpreter.parse(ptx)[name], -(-rows // (THREADS >> lanes_log2)), THREADS, arguments, memory)
    if not case.worst(mixed) <= 1:
        raise SystemExit(f"{name} is wrong; run the tests")
    read = sum(int(region.reads.sum()) for region in memory.regions)
    return name, read / tokens, int(written.writes.sum()) / tokens


def main() -> None:
    """Compile, count, print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    nvcc = find_nvcc()
    release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[-2]
    print(describe_machine("numpy", "torch"))
    print(f"{release}\n")
    print("| kernel | " + " | ".join(f"registers sm_{a} | occupancy sm_{a}" for a in GPUS) + " | spilled | shared |")
    print("|---|" + "---:|" * (2 * len(GPUS) + 2))
    figures = {architecture: compiler_figures(nvcc, architecture) for architecture in GPUS}
    for kernel in sorted(next(iter(figures.values()))):
        own = [figures[architecture][kernel] for architecture in GPUS]
        cells = [
            f"{figure['registers']} | {occupancy(gpu, figure['registers']):.0%}"
            for figure, gpu in zip(own, GPUS.values(), strict=True)
        ]
        worst = [max(figure[key] for figure in own) for key in ("spilled", "shared")]
        cells += map(str, worst)
        print(f"| {kernel.removeprefix(PREFIX)} | {' | '.join(cells)} |")
    source = plugin_sources() / "tensorrt" / "fusion_kernel.cu"
    command: list[str | Path] = [nvcc, "-std=c++17", "-O2", "-ptx", "-arch=compute_80", source, "-o", "/dev/stdout"]
    ptx = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print("\n| network | channels | type | kernel | bytes read per token | written | minimum | ratio |")
    print("|---|---:|---|---|---:|---:|---:|---:|")
    for network, (widths, heads) in STAGES.items():
        for channels in widths:
            for kind, size in ELEMENT_BYTES.items():
                kernel, read, written = counted_bytes(ptx, kind, channels, heads)
                least = 5 * channels * size
                print(
                    f"| {network} | {channels} | {kind} | {kernel.removeprefix(PREFIX)} "
                    f"| {read:.0f} | {written:.0f} | {least} | {(read + written) / least:.2f} |"
                )


if __name__ == "__main__":
    main()

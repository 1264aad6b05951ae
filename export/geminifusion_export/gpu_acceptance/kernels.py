"""Part a: the plugin's kernels compiled for this card, launched directly, compared with the specification and timed.

Needs torch with CUDA and nvcc; compute-sanitizer is used if it is there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from geminifusion_export.gpu_acceptance.fusion_checks import Fuse, check_fusion
from geminifusion_export.gpu_acceptance.requirements import is_installed, require_nvcc, require_torch_gpu
from geminifusion_export.gpu_acceptance.result import Missing, Report
from geminifusion_export.gpu_acceptance.timing import device_seconds
from geminifusion_export.kernels.kernel_library import KernelLibrary, build_kernel_library
from geminifusion_model.encoder_sizes import MIT_SIZES

BANDWIDTH_TARGET = 0.8  # of a copy's
_IMAGES = 8
_STAGE_1_TOKENS = 120 * 160  # of a frame of 480x640
_NUM_HEADS = 8
_TENSORS_MOVED = 5  # four read, one written
_MEMORY_BYTES = 2**30  # of all sets of tensors together, so that no cache holds them
_GUARD = 64  # elements on each side of the result
_SANITIZER_S = 30.0


class OutOfBoundsError(RuntimeError):
    """A kernel wrote outside its result."""


def examine(report: Report) -> None:
    """Compile, compare, measure."""
    require_torch_gpu()
    require_nvcc()
    major, minor = torch.cuda.get_device_capability()
    report.figure("gpu", torch.cuda.get_device_name())
    with tempfile.TemporaryDirectory() as folder:
        path = build_kernel_library(Path(folder), 10 * major + minor)
        device = torch.device("cuda")
        check_fusion(report, fuse_with(KernelLibrary(path)), device, "plugin kernels")
        report.attempt("bandwidth", lambda: _bandwidth(report, KernelLibrary(path)))
        _sanitize(report, path)
    report.attempt("Triton kernels", lambda: _triton(report, device))


def fuse_with(library: KernelLibrary) -> Fuse:
    """The library's kernels as a function of tensors; the result lies between elements that must stay as they are."""

    def fuse(q: Tensor, k_diff: Tensor, v_self: Tensor, v_cross: Tensor, num_heads: int) -> Tensor:
        offset = q.storage_offset() % 2
        room = torch.full((q.numel() + 2 * _GUARD + offset,), 7.0, dtype=q.dtype, device=q.device)
        begin = _GUARD + offset
        mixed = room[begin : begin + q.numel()].view(q.shape)
        _launch(library, (q, k_diff, v_self, v_cross, mixed), num_heads)
        if not bool((room[:begin] == 7.0).all() and (room[begin + q.numel() :] == 7.0).all()):
            raise OutOfBoundsError(f"a kernel wrote outside its result of {tuple(q.shape)}")
        return mixed

    return fuse


def _launch(library: KernelLibrary, tensors: tuple[Tensor, ...], num_heads: int) -> None:
    first = tensors[0]
    head_dim = first.shape[-1] // num_heads
    pointers = [tensor.data_ptr() for tensor in tensors]
    stream = torch.cuda.current_stream().cuda_stream
    kind = str(first.dtype).removeprefix("torch.")
    library.fuse(kind, first.numel() // head_dim, head_dim, pointers, stream)


def _bandwidth(report: Report, library: KernelLibrary) -> str:
    """Bytes per second of the kernel against a copy that moves as many, at the largest stage of B0 and B3."""
    shares = []
    for encoder in ("mit_b0", "mit_b3"):
        for dtype in (torch.float32, torch.float16):
            shape = (_IMAGES * _STAGE_1_TOKENS, MIT_SIZES[encoder].channels[0])
            kind = str(dtype).removeprefix("torch.")
            moved = _TENSORS_MOVED * shape[0] * shape[1] * dtype.itemsize
            fused = device_seconds([_fusing(library, tensors) for tensors in _tensor_sets(shape, dtype, moved)])
            copied = device_seconds([_copying(moved) for _ in range(max(2, _MEMORY_BYTES // moved))])
            shares.append(copied / fused)
            report.figure(f"{encoder} {kind} kernel GB/s", moved / fused / 1e9)
            report.figure(f"{encoder} {kind} copy GB/s", moved / copied / 1e9)
            report.target(f"bandwidth {encoder} {kind}", 100 * BANDWIDTH_TARGET, 100 * copied / fused, "% of a copy")
    return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % of a copy"


def _tensor_sets(shape: tuple[int, int], dtype: torch.dtype, moved: int) -> Iterator[tuple[Tensor, ...]]:
    for _ in range(max(2, _MEMORY_BYTES // moved)):
        yield tuple(torch.randn(shape, device="cuda", dtype=dtype) for _ in range(_TENSORS_MOVED))


def _fusing(library: KernelLibrary, tensors: tuple[Tensor, ...]) -> Callable[[], None]:
    return lambda: _launch(library, tensors, _NUM_HEADS)


def _copying(moved: int) -> Callable[[], Tensor]:
    source, target = (torch.empty(moved // 2, dtype=torch.uint8, device="cuda") for _ in range(2))
    return lambda: target.copy_(source)


def _sanitize(report: Report, library: Path) -> None:
    """The same cases under NVIDIA's memory checker, which sees what guards do not."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        report.note("compute-sanitizer is not on the PATH")
        return
    command = [program, "--error-exitcode=9", sys.executable, "-P", "-m", __name__, str(library)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SANITIZER_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        report.note(f"compute-sanitizer was not done within {_SANITIZER_S:g} s")
        return
    lines = [line for line in done.stdout.splitlines() if "ERROR SUMMARY" in line] or done.stderr.splitlines()[-1:]
    report.check("compute-sanitizer", done.returncode == 0, lines[0].strip("= ") if lines else "it said nothing")


def _triton(report: Report, device: torch.device) -> str:
    if not is_installed("triton"):
        raise Missing("triton is not installed (run: pip install triton)")
    from geminifusion_model.fusion_kernels.triton_kernels import triton_fusion

    check_fusion(report, triton_fusion, device, "Triton kernel")
    return "compared"


if __name__ == "__main__":  # what compute-sanitizer runs: the cases alone
    check_fusion(Report(), fuse_with(KernelLibrary(Path(sys.argv[1]))), torch.device("cuda"), "plugin kernels")

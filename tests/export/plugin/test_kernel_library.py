"""The kernels without TensorRT: what `doctor --gpu` launches on a card, its host code run here on the CPU."""

import pytest
from fusion_cases import empty_like, fusion_case
from plugin_host import CudaStandIn, compile_host

from geminifusion_export.errors import PluginBuildError
from geminifusion_export.kernels.kernel_library import (
    ELEMENTS,
    KernelLaunchError,
    KernelLibrary,
    build_kernel_library,
)
from geminifusion_export.kernels.plugin_build import toolkit_of

pytestmark = pytest.mark.slow

KINDS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


@pytest.fixture(scope="module")
def stand_in(nvcc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    host = compile_host(folder, "kernel_host.cpp", toolkit_of(nvcc) / "include")
    cuda = CudaStandIn(host)
    path = build_kernel_library(folder, 80, cudart="none", more=[str(host), "--compress-mode=none"])
    library = KernelLibrary(path)
    cuda.read_kernels()
    return cuda, library


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize(("shape", "num_heads"), [((2, 13, 32), 8), ((2, 5, 9), 3), ((1, 5, 320), 8)])
def test_the_c_entry_point_launches_the_kernels_of_the_plugin(stand_in, element, shape, num_heads):
    cuda, library = stand_in
    case = fusion_case(KINDS[element], shape, num_heads)
    mixed = empty_like(case)
    cuda.place(case.inputs, mixed)
    pointers = [array.ctypes.data for array in (*case.inputs.values(), mixed)]
    head_dim = shape[-1] // num_heads
    library.fuse(element, mixed.size // head_dim, head_dim, pointers, cuda.stream)
    assert case.worst(mixed) <= 1
    assert cuda.last_kernel.startswith(f"geminifusion_pixelwise_fusion_{KINDS[element]}_x")


def test_a_refused_launch_is_an_error_in_words(stand_in):
    cuda, library = stand_in
    with pytest.raises(KernelLaunchError, match="4 rows of 0 float32 were not launched: the stand-in's error"):
        library.fuse("float32", 4, 0, [0] * 5, cuda.stream)


def test_it_exports_its_c_interface_and_nothing_else(nvcc, tmp_path, symbols):
    library = build_kernel_library(tmp_path, 90)
    assert symbols(library, "--defined-only") == {"geminifusion_pixelwise_fusion", "geminifusion_error_text"}


def test_a_file_that_is_no_library_is_refused(tmp_path):
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(PluginBuildError, match="cannot be loaded"):
        KernelLibrary(tmp_path / "text.so")

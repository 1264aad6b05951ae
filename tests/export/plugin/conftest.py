"""The plugin compiled for these tests, and the modules they share."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from geminifusion_export.kernels.plugin_build import (
    TENSORRT_HEADERS,
    PluginBuildError,
    build_tensorrt_plugin,
    compile_command,
    find_headers,
    find_nvcc,
    plugin_sources,
    run_compiler,
    toolkit_of,
)

HERE = Path(__file__).parent
# The oldest instruction set we support has the most code of its own (bfloat16 is rounded in software), the newest is
# what GPUs after it will run.
PTX_ARCHITECTURES = (75, 120)


def _share(name):
    """Make a module beside this file importable by the tests; they are no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


for _name in ("ptx_interpreter", "fusion_cases", "plugin_host"):
    _share(_name)


@pytest.fixture(scope="session")
def nvcc():
    try:
        return find_nvcc()
    except PluginBuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tensorrt_headers():
    """Of an installed TensorRT, or those kernel-lens ships (Apache-2.0, TensorRT 10.14)."""
    spec = importlib.util.find_spec("kernel_lens")
    packaged = None
    if spec is not None:
        packaged = Path(spec.submodule_search_locations[0]) / "include" / "tensorrt"
    try:
        return find_headers(TENSORRT_HEADERS, packaged)
    except PluginBuildError as error:
        pytest.skip(f"{error}; or: pip install --no-deps kernel-lens==2.0.1")


@pytest.fixture(scope="session")
def product(nvcc, tensorrt_headers, tmp_path_factory):
    """The library as it is shipped, for every GPU."""
    return build_tensorrt_plugin(tmp_path_factory.mktemp("product"), headers=tensorrt_headers)


@pytest.fixture(scope="session")
def compile_ptx(nvcc, tmp_path_factory):
    """The kernels alone, compiled to PTX of one architecture; each is compiled once."""
    folder = tmp_path_factory.mktemp("ptx")

    def compiled(architecture):
        path = folder / f"{architecture}.ptx"
        if not path.is_file():
            source = plugin_sources() / "tensorrt" / "fusion_kernel.cu"
            run_compiler(
                [str(nvcc), "-std=c++17", "-O2", "-ptx", f"-arch=compute_{architecture}", str(source), "-o", str(path)]
            )
        return path.read_text()

    return compiled


@pytest.fixture(scope="session", params=PTX_ARCHITECTURES)
def host(request, nvcc, tensorrt_headers, tmp_path_factory):
    """The library in a process that is TensorRT and a GPU to it, with PTX of one architecture to run."""
    from plugin_host import PluginHost, compile_host

    folder = tmp_path_factory.mktemp(f"host{request.param}")
    library = folder / "plugin.so"
    stand_in = compile_host(folder, "plugin_host.cpp", tensorrt_headers, toolkit_of(nvcc) / "include")
    command = compile_command(nvcc, tensorrt_headers, (request.param,), library, cudart="none")
    # uncompressed, so that the PTX the library carries can be read out of it and run
    run_compiler([*command, str(stand_in), "--compress-mode=none"])
    return PluginHost(library, stand_in)


@pytest.fixture(scope="session")
def symbols():
    """Names of a library's dynamic symbols: `symbols(path, "--defined-only")`."""
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed (binutils)")

    def names(path, which):
        done = subprocess.run(["nm", "-D", which, str(path)], capture_output=True, text=True, check=True)
        return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()}

    return names

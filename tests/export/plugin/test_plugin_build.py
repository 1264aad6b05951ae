"""Finding what the plugin is compiled with, and saying what is missing."""

import pytest

from geminifusion_export.kernels.plugin_build import (
    TENSORRT_HEADERS,
    PluginBuildError,
    build_tensorrt_plugin,
    choose_architectures,
    find_headers,
    find_nvcc,
    plugin_sources,
)


def header_folder(folder, version):
    folder.mkdir(parents=True)
    (folder / "NvInferRuntime.h").touch()
    (folder / "NvInferVersion.h").write_text(version)
    return folder


def test_headers_are_found_where_they_are_given_and_one_folder_below(tmp_path):
    include = header_folder(tmp_path / "release" / "include", "")
    assert find_headers(TENSORRT_HEADERS, include) == include
    assert find_headers(TENSORRT_HEADERS, include.parent) == include


def test_headers_are_found_through_the_environment(tmp_path, monkeypatch):
    include = header_folder(tmp_path / "include", "")
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    assert find_headers(TENSORRT_HEADERS) == include


def test_missing_headers_are_refused_with_what_to_install(tmp_path):
    with pytest.raises(PluginBuildError, match=r"NvInferRuntime.h is not in .*libnvinfer-headers-dev.*--headers"):
        find_headers(TENSORRT_HEADERS, tmp_path)


def test_a_missing_compiler_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setattr("geminifusion_export.kernels.plugin_build.os.access", lambda *_: False)
    with pytest.raises(PluginBuildError, match=r"no CUDA compiler.*pip install 'nvidia-cuda-nvcc==13.0.\*'"):
        find_nvcc()


def test_headers_of_tensorrt_8_are_refused(nvcc, tmp_path):
    include = header_folder(tmp_path / "include", "#define NV_TENSORRT_MAJOR 8\n")
    with pytest.raises(PluginBuildError, match="are of TensorRT 8; expected 10 or later"):
        build_tensorrt_plugin(tmp_path, headers=include)


def test_a_folder_that_names_no_version_is_refused(nvcc, tmp_path):
    include = header_folder(tmp_path / "include", "")
    with pytest.raises(PluginBuildError, match="names no version"):
        build_tensorrt_plugin(tmp_path, headers=include)


def test_an_architecture_the_compiler_does_not_know_is_refused(nvcc):
    with pytest.raises(PluginBuildError, match=r"architectures are 35, 90; .* knows 75, "):
        choose_architectures(nvcc, (90, 35))
    with pytest.raises(PluginBuildError, match="architectures are none"):
        choose_architectures(nvcc, ())


def test_what_the_compiler_says_is_passed_on_and_no_library_is_left(nvcc, tmp_path):
    include = header_folder(tmp_path / "include", "#define TRT_MAJOR_ENTERPRISE 10\n")
    (include / "NvInferRuntime.h").write_text("#error these are no headers\n")
    output = tmp_path / "output"
    with pytest.raises(PluginBuildError, match="these are no headers"):
        build_tensorrt_plugin(output / "plugin.so", headers=include, architectures=(90,))
    assert list(output.iterdir()) == []


def test_the_sources_are_found():
    assert (plugin_sources() / "tensorrt" / "fusion_kernel.cu").is_file()

"""The types in `typings/` are those of the real TensorRT 11.4 and CUDA bindings: every name, every parameter.

TensorRT's bindings load without a GPU if something stands in for three of its libraries; the runtime is the real one of
the lean package.
"""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TYPINGS = Path(__file__).parents[2] / "typings"
_LIBRARIES = {
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "getBuilderPluginRegistry",
    ),
    "libnvonnxparser.so.11": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
}
_PRELOAD = textwrap.dedent(
    """
    import ctypes, json, os, sys
    for library in json.loads(sys.argv[1]):
        ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    import tensorrt_bindings
    sys.modules["tensorrt"] = tensorrt_bindings
    """
)
_DESCRIBE = textwrap.dedent(
    """
    def describe(name):
        found = sys.modules[sys.argv[2]]
        for part in name.split("."):
            if not hasattr(found, part):
                return None
            found = getattr(found, part)
        return getattr(found, "__doc__", None) or ""
    print(json.dumps({name: describe(name) for name in json.loads(sys.argv[3])}), flush=True)
    os._exit(0)  # the stand-ins have nothing for the bindings to tear down
    """
)

pytestmark = pytest.mark.slow


def _declared(path):
    """Every name a stub declares, dotted, with its parameters if it is a function."""
    names = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                names[prefix + node.name] = None
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                arguments = [argument.arg for argument in node.args.args if argument.arg != "self"]
                names[prefix + node.name] = None if node.decorator_list else arguments
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                names[prefix + target.id] = None

    visit(ast.parse(path.read_text()).body, "")
    return names


def _assert_agree(declared, real):
    assert {name for name in declared if real[name] is None} == set()
    for name, parameters in declared.items():
        if parameters:
            text = real[name]
            missing = [parameter for parameter in parameters if parameter not in text]
            assert not missing, f"{name} has no {missing}: {text[:300]}"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """What the bindings are linked to and no package index has, as empty functions over the real lean runtime."""
    lean, bindings = (importlib.util.find_spec(name) for name in ("tensorrt_lean_libs", "tensorrt_bindings"))
    if lean is None or bindings is None:
        pytest.skip("needs tensorrt-lean-cu13==11.4.0.106 and, with --no-deps, tensorrt-cu13-bindings==11.4.0.106")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("libraries")
    runtime = Path(lean.submodule_search_locations[0])
    paths = []
    for library, functions in _LIBRARIES.items():
        source = folder / f"{library}.c"
        source.write_text("".join(f"void* {function}(void) {{ return 0; }}\n" for function in functions))
        command = [compiler, "-shared", "-fPIC", "-o", folder / library, f"-Wl,-soname,{library}", source]
        if library.startswith("libnvinfer.so"):
            command += ["-Wl,--no-as-needed", f"-L{runtime}", "-l:libnvinfer_lean.so.11", f"-Wl,-rpath,{runtime}"]
        subprocess.run(command, check=True)
        paths.append(str(folder / library))
    return json.dumps(paths)


def _python(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_tensorrts_names_and_parameters_are_the_real_modules(libraries):
    declared = _declared(TYPINGS / "tensorrt" / "__init__.pyi")
    run = _python(_PRELOAD + _DESCRIBE, libraries, "tensorrt", json.dumps(list(declared)))
    assert run.returncode == 0, run.stderr[-2000:]
    _assert_agree(declared, json.loads(run.stdout.splitlines()[-1]))


def test_cudas_names_and_parameters_are_the_real_modules():
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("needs cuda-bindings==13.0.*")
    from cuda.bindings import runtime

    declared = _declared(TYPINGS / "cuda" / "bindings" / "runtime.pyi")

    def describe(name):
        found = runtime
        for part in name.split("."):
            if not hasattr(found, part):
                return None
            found = getattr(found, part)
        return getattr(found, "__doc__", None) or ""

    _assert_agree(declared, {name: describe(name) for name in declared})


def test_real_tensorrt_of_another_version_is_refused_before_the_engine_is_tried(libraries, make_artifact, tmp_path):
    script = _PRELOAD + textwrap.dedent(
        """
        import dataclasses
        from pathlib import Path
        from geminifusion_runtime.artifact import EngineRequirements, RuntimeFile, ShapeRange, read_metadata
        from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError
        from geminifusion_runtime.backends.tensorrt.backend import TensorRtBackend
        shape = (1, 48, 64)
        needs = EngineRequirements(tensorrt_version=sys.argv[3], compute_capability="8.9",
                                   profiles=(ShapeRange(minimum=shape, optimum=shape, maximum=shape),))
        entry = RuntimeFile(runtime="tensorrt", file="model.onnx", precision="float32")
        directory = Path(sys.argv[2])
        metadata = dataclasses.replace(read_metadata(directory), runtimes=(entry,), engine=needs)
        try:
            TensorRtBackend(directory, metadata)
        except TensorRtError as error:
            print(error, flush=True)
        os._exit(0)
        """
    )
    artifact = str(make_artifact(tmp_path / "artifact"))
    other = _python(script, libraries, artifact, "10.13.0.35")
    assert "built with TensorRT 10.13.0.35, 11.4.0.106 is installed" in other.stdout, other.stderr[-2000:]
    same = _python(script, libraries, artifact, "11.4.0.106")
    assert "there is no NVIDIA GPU" in same.stdout or "CUDA bindings cannot be loaded" in same.stdout, same.stderr[
        -2000:
    ]

import json
import subprocess
import sys

from geminifusion_export.benchmarking.doctor import diagnose


def test_every_capability_is_one_line_with_a_reason_or_a_version():
    diagnosis = diagnose()
    lines = str(diagnosis).splitlines()
    assert len(lines) == 1 + len(diagnosis.capabilities)
    assert all(capability.detail for capability in diagnosis.capabilities)
    assert {line[:4].strip() for line in lines[1:]} <= {"yes", "no"}


def test_onnx_runtime_works_where_the_tests_run():
    found = {capability.name: capability for capability in diagnose().capabilities}
    assert found["ONNX Runtime (CPU)"].works
    assert "CPUExecutionProvider" in found["ONNX Runtime (CPU)"].detail


def test_diagnosis_is_json_as_well():
    facts = json.loads(diagnose().to_json())
    assert facts["machine"]["threads"] >= 1
    assert {"name", "works", "detail", "advice"} == set(facts["capabilities"][0])


def test_bare_machine_is_told_what_to_install():
    """No package of ours that is heavy can be imported: everything is a no, nothing is a traceback."""
    program = (
        "import sys\n"
        "class Bare:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('onnxruntime', 'openvino', 'torch', 'onnx', 'nncf', 'tensorrt'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Bare())\n"
        "from geminifusion_export.benchmarking.doctor import diagnose\n"
        "print(diagnose())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "Traceback" not in answer.stdout + answer.stderr
    assert 'onnxruntime is not installed; run: pip install "geminifusion[service]"' in answer.stdout
    assert 'openvino is not installed; run: pip install "geminifusion[openvino]"' in answer.stdout

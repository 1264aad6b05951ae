import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from geminifusion_export.benchmarking.benchmark import BenchmarkOptions, parse_size, run_benchmark
from geminifusion_export.benchmarking.flops import count_flops
from geminifusion_export.benchmarking.latency_plot import Bar, latency_svg
from geminifusion_export.errors import BenchmarkError
from geminifusion_export.measure_commands import bench

QUICK = {"repeats": 3, "warmup": 1, "threads": 1, "memory": False}


@pytest.fixture(scope="module")
def measured(tiny_artifact):
    options = BenchmarkOptions(repeats=4, warmup=1, threads=1, batches=(1, 2), sizes=((32, 48),))
    return run_benchmark(tiny_artifact, options)


def test_every_batch_and_size_is_measured_with_percentiles_in_order(measured):
    assert [(m.batch, m.height, m.width, m.runs) for m in measured.measurements] == [(1, 32, 48, 4), (2, 32, 48, 4)]
    for m in measured.measurements:
        assert 0 < m.min_ms <= m.p50_ms <= m.p90_ms <= m.p99_ms
        assert m.frames_per_second > 0
        assert m.gflops == 0.0, "two thresholds multiply nothing"


def test_memory_is_that_of_a_process_of_its_own(measured):
    assert all(20 < m.peak_memory_mib < 2000 for m in measured.measurements)


def test_result_is_a_table_json_and_a_picture(measured):
    assert "tiny@1" in str(measured)
    assert json.loads(measured.to_json())["measurements"][0]["backend"] == "onnxruntime-cpu float32"
    root = ET.fromstring(measured.to_svg())
    assert sum(element.tag.endswith("rect") for element in root.iter()) == 1 + 2


def test_size_is_the_scored_one_if_none_is_given(tiny_artifact):
    (measurement,) = run_benchmark(tiny_artifact, BenchmarkOptions(**QUICK)).measurements
    assert (measurement.height, measurement.width) == (48, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ((8, 64),)}, "takes sides of 16 or more"),
        ({"sizes": ((480, 640),)}, "19200 pixels at most"),
        ({"backends": ("tensorrt",)}, "has no backend tensorrt; it has onnxruntime-cpu float32"),
        ({"repeats": 0}, "repeats and batches of 1 or more"),
        ({"batches": (0,)}, "repeats and batches of 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused(tiny_artifact, options, message):
    with pytest.raises(BenchmarkError, match=message):
        run_benchmark(tiny_artifact, BenchmarkOptions(**{**QUICK, **options}))


def test_size_is_read_as_height_by_width():
    assert parse_size("480x640") == (480, 640)
    with pytest.raises(BenchmarkError, match="expected height and width in pixels, as 480x640"):
        parse_size("480")


def test_flops_are_two_per_multiply_add_at_the_size_that_is_run(tmp_path):
    weight = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "weight")
    matrix = numpy_helper.from_array(np.zeros((8, 5), np.float32), "matrix")
    axes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["convolved"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["convolved"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "matrix"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [axes], [answer], [weight, matrix])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "m.onnx")
    feeds = {"x": np.zeros((2, 3, 6, 7), np.float32)}
    assert count_flops(tmp_path / "m.onnx", feeds) == 2 * (2 * 6 * 7) * (8 * 3 * 9 + 8 * 5)


def test_picture_is_well_formed_and_escapes_names():
    root = ET.fromstring(
        latency_svg("a < b", "c & d", [Bar("<one>", "g", 1.0, 2.0, 3.0), Bar("two", "h", 0.1, 0.1, 0.1)])
    )
    assert "<one>" in "".join(root.itertext())


def test_command_prints_the_table_and_writes_both_files(tiny_artifact, tmp_path):
    arguments = ["--size", "32x48", "--repeats", "2", "--warmup", "0", "--threads", "1", "--no-memory"]
    files = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.svg")]
    result = CliRunner().invoke(bench, [str(tiny_artifact), *arguments, *files], catch_exceptions=False)
    assert "onnxruntime-cpu float32" in result.output
    assert json.loads((tmp_path / "b.json").read_text())["threads"] == 1
    assert ET.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")


NEEDED_TO_SERVE = (
    "verification.verify_artifact",
    "verification.verify_export",
    "benchmarking.doctor",
    "benchmarking.benchmark",
    "targets",
)


def test_machine_that_only_serves_needs_no_torch():
    modules = ", ".join(f"geminifusion_export.{name}" for name in NEEDED_TO_SERVE)
    program = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

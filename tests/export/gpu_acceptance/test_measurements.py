"""The comparisons and measurements of each part that a CPU can run too, at small sizes."""

import math

import numpy as np
import onnx
import pytest
import torch

from geminifusion_export.gpu_acceptance import backend_checks, decoding, inference, service, training
from geminifusion_export.gpu_acceptance.fusion_checks import SHAPES, check_fusion, fusion_cases
from geminifusion_export.gpu_acceptance.kernels import _GUARD, OutOfBoundsError, fuse_with
from geminifusion_export.gpu_acceptance.networks import OriginalGraph, graph_of, random_network
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.gpu_acceptance.tensorrt_engine import half_artifact
from geminifusion_export.graph import example_inputs
from geminifusion_export.precision import require_precision
from geminifusion_model.fusion_op import pixelwise_fusion_reference
from geminifusion_runtime.artifact import MODEL_NAME, open_artifact
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.devices import Device

CPU = torch.device("cpu")


def in_float32(q, k_diff, v_self, v_cross, num_heads):
    """What a right kernel does: everything in float32, rounded once."""
    wide = (tensor.float() for tensor in (q, k_diff, v_self, v_cross))
    return pixelwise_fusion_reference(*wide, num_heads).to(q.dtype)


def test_a_right_kernel_passes_in_every_type():
    report = Report()
    check_fusion(report, in_float32, CPU, "reference")
    assert [(check.what, check.passed) for check in report.findings.checks] == [
        ("reference, float32", True),
        ("reference, float16", True),
        ("reference, bfloat16", True),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda q, k, own, cross, heads: in_float32(q, k, cross, own, heads),
        lambda q, k, own, cross, heads: in_float32(1.01 * q, k, own, cross, heads),
        lambda q, k, own, cross, heads: in_float32(q, k, own, cross, heads).nan_to_num(),
        lambda q, k, own, cross, heads: torch.zeros_like(q),
    ],
    ids=["swapped", "scaled", "without NaN", "nothing"],
)
def test_a_wrong_kernel_fails(wrong):
    report = Report()
    check_fusion(report, wrong, CPU, "wrong")
    assert not report.findings.checks[0].passed


def test_cases_include_tensors_that_begin_off_a_boundary():
    offsets = {case.inputs[0].storage_offset() for case in fusion_cases(torch.float16, CPU)}
    assert offsets == {0, 1}
    assert any(shape[-1] // heads % 2 for shape, heads in SHAPES)


def test_a_kernel_that_writes_outside_its_result_is_noticed(monkeypatch):
    tensors = [torch.randn(4, 8) for _ in range(4)]
    monkeypatch.setattr(
        "geminifusion_export.gpu_acceptance.kernels._launch",
        lambda library, all_five, heads: all_five[4].copy_(in_float32(*all_five[:4], heads)),
    )
    assert torch.equal(fuse_with(None)(*tensors, 2), in_float32(*tensors, 2))
    monkeypatch.setattr(
        "geminifusion_export.gpu_acceptance.kernels._launch",
        lambda library, all_five, heads: all_five[4].as_strided((1,), (1,), _GUARD + 32).zero_(),
    )
    with pytest.raises(OutOfBoundsError, match="outside its result"):
        fuse_with(None)(*tensors, 2)


def test_outputs_on_a_device_are_held_to_the_cpus(monkeypatch):
    monkeypatch.setattr(inference, "_PARITY_SHAPE", (1, 64, 64))
    net = random_network("mit_b0")
    assert inference.difference_from_cpu(net, CPU).startswith("100.000 % of the labels")
    monkeypatch.setattr(inference, "_LARGEST_ERROR", -1.0)
    with pytest.raises(ValueError, match="confidence and gate within"):
        inference.difference_from_cpu(net, CPU)


def test_the_original_formulation_gives_the_same_labels_from_raw_frames():
    net = random_network("mit_b0")
    graph = graph_of(net)
    inputs = example_inputs(graph.task, 1, 64, 96)
    with torch.inference_mode():
        theirs, ours = OriginalGraph(net)(*inputs), graph(*inputs)[0]
    assert (theirs == ours).float().mean() > 0.999


def test_the_network_without_fusion_has_all_other_weights():
    with_fusion, without = random_network("mit_b0"), random_network("mit_b0", "none")
    weights = with_fusion.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in without.state_dict().items())


def test_gradients_do_not_depend_on_chance_and_their_difference_is_relative(monkeypatch):
    monkeypatch.setattr(training, "_SMALL", (1, 64, 64))
    assert training.gradients_agree(CPU) == "within 0.0e+00 of their norm"
    found = training.gradients(random_network("mit_b0"), CPU)
    assert training.relative_difference(1.5 * found, found) == pytest.approx(0.5)
    monkeypatch.setattr(training, "LARGEST_GRADIENT_DIFFERENCE", -1.0)
    with pytest.raises(ValueError, match="of their norm"):
        training.gradients_agree(CPU)


def test_a_backend_is_held_to_the_golden_set_and_timed(monkeypatch):
    monkeypatch.setattr(backend_checks, "read_golden_set", lambda *_: backend_checks_golden()[:1])
    monkeypatch.setattr(backend_checks, "_BATCHES", (1,))
    monkeypatch.setattr(backend_checks, "_RUNS", 2)
    report, cpu = Report(), Device(kind="cpu")
    assert backend_checks.check_backend(report, artifact_path(), "onnxruntime", cpu, "golden")
    backend_checks.time_backend(report, artifact_path(), "onnxruntime", cpu, "ORT")
    assert report.findings.figures["ORT batch 1 pairs/s"] > 0
    assert not backend_checks.check_backend(report, artifact_path(), "tensorrt", cpu, "engine")
    assert "runs on cuda, not on cpu" in report.findings.checks[-1].found


def backend_checks_golden():
    from geminifusion_runtime.artifact import read_metadata
    from geminifusion_runtime.golden_set import read_golden_set

    return read_golden_set(artifact_path(), read_metadata(artifact_path()))


def test_the_bundled_artifact_is_converted_to_float16(tmp_path):
    directory = half_artifact(artifact_path(), tmp_path / "half", "float16")
    assert open_artifact(directory).precision == "float16"
    require_precision(onnx.load(directory / MODEL_NAME), "float16")


def test_what_clients_saw_is_judged():
    load = service.Load(seconds=2.0, latencies_s=[0.01] * 98 + [0.5] * 2, gpu_bytes=[5, 10, 10, 10, 10, 10, 10, 10, 10])
    report = Report()
    service.judge(report, load)
    assert load.goodput == 50
    assert (report.findings.figures["p50 ms"], report.findings.figures["p99 ms"]) == (10, 500)
    assert all(check.passed for check in report.findings.checks)
    leaking = service.Load(seconds=1.0, latencies_s=[0.01], failures={"503": 1}, gpu_bytes=[10, 10, 10, 10, 11, 11])
    report = Report()
    service.judge(report, leaking)
    assert [check.passed for check in report.findings.checks] == [False, False]
    assert math.isnan(service.Load(seconds=1.0).latency_ms(0.5))


def test_the_mean_batch_is_read_from_the_servers_metrics():
    text = (
        'geminifusion_batch_size_bucket{le="1.0"} 3\n'
        'geminifusion_batch_size_count{model="b0"} 4.0\ngeminifusion_batch_size_sum{model="b0"} 10.0\n'
    )
    assert service.mean_batch(text) == 2.5
    assert service.mean_batch("") is None


@pytest.mark.slow
def test_the_service_is_started_loaded_and_stopped(tmp_path):
    arguments = ["--artifact", artifact_path(), "--backend", "onnxruntime", "--devices", "cpu", "--threads", 1]
    with service.served(arguments, tmp_path / "log", ready_s=60.0) as url:
        load = service.run_load(url, seconds=2.0, clients=2, watches_gpu=False)
        assert service.mean_batch(service.httpx.get(f"{url}/metrics", trust_env=False).text) >= 1
    assert load.failures == {}
    assert load.goodput > 0


def test_a_server_that_does_not_start_is_an_error_with_its_log(tmp_path):
    with (
        pytest.raises(service.ServerFailedError, match=r"its log ends: .*nowhere"),
        service.served(["--artifact", tmp_path / "nowhere"], tmp_path / "log", ready_s=60.0),
    ):
        pass


def test_calls_are_counted():
    calls = []
    rate = decoding.calls_per_second(lambda: calls.append(np.random.default_rng()), seconds=0.05)
    assert rate == pytest.approx((len(calls) - 1) / 0.05, rel=0.5)

"""A network of the RGB alone, with a fitted temperature, from checkpoint to verified artifact."""

import dataclasses

import onnx
import pytest
import torch

from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_export.graph import SegmentationGraph, example_inputs
from geminifusion_export.runtime_discovery import BackendFile, Candidate
from geminifusion_export.verification.comparison import FLOAT32_WEIGHTS, compare, problems
from geminifusion_export.verification.torch_reference import reference_batches
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import write_checkpoint
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.evaluation.calibration import Temperature
from geminifusion_runtime.artifact import open_artifact, read_metadata
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend, open_session

pytestmark = [pytest.mark.slow, pytest.mark.full_depth]  # tracing takes most of the time
TASK = nyuv2_task(13).only(("rgb",))
FITTED = Temperature(value=2.5, frames=4, pixels=400, nll_before=2.0, nll_after=1.0, protocol="native-labels")


def over_budget(graph, path):
    backend = OnnxRuntimeBackend(path, threads=1, retained_pixels=48 * 64)
    candidate = Candidate(file=BackendFile("onnxruntime", "onnxruntime"), backend=backend, precision="float32")
    report = compare(reference_batches(graph, [(1, 40, 50)]), candidate).report
    return problems(report, FLOAT32_WEIGHTS)


def write(net, directory, temperature=FITTED):
    write_checkpoint(net, directory, task=TASK, training={"calibration": temperature.to_record()})
    return directory


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    net = GeminiFusion(
        GeminiFusionConfig(num_classes=13, decoder_channels=32, modalities=("rgb",), fusion="none")
    ).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("encoder"):
                parameter.add_(0.05 * torch.randn_like(parameter))
        net.decoder.classify.weight.normal_()
    return write(net, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def artifact(checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("artifacts") / "rgb-only"
    build_artifact(checkpoint, directory, ExportOptions(name="rgb-only"))
    return directory


def test_artifact_has_one_input_and_says_so(artifact):
    metadata = open_artifact(artifact)
    assert [modality.name for modality in metadata.modalities] == ["rgb"]
    assert metadata.fusion == "none"
    assert metadata.temperature == FITTED.value
    model = onnx.load(artifact / "model.onnx")
    assert [value.name for value in model.graph.input] == ["rgb"]
    assert [value.name for value in model.graph.output] == ["labels", "confidence", "gate"]


def test_graph_answers_as_torch_does_at_the_fitted_temperature(checkpoint, artifact):
    (rgb,) = example_inputs(TASK, 2, 61, 83, seed=5)
    net = GeminiFusion.from_pretrained(checkpoint)
    with torch.no_grad():
        labels, confidence, _ = SegmentationGraph(net, TASK, FITTED.value)(rgb)
        as_trained, surer, _ = SegmentationGraph(net, TASK)(rgb)
    session = open_session(artifact / "model.onnx", threads=1)
    got_labels, got_confidence, got_gate = session.run(None, {"rgb": rgb.numpy()})
    assert (got_labels == labels.numpy()).mean() > 0.999
    assert torch.equal(labels, as_trained), "a temperature changes no label"
    torch.testing.assert_close(torch.from_numpy(got_confidence), confidence, rtol=0, atol=1e-4)
    assert (confidence < surer).all()
    assert got_gate.shape == got_confidence.shape
    assert not got_gate.any()


def test_verification_notices_a_graph_of_another_temperature(checkpoint, artifact):
    net, path = GeminiFusion.from_pretrained(checkpoint), artifact / "model.onnx"
    assert over_budget(SegmentationGraph(net, TASK, FITTED.value), path) == []
    assert "confidence off by" in "; ".join(over_budget(SegmentationGraph(net, TASK), path))


def test_a_temperature_fitted_after_the_export_is_pointed_out(checkpoint, artifact, tmp_path):
    later = write(GeminiFusion.from_pretrained(checkpoint), tmp_path, dataclasses.replace(FITTED, value=3.0))
    text = str(verify_artifact(artifact, later, None, 0))
    assert "temperature of 3.000 by now, the artifact 2.500" in text
    assert "no PixelwiseFusion node" in text


def test_a_network_without_a_fitted_temperature_leaves_it_open(tiny_artifact):
    assert read_metadata(tiny_artifact).temperature is None


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(checkpoint, temperature):
    with pytest.raises(ValueError, match="expected a positive number"):
        SegmentationGraph(GeminiFusion.from_pretrained(checkpoint), TASK, temperature)

"""Translators as artifacts: the graph at several batches and sizes, the golden set, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from geminifusion_export.build import ExportOptions
from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.runtime_discovery import BackendFile, Candidate
from geminifusion_export.targets import TargetOptions, extend_artifact
from geminifusion_export.torch_backend import TorchBackend
from geminifusion_export.translation.build import build_translator
from geminifusion_export.translation.graph import TranslationGraph, random_batch
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_export.verification.verify_artifact import verify_artifact
from geminifusion_model.encoder_sizes import GENERATOR_SIZES
from geminifusion_model.encoding import encode
from geminifusion_model.translation.checkpoint import TranslatorInfo, write_translator
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.domains import FRAME_DOMAINS
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.task import TranslationTask
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from geminifusion_runtime.golden_set import read_golden_set
from geminifusion_runtime.model import Model


@pytest.fixture(scope="module", autouse=True)
def small():
    """One block a level and few channels: every operator, at a fraction of its time."""
    sizes = dataclasses.replace(GENERATOR_SIZES["gen_b0"], channels=(16, 32, 32, 64, 64), depths=(1, 1, 1, 1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GENERATOR_SIZES, "gen_b0", sizes)
        yield


def translator(target="depth", inputs=("rgb", "edge_occlusion"), fusion="geminifusion"):
    torch.manual_seed(0)
    config = TranslatorConfig(target=target, inputs=inputs, fusion=fusion)
    net = Generator(config).eval()
    with torch.no_grad():
        for parameter in net.decoder.project.parameters():
            parameter.mul_(20)  # so that the image varies
    task = TranslationTask(
        data="noise",
        inputs=tuple(FRAME_DOMAINS[name] for name in inputs),
        target=FRAME_DOMAINS[target],
        size=(64, 96),
    )
    return net, task


@pytest.mark.parametrize(
    ("target", "inputs", "fusion"),
    [
        ("depth", ("rgb", "edge_occlusion"), "geminifusion"),
        ("normal", ("rgb", "depth"), "none"),
        ("rgb", ("shade",), "none"),
        ("shade", ("rgb", "normal"), "geminifusion"),
    ],
)
def test_the_graph_is_the_generators_ensemble_in_the_targets_unit(target, inputs, fusion):
    net, task = translator(target, inputs, fusion)
    graph = TranslationGraph(net, task)
    batch = random_batch(graph, (2, 64, 32))
    (found,) = TorchBackend(graph).run(batch).values()
    images = [encode(torch.from_numpy(batch[name]), how) for name, how in zip(inputs, graph.encodings, strict=True)]
    with torch.no_grad():
        expected = task.target.decode(net(*images).ensemble)
    if target == "depth":
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)
        return
    scaled = {"rgb": expected, "normal": (expected + 1) * 127.5, "shade": 255 * expected}[target]
    channels = scaled.unsqueeze(1).expand(-1, 3, -1, -1) if target == "shade" else scaled
    assert found.dtype == np.uint8
    assert np.abs(found - channels.permute(0, 2, 3, 1).numpy()).max() <= 0.51


@pytest.fixture(scope="module")
def exported(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("translator")
    net, task = translator()
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    training = {"test": {"protocol": "averages", "data": "noise, 2 views", "scores": {"mae": 0.5}}}
    write_translator(checkpoint, net.state_dict(), TranslatorInfo(network=net.config, task=task, training=training))
    metadata = build_translator(checkpoint, folder / "artifact", ExportOptions(name="to-depth"))
    return folder / "artifact", metadata, TranslationGraph(net, task), checkpoint


@pytest.mark.slow
def test_onnx_runtime_gives_torchs_values_at_any_batch_and_multiple_of_32(exported):
    directory, metadata, graph, _ = exported
    backend = OnnxRuntimeBackend(directory / "model.onnx", threads=1, retained_pixels=10**6, outputs=metadata.outputs)
    reference = TorchBackend(graph)
    for shape in ((1, 32, 32), (2, 64, 128), (5, 96, 32)):
        batch = random_batch(graph, shape, seed=7)
        np.testing.assert_allclose(backend.run(batch)["depth"], reference.run(batch)["depth"], rtol=1e-4)


@pytest.mark.slow
def test_the_artifact_is_verified_with_its_golden_rooms_and_serves(exported):
    directory, metadata, _, checkpoint = exported
    assert read_metadata(directory) == metadata
    assert {report.agreement for report in metadata.verification} == {1.0}
    assert len({(report.batch, report.height, report.width) for report in metadata.verification}) >= 5
    assert (metadata.training.scores, metadata.training.scored_on) == ({"mae": 0.5}, "noise, 2 views")
    assert metadata.golden.source == "rooms rendered by geminifusion"
    certificate = verify_artifact(directory, checkpoint).certificate
    assert certificate.verdict == "passed"
    assert [section.against for section in certificate.sections][1] == "on random inputs, against torch"
    model = Model.open(directory, threads=1)
    frames = model.task.golden_frames(directory, size_problem=lambda _height, _width: None)
    (prediction,) = model.run([model.prepare(frames[0].parts)])
    agreeing, total = model.task.agreeing(model.task.observed(prediction), frames[0].expected)
    assert agreeing == total


@pytest.mark.slow
def test_openvino_is_added_and_compared_at_sizes_that_are_padded_as_when_served(exported, tmp_path):
    pytest.importorskip("openvino")
    metadata = extend_artifact(exported[0], tmp_path / "more", TargetOptions(targets=("openvino",)))
    added = [report for report in metadata.verification if report.backend == "openvino-cpu"]
    assert {(report.batch, report.height, report.width) for report in added} >= {(1, 96, 128), (2, 160, 128)}
    assert all(report.height % 32 == report.width % 32 == 0 for report in added)


@pytest.mark.slow
def test_a_backend_that_differs_is_over_budget(exported):
    directory, metadata, _, _ = exported

    class Wrong:
        name = "wrong"

        def __init__(self, factor):
            self.factor = np.float32(factor)

        def run(self, inputs):
            return {"depth": expected[0].outputs["depth"][:, : 96 if self.factor else 95] * self.factor}

    expected = read_golden_set(directory, metadata)[:1]
    verification = VERIFICATIONS["image-translation"]

    def problems(factor):
        candidate = Candidate(file=BackendFile("wrong", "wrong"), backend=Wrong(factor), precision="float32")
        return verification.problems(verification.compare(expected, candidate, metadata, None).report, metadata)

    assert problems(1) == []
    assert "off on average by" in problems(1.02)[0]
    assert "% of the values agree of 99.9 %" in problems(1.02)[1]
    with pytest.raises(VerificationError, match="expected"):
        problems(0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "float16"}, "leave --precision out"),
        ({"intrinsics": (1.0, 1.0, 1.0, 1.0)}, "--intrinsics is for segmentation"),
        ({"targets": TargetOptions(targets=("tensorrt",))}, "not to tensorrt"),
    ],
)
def test_options_that_are_not_for_translators_are_refused_before_anything_is_traced(tmp_path, options, sentence):
    with pytest.raises(ExportError, match=sentence):
        build_translator(tmp_path, tmp_path / "artifact", ExportOptions(name="x", **options))


def test_token_fusion_has_no_graph(tmp_path):
    net, task = translator(fusion="token_fusion")
    write_translator(tmp_path, net.state_dict(), TranslatorInfo(network=net.config, task=task))
    with pytest.raises(ExportError, match="token_fusion have no inference form"):
        build_translator(tmp_path, tmp_path / "artifact", ExportOptions(name="x"))

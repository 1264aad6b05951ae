"""A network that is read back from an artifact, to train it further."""

import shutil
import sys

import pytest
import torch

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.initialization import check_starts, start_network
from geminifusion_model.training.starts import describe_start
from geminifusion_model.weights.artifact import network_of_artifact
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.bundled import artifact_path


def training(**changes):
    fields = {
        "network": GeminiFusionConfig(num_classes=13),
        "augmentation": Augmentation(crop=(32, 32)),
        "start_from": str(artifact_path()),
        "freeze_decoder_norm": True,
        "steps": 1,
        "batch_size": 1,
        "learning_rate": 1e-3,
    }
    return TrainingConfig(**{**fields, **changes})


@pytest.fixture(scope="module")
def bundled():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the tests: the solver rounds differently with more
    yield network_of_artifact(artifact_path())
    torch.set_num_threads(threads)


def test_the_bundled_network_computes_what_its_graph_does(bundled):
    """The logits of the graph are not an output, so the folded weights are compared, and what training sees."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(artifact_path() / "model.onnx").graph
    form = InferenceForm(bundled)
    folded = form.state_dict()
    compared = 0
    for stored in graph.initializer:
        name = stored.name.partition("network.")[2].removesuffix(".float16")
        if name in folded:
            expected = torch.from_numpy(onnx.numpy_helper.to_array(stored).astype("float32"))
            assert (folded[name] - expected).abs().max() <= 1e-3 * expected.abs().max(), name
            compared += 1
    assert compared > 300
    inputs = torch.randn(2, 1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(bundled(*inputs).ensemble, form(*inputs).logits, rtol=1e-3, atol=1e-3)


def test_the_start_is_described_by_name_and_origin_and_not_by_where_it_lies():
    said = describe_start(str(artifact_path()))
    metadata = read_metadata(artifact_path())
    assert said == f"the artifact {metadata.reference} ({metadata.training.summary})"
    assert str(artifact_path().parent) not in said


def test_training_starts_from_an_artifact_whose_statistics_it_leaves_alone(bundled):
    net = start_network(training())
    expected = bundled.state_dict()
    for name, values in net.state_dict().items():
        # rows of a projection beyond its rank meet columns of zeros, and are random
        assert "decoder.project" in name or torch.allclose(values, expected[name]), name
    with pytest.raises(ConfigError, match=r"no BatchNorm statistics .* set freeze_decoder_norm to true"):
        check_starts(training(freeze_decoder_norm=False))
    with pytest.raises(ConfigError, match="where the encoder is mit_b0"):
        start_network(training(network=GeminiFusionConfig(encoder="mit_b1", num_classes=13)))


def test_what_cannot_be_read_back_is_refused(tmp_path, monkeypatch):
    copy = shutil.copytree(artifact_path(), tmp_path / "swin")
    text = (copy / "metadata.json").read_text().replace('"mit_b0"', '"swin_tiny"')
    (copy / "metadata.json").write_text(text)
    with pytest.raises(ConfigError, match=r"holds swin_tiny .* only a MiT .* give its checkpoint"):
        start_network(training(start_from=str(copy)))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OfficialWeightsError, match=r'needs onnx, .* run: pip install "geminifusion\[export\]"'):
        network_of_artifact(artifact_path())

import pytest
import torch

from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.weights.checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A B0 whose weights are random, but loud enough that classes and gate vary over an image."""
    torch.manual_seed(0)
    net = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=64))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("encoder"):
                parameter.add_(0.05 * torch.randn_like(parameter))
        net.decoder.classify.weight.normal_()
    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(net, directory, task=nyuv2_task(13), training={"summary": "random weights for tests"})
    return directory


@pytest.fixture(scope="session")
def artifact(checkpoint, tmp_path_factory):
    """The checkpoint exported once for the whole session (tracing is what takes long)."""
    directory = tmp_path_factory.mktemp("artifacts") / "random-b0"
    build_artifact(checkpoint, directory, ExportOptions(name="random-b0"))
    return directory

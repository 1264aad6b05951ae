import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.initialization import check_starts, start_network
from geminifusion_model.training.starts import describe_start, required
from geminifusion_model.weights.filling import single_stream_name
from geminifusion_model.weights.official_names import official_names

NETWORK = GeminiFusionConfig(num_classes=5, decoder_channels=8)


def config(**changes):
    fields = {
        "network": NETWORK,
        "augmentation": Augmentation(crop=(32, 32)),
        "steps": 1,
        "batch_size": 1,
        "learning_rate": 1e-3,
    }
    return TrainingConfig(**{**fields, **changes})


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.fixture
def classifier(tmp_path):
    """A weight file with the names and shapes of an ImageNet MiT-B0."""
    torch.manual_seed(5)
    weights = {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}
    for name, tensor in GeminiFusion(NETWORK).state_dict().items():
        originals = official_names(name, tensor, "mit_b0")
        imagenet = single_stream_name(originals[0])
        if imagenet is not None:
            weights[imagenet] = torch.randn(tensor.shape[1:] if len(originals) > 1 else tensor.shape)
    torch.save(weights, tmp_path / "mit_b0.pth")
    return tmp_path / "mit_b0.pth"


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(3)
    found = start_network(config())
    torch.manual_seed(3)
    assert same(found, GeminiFusion(NETWORK))
    assert describe_start(None) == "random weights, no ImageNet"


def test_a_checkpoint_fills_the_whole_network(tmp_path):
    source = GeminiFusion(NETWORK)
    source.save_pretrained(tmp_path / "start")
    asked = config(start_from=str(tmp_path / "start"))
    assert same(start_network(asked), source)
    assert describe_start(asked.start_from) == f"{tmp_path.name}/start"


def test_another_number_of_classes_means_a_new_classifier_only(tmp_path):
    source = GeminiFusion(GeminiFusionConfig(num_classes=7, decoder_channels=8))
    source.save_pretrained(tmp_path / "start")
    torch.manual_seed(1)
    found = start_network(config(start_from=str(tmp_path / "start"))).state_dict()
    torch.manual_seed(1)
    fresh = GeminiFusion(NETWORK).state_dict()
    old = source.state_dict()
    for name, value in found.items():
        assert torch.equal(value, fresh[name] if name.startswith("decoder.classify.") else old[name]), name


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=5, decoder_channels=16)).save_pretrained(tmp_path / "start")
    with pytest.raises(ConfigError, match="does not fit the network"):
        start_network(config(start_from=str(tmp_path / "start")))


def test_a_classifiers_file_fills_the_encoder(classifier):
    asked = config(imagenet=str(classifier))
    net = start_network(asked)
    weights = torch.load(classifier, weights_only=True)
    assert torch.equal(net.encoder.stages[0].patch_embed.conv.weight, weights["patch_embed1.proj.weight"])
    assert torch.equal(net.encoder.stages[3].norm.bias, weights["norm4.bias"].expand(2, -1))
    assert describe_start(asked.start_from, asked.imagenet) == "ImageNet classifier mit_b0.pth"


def test_a_classifiers_file_of_another_encoder_is_refused(classifier):
    wider = GeminiFusionConfig(encoder="mit_b1", num_classes=5, decoder_channels=8)
    with pytest.raises(ConfigError, match=r"no classifier with the encoder mit_b1: \d+ tensors fit, .* another shape"):
        start_network(config(network=wider, imagenet=str(classifier)))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_holds_no_weights_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(ConfigError, match=r"cannot be read as a weight file"):
        start_network(config(imagenet=str(tmp_path / name)))


def test_paths_that_lead_nowhere_are_named_before_anything_is_built(tmp_path):
    with pytest.raises(ConfigError, match=r"start_from is .*, where there is no config\.json; give a checkpoint"):
        check_starts(config(start_from=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"imagenet is nowhere\.pth, and there is no such file"):
        check_starts(config(imagenet="nowhere.pth"))


def test_start_from_and_imagenet_together_are_refused():
    with pytest.raises(ConfigError, match="set the other to null"):
        check_starts(config(start_from="run", imagenet="mit_b0.pth"))


def test_a_required_start_can_be_printed_but_not_trained():
    asked = config(start_from=required("weights of another run"))
    assert "REQUIRED: weights of another run" in asked.to_yaml()
    with pytest.raises(ConfigError, match=r"needs weights of another run: pass --set start_from=PATH"):
        start_network(asked)

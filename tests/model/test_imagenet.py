import gzip
import json

import golden
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.filling import single_stream_name
from geminifusion_model.weights.imagenet import load_imagenet
from geminifusion_model.weights.official_names import official_names


def network(encoder="mit_b0", modalities=("rgb", "depth")):
    return GeminiFusion(GeminiFusionConfig(encoder=encoder, num_classes=5, decoder_channels=8, modalities=modalities))


def official_layout(net):
    """Pairs of the original's name and the shape of what it names."""
    for name, tensor in net.state_dict().items():
        originals = official_names(name, tensor, net.config.encoder)
        for original in originals:
            yield original, tensor.shape[1:] if len(originals) > 1 else tensor.shape


def classifier(net):
    """Random weights with the names and shapes of a classifier with this encoder."""
    torch.manual_seed(0)
    names = {single_stream_name(original): shape for original, shape in official_layout(net)}
    return {name: torch.randn(shape) for name, shape in names.items() if name is not None}


def mapping(encoder):
    """Which names an ImageNet file has, and which of the original's parameters it fills there."""
    return json.loads(gzip.decompress((golden.FOLDER / f"{encoder}_imagenet_mapping.json.gz").read_bytes()))


@pytest.mark.parametrize("encoder", ["mit_b0", "swin_tiny"])
def test_names_are_those_of_the_published_files_and_what_the_original_loads_is_loaded(encoder):
    with torch.device("meta"):
        net = network(encoder)
    expected = mapping(encoder)
    layout = dict(official_layout(net))
    needed = {single_stream_name(original) for original in layout} - {None}
    not_needed = {name for name in expected["imagenet_keys"] if name.startswith(("head.", "norm."))}
    not_needed |= {name for name in expected["imagenet_keys"] if name.endswith("relative_position_index")}
    assert needed == set(expected["imagenet_keys"]) - not_needed
    loaded = {
        original.removeprefix("encoder.").removeprefix("body.") for original in layout if single_stream_name(original)
    }
    beyond = {name for name in loaded if encoder == "swin_tiny" and name.startswith("patch_embed.norm.")}
    assert loaded - beyond == set(expected["loaded"]), "the original leaves Swin's patch norm out, ours does not"


def test_both_streams_start_from_the_same_values_and_the_fusion_keeps_its_own(tmp_path):
    net = network()
    fusion = net.encoder.stages[1].blocks[0].attention.fusion.in_proj_weight.clone()
    file = classifier(net) | {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}
    torch.save(file, tmp_path / "mit_b0.pth")
    report = load_imagenet(net, tmp_path / "mit_b0.pth")
    assert report.complete
    assert report.ignored == ("head.bias", "head.weight")
    stage = net.encoder.stages[1]
    assert torch.equal(stage.blocks[0].norm1.weight, file["block2.0.norm1.weight"].expand(2, -1))
    assert torch.equal(stage.blocks[1].mlp.depthwise.weight, file["block2.1.mlp.dwconv.dwconv.weight"])
    assert torch.equal(stage.blocks[0].attention.fusion.in_proj_weight, fusion)


def test_every_modality_gets_the_patch_norm():
    net = network(modalities=("rgb", "depth", "event", "lidar"))
    file = classifier(net)
    assert load_imagenet(net, file).complete
    assert torch.equal(net.encoder.stages[0].patch_embed.norm.bias, file["patch_embed1.norm.bias"].expand(4, -1))


def test_swin_file_fills_the_encoder_but_not_the_norms_of_its_outputs(tmp_path):
    net = network("swin_tiny")
    file = classifier(net)
    extra = {"norm.weight": torch.ones(768), "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}
    torch.save({"model": file | extra}, tmp_path / "swin.pth")
    report = load_imagenet(net, tmp_path / "swin.pth")
    assert report.complete
    assert set(report.ignored) == set(extra)
    assert torch.equal(net.encoder.patch_embed.norm.weight, file["patch_embed.norm.weight"].expand(2, -1))
    assert torch.equal(
        net.encoder.stages[3].blocks[1].attention.position_bias,
        file["layers.3.blocks.1.attn.relative_position_bias_table"],
    )
    assert torch.equal(net.encoder.stages[3].norm.weight, torch.ones(2, 768))


def test_position_biases_of_another_window_are_resized():
    net = network("swin_tiny")
    file = classifier(net)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    ramp = torch.linspace(0, 1, 23)[:, None].expand(23, 23)  # a window of 12, growing with the row
    file[name] = ramp.reshape(-1, 1).repeat(1, 3) * torch.tensor([1.0, 2.0, 3.0])
    assert load_imagenet(net, file).complete
    resized = net.encoder.stages[0].blocks[0].attention.position_bias.detach().reshape(13, 13, 3)
    torch.testing.assert_close(resized[6, 6], torch.tensor([0.5, 1.0, 1.5]))
    torch.testing.assert_close(resized[:, 0], resized[:, 12])
    assert (resized[1:-1, 4].diff(dim=0) > 0).all()


def test_a_file_of_another_encoder_is_refused_and_changes_nothing():
    net, other = network("mit_b0"), network("mit_b1")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(OfficialWeightsError, match=r"NVlabs' MiT layout for mit_b0.*of another shape"):
        load_imagenet(net, classifier(other))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_missing_and_unknown_weights_are_reported():
    net = network()
    file = classifier(net)
    del file["block1.0.attn.q.weight"]
    file["aux.weight"] = torch.zeros(1)
    report = load_imagenet(net, file, strict=False)
    assert report.missing == ("block1.0.attn.q.weight",)
    assert report.unexpected == ("aux.weight",)
    assert torch.equal(net.encoder.stages[0].blocks[0].attention.query.bias, file["block1.0.attn.q.bias"])

import golden
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig, load_official
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.official import infer_config
from geminifusion_model.weights.official_names import is_inert, official_names

CASE = golden.MANIFEST["cases"]["mit_b0_b1_70x90_nc37"]


@pytest.fixture(scope="module")
def weights():
    return golden.case_weights(CASE)


def test_configuration_is_read_off_names_and_shapes(weights):
    net, _ = load_official(weights)
    assert net.config == GeminiFusionConfig(encoder="mit_b0", num_classes=37)


def test_ddp_training_file_loads(weights, tmp_path):
    prefixed = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"segmenter": prefixed, "epoch_start": 3, "best_val": 0.5}, tmp_path / "model-best.pth.tar")
    net, report = load_official(tmp_path / "model-best.pth.tar")
    assert report.complete
    assert len(report.used) == len(weights)
    assert torch.equal(net.decoder.classify.weight, weights["decoder.linear_pred.weight"])


def test_deliver_names_load(weights):
    renamed = {
        name.replace("encoder.", "backbone.", 1).replace("decoder.", "decode_head.", 1): tensor
        for name, tensor in weights.items()
    }
    net, report = load_official(renamed)
    assert report.complete
    assert net.config.upsample_logits, "that branch returns logits at the input size"


def test_file_without_the_batch_counter_is_complete(weights):
    older = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    assert load_official(older)[1].complete


def test_file_that_runs_code_on_unpickling_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("this must not run",))

    torch.save({"segmenter": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_official(tmp_path / "evil.pth")


def test_missing_unexpected_and_misshapen_weights_are_each_reported(weights):
    broken = dict(weights)
    del broken["encoder.block1.0.attn.k_noise.weight"]
    broken["encoder.extra"] = torch.zeros(1)
    broken["encoder.norm4.ln_1.bias"] = torch.zeros(3)
    config = GeminiFusionConfig(num_classes=37)
    with pytest.raises(OfficialWeightsError, match=r"1 missing: .*k_noise.* 1 unexpected: encoder.extra; 1 of another"):
        load_official(broken, config)
    _, report = load_official(broken, config, strict=False)
    assert report.missing == ("encoder.block1.0.attn.k_noise.weight",)
    assert report.unexpected == ("encoder.extra",)
    assert report.mismatched == (("encoder.norm4.ln_1.bias", (3,), (256,)),)


def test_unfitting_weights_leave_the_start_values_alone(weights):
    broken = {**weights, "decoder.linear_pred.bias": torch.zeros(3)}
    net, _ = load_official(broken, GeminiFusionConfig(num_classes=37), strict=False)
    assert net.decoder.classify.bias.shape == (37,)


def test_a_file_of_something_else_is_refused_with_what_was_found(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(OfficialWeightsError, match="holds a list"):
        load_official(tmp_path / "list.pth")
    with pytest.raises(OfficialWeightsError, match="no weights of a GeminiFusion network"):
        load_official({"layer.weight": torch.zeros(2)})


@pytest.mark.parametrize("name", ["mit_b2_b1_64x64", "swin_large_window12_b1_64x64", "deliver_b2_rgbdel_b1_64x64"])
def test_every_parameter_has_an_original_name(name):
    case = golden.MANIFEST["cases"][name]
    shapes = {golden.without_prefix(original): shape for original, shape in case["params"]}
    tensors = {original: torch.empty(shape, device="meta") for original, shape in shapes.items()}
    config = infer_config(tensors)
    with torch.device("meta"):
        net = GeminiFusion(config)
    names = {o for own, tensor in net.state_dict().items() for o in official_names(own, tensor, config.encoder)}
    assert set(shapes) - names == {name for name in shapes if is_inert(name, len(config.modalities))}
    assert names - set(shapes) == {"decoder.linear_fuse.bn.num_batches_tracked"}


@pytest.fixture(scope="module")
def swin_weights():
    """The layout of a Swin file with all values zero, except the integer indices that are checked."""
    params = golden.MANIFEST["cases"]["swin_tiny_b1_64x64"]["params"]
    return golden.with_integers({name: torch.zeros(shape) for name, shape in params})


def test_swin_file_loads_and_its_position_indices_are_accepted(swin_weights):
    net, report = load_official(swin_weights)
    assert net.config == GeminiFusionConfig(encoder="swin_tiny")
    assert report.complete
    assert len(report.ignored) == 12
    assert all(name.endswith("relative_position_index") for name in report.ignored)


def test_swin_file_without_position_indices_is_complete(swin_weights):
    lean = {name: tensor for name, tensor in swin_weights.items() if not name.endswith("position_index")}
    assert load_official(lean)[1].complete


def test_swin_file_with_windows_numbered_otherwise_is_refused(swin_weights):
    name = "encoder.body.layers.1.blocks.0.attn.module.relative_position_index"
    renumbered = {**swin_weights, name: swin_weights[name].T}
    with pytest.raises(OfficialWeightsError, match=r"layers.1.* does not number a window as swin_tiny does"):
        load_official(renumbered)
    assert load_official(renumbered, strict=False)[1].unexpected == (name,)


def test_swin_file_for_a_mit_network_is_refused(swin_weights):
    with pytest.raises(OfficialWeightsError, match="does not number a window as mit_b0 does"):
        load_official(swin_weights, GeminiFusionConfig(encoder="mit_b0"))


def test_score_nets_that_never_run_are_ignored_and_the_others_needed():
    case = golden.MANIFEST["cases"]["deliver_b0_rgbdel_b1_64x96"]
    weights = golden.with_integers({name: torch.zeros(shape) for name, shape in case["params"]})
    net, report = load_official(weights)
    assert net.config.modalities == ("rgb", "depth", "event", "lidar")
    assert net.config.upsample_logits
    assert net.config.decoder_channels == 512
    assert len(report.ignored) == 16
    assert all(".score_nets.3." in name for name in report.ignored)
    del weights["backbone.extra_score_predictor.2.score_nets.1.0.bias"]
    with pytest.raises(OfficialWeightsError, match=r"1 missing: encoder.extra_score_predictor.2.score_nets.1.0.bias"):
        load_official(weights)

import golden
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig, load_official
from geminifusion_model.weights.official import OfficialWeightsError

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
    with pytest.raises(OfficialWeightsError, match="no weights of a GeminiFusion MiT network"):
        load_official({"layer.weight": torch.zeros(2)})


def test_every_parameter_of_every_encoder_has_an_original_name():
    from geminifusion_model.weights.official import official_names

    with torch.device("meta"):
        net = GeminiFusion(GeminiFusionConfig(encoder="mit_b2"))
    names = [original for name, tensor in net.state_dict().items() for original in official_names(name, tensor)]
    wanted = [name for name, _ in golden.MANIFEST["cases"]["mit_b2_b1_64x64"]["params"]]
    assert set(names) - {"decoder.linear_fuse.bn.num_batches_tracked"} == set(wanted)

"""SegFormer's weights in the layouts of Hugging Face transformers and NVlabs."""

import json
import tempfile

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerModel,
)

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.imagenet import load_imagenet
from geminifusion_model.weights.segformer import load_segformer, start_from_segformer

WIDE = [64, 128, 320, 512]
SIZES = {
    "mit_b0": {"decoder_hidden_size": 256},
    "mit_b2": {"hidden_sizes": WIDE, "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "mit_b5": {"hidden_sizes": WIDE, "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}


def theirs(kind=SegformerForSemanticSegmentation, encoder="mit_b0", num_labels=19):
    """Random weights, norms and running statistics included."""
    torch.manual_seed(0)
    model = kind(SegformerConfig(num_labels=num_labels, **SIZES[encoder])).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand_like(tensor))
            elif tensor.is_floating_point():
                # norms of all sizes, so that an epsilon shows
                tensor.add_(torch.randn_like(tensor) * (0.1 if tensor.dim() == 1 else 0.5 / tensor[0].numel() ** 0.5))
    return model


def stored(model):
    """The tensors as `save_pretrained` names them, whichever release of transformers is installed."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


def nvlabs_names(state):
    """The same weights as NVlabs names them."""
    named = {}
    for name, tensor in state.items():
        if ".attention.self.value." in name:
            continue
        if ".attention.self.key." in name:
            tensor = torch.cat([tensor, state[name.replace(".key.", ".value.")]])
        for old, new in (
            ("segformer.encoder.", "backbone."), ("attention.self.query", "attn.q"), ("attention.self.key", "attn.kv"),
            ("attention.self.sr", "attn.sr"), ("attention.self.layer_norm", "attn.norm"),
            ("attention.output.dense", "attn.proj"), ("layer_norm_", "norm"), ("dense", "fc"),
            ("linear_fuse.", "linear_fuse.conv."), ("batch_norm.", "linear_fuse.bn."), ("classifier.", "linear_pred."),
        ):  # fmt: skip
            name = name.replace(old, new)
        for stage in range(4):
            for old, new in (
                (f"patch_embeddings.{stage}.layer_norm", f"patch_embed{stage + 1}.norm"),
                (f"patch_embeddings.{stage}.", f"patch_embed{stage + 1}."),
                (f"backbone.block.{stage}.", f"backbone.block{stage + 1}."),
                (f"backbone.layer_norm.{stage}.", f"backbone.norm{stage + 1}."),
                (f"linear_c.{stage}.", f"linear_c{stage + 1}."),
            ):
                name = name.replace(old, new)
        named[name] = tensor
    return named


def with_nvlabs_epsilons(model):
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            behind_convolution = any(
                part in name for part in ("patch_embeddings", ".self.layer_norm", "sequence_reduction")
            )
            module.eps = 1e-5 if behind_convolution else 1e-6
    return model


def picture(size=(64, 96)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(3))


def assert_same_logits(net, model, atol=1e-4):
    for size in ((64, 96), (70, 90)):
        with torch.no_grad():
            expected = model(picture(size)).logits
            torch.testing.assert_close(net(picture(size)).ensemble, expected, rtol=0, atol=atol)
            torch.testing.assert_close(InferenceForm(net)(picture(size)).logits, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "encoder",
    ["mit_b0", pytest.param("mit_b2", marks=pytest.mark.slow), pytest.param("mit_b5", marks=pytest.mark.slow)],
)
def test_logits_equal_those_of_transformers(encoder):
    model = theirs(encoder=encoder)
    net, report = load_segformer(stored(model))
    assert report.complete
    assert len(report.used) == len(stored(model))
    assert net.config.encoder == encoder
    assert (net.config.modalities, net.config.fusion, net.config.num_classes) == (("rgb",), "none", 19)
    assert net.config.decoder_channels == SIZES[encoder]["decoder_hidden_size"]
    assert_same_logits(net, model)


def test_a_state_dict_as_it_is_in_memory_loads_too():
    model = theirs()
    net, report = load_segformer(model.state_dict())
    assert report.complete
    assert_same_logits(net, model)


def test_logits_equal_those_of_nvlabs_with_its_epsilons():
    model = with_nvlabs_epsilons(theirs())
    unused = {"decode_head.conv_seg.weight": torch.zeros(19, 256, 1, 1), "decode_head.conv_seg.bias": torch.zeros(19)}
    net, report = load_segformer(nvlabs_names(stored(model)) | unused)
    assert report.complete
    assert set(report.ignored) == set(unused)
    assert (net.config.norm_eps, net.config.embed_norm_eps) == (1e-6, 1e-5)
    assert_same_logits(net, model)


@pytest.mark.parametrize("wrong", [{"norm_eps": 1e-6}, {"embed_norm_eps": 1e-6}])
def test_another_epsilon_shows_where_norms_see_little(wrong):
    model = theirs()
    small = ("patch_embeddings", "o_proj", "output.dense", "fc2", "dense2", ".sr.", "sequence_reduction.seq")
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if any(part in name for part in small):
                tensor.mul_(3e-3)
    right, _ = load_segformer(stored(model))
    values = {**right.config.to_dict(), **wrong}
    other = GeminiFusion(GeminiFusionConfig.from_dict(values)).eval()
    other.load_state_dict(right.state_dict())
    with torch.no_grad():
        assert (other(picture()).ensemble - right(picture()).ensemble).abs().max() > 1e-4


def test_a_bias_before_the_decoders_norm_is_taken_over_by_it():
    model = theirs()
    bias = torch.randn(256)
    model.decode_head.linear_fuse.bias = torch.nn.Parameter(bias)
    net, report = load_segformer(stored(model))
    assert report.complete
    assert_same_logits(net, model)


def test_missing_and_left_over_tensors_are_named_as_in_the_file():
    state = stored(theirs())
    del state["segformer.encoder.block.1.0.attention.self.value.bias"]
    state["decode_head.extra.weight"] = torch.zeros(1)
    with pytest.raises(OfficialWeightsError, match=r"1 missing: .*self\.value\.bias; 1 unexpected: decode_head\.extra"):
        load_segformer(state)


def test_an_encoder_alone_has_no_classes_to_serve():
    with pytest.raises(OfficialWeightsError, match=r"without a decoder .* --set start_from=FILE"):
        load_segformer(stored(theirs(SegformerModel)))


@pytest.mark.parametrize("kind", [SegformerModel, SegformerForImageClassification, SegformerForSemanticSegmentation])
@pytest.mark.parametrize("start", [load_imagenet, start_from_segformer])
def test_both_streams_start_from_the_encoder(kind, start):
    state = stored(theirs(kind))
    net = GeminiFusion(GeminiFusionConfig(num_classes=5, decoder_channels=16))
    report = start(net, state)
    assert report.complete
    prefix = "encoder." if kind is SegformerModel else "segformer.encoder."
    assert f"{prefix}patch_embeddings.0.proj.weight" in state
    block = net.encoder.stages[1].blocks[0]
    key, value = (state[f"{prefix}block.1.0.attention.self.{part}.weight"] for part in ("key", "value"))
    assert torch.equal(block.attention.key_value.weight, torch.cat([key, value]))
    assert torch.equal(block.norm1.weight, state[f"{prefix}block.1.0.layer_norm_1.weight"].expand(2, -1))


def test_the_decoder_starts_too_where_it_is_as_wide_and_its_classifier_where_the_classes_are_as_many():
    state = stored(theirs())
    for classes in (19, 5):
        net = GeminiFusion(GeminiFusionConfig(num_classes=classes, decoder_channels=256))
        before = net.decoder.classify.weight.clone()
        start_from_segformer(net, state)
        assert torch.equal(net.decoder.fuse.weight, state["decode_head.linear_fuse.weight"])
        expected = state["decode_head.classifier.weight"] if classes == 19 else before
        assert torch.equal(net.decoder.classify.weight, expected)


def test_another_encoder_is_refused_and_changes_nothing():
    net = GeminiFusion(GeminiFusionConfig(encoder="mit_b1", num_classes=5, decoder_channels=8))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(OfficialWeightsError, match=r"transformers for mit_b1, but .* of another shape"):
        start_from_segformer(net, stored(theirs()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("safe", [True, False])
def test_a_directory_as_transformers_saves_it_is_recognized(tmp_path, safe):
    from geminifusion_model.weights.importing import import_weights

    model = theirs()
    model.save_pretrained(tmp_path / "saved")
    if not safe:
        (tmp_path / "saved" / "model.safetensors").unlink()
        torch.save(stored(model), tmp_path / "saved" / "pytorch_model.bin")
    imported = import_weights(tmp_path / "saved", "cityscapes-19")
    assert_same_logits(imported.net, model)
    assert [m.name for m in imported.task.modalities] == ["rgb"]
    imported.write(tmp_path / "checkpoint")
    assert_same_logits(GeminiFusion.from_pretrained(tmp_path / "checkpoint"), model)


def test_a_directory_with_other_heads_than_a_mit_is_refused(tmp_path):
    from geminifusion_model.weights.importing import import_weights

    theirs().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": [1, 2, 4, 8]}))
    with pytest.raises(OfficialWeightsError, match=r"num_attention_heads is \[1, 2, 4, 8\]; SegFormer with mit_b0 has"):
        import_weights(tmp_path, "cityscapes-19")

"""The choice of what computes the fusion: by measured seconds, kept by card and versions, and none on a CPU."""

import json

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.fusion_kernels import choice
from geminifusion_model.fusion_op import pixelwise_fusion_reference
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.fusion import FoldedFusion


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"compiled": 1.0, "triton": 0.9}, "triton"),
        ({"compiled": 1.0, "triton": 0.99}, "compiled"),
        ({"compiled": 1.0}, "compiled"),
        ({"triton": 1.0}, "triton"),
        ({}, None),
    ],
)
def test_the_kernel_is_taken_where_it_is_clearly_faster_or_alone(seconds, chosen):
    assert choice.faster(seconds) == chosen


def test_choices_are_kept_by_card_type_and_widths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = choice.cache_file()
    assert path == tmp_path / "geminifusion" / "fusion-choice.json"
    assert choice.read_choices(path) == {}
    keys = {
        choice.choice_key("H100", dtype, [(32, 8)], training=training)
        for dtype in (torch.float32, torch.float16)
        for training in (False, True)
    }
    assert len(keys) == 4
    for key in keys:
        choice.write_choice(path, key, "triton")
    assert choice.read_choices(path) == dict.fromkeys(keys, "triton")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert f"torch {torch.__version__}, triton " in keys.pop()


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_cache_is_measured_again(tmp_path, content):
    path = tmp_path / "fusion-choice.json"
    path.write_text(content)
    assert choice.read_choices(path) == {}
    choice.write_choice(path, "key", "compiled")
    assert json.loads(path.read_text()) == {"key": "compiled"}


def test_a_cache_that_cannot_be_written_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    choice.write_choice(tmp_path / "file" / "fusion-choice.json", "key", "compiled")
    assert (tmp_path / "file").read_text() == ""


def test_a_cpu_keeps_the_formula():
    block = GeminiFusionBlock(16, 4)
    assert choice.use_fastest_fusion(block, torch.device("cpu"), torch.float32, training=True) is None
    assert block.mix_values is pixelwise_fusion_reference


def test_every_fusion_of_a_network_gets_the_chosen_code(monkeypatch):
    monkeypatch.setattr(choice, "_kept_choice", lambda *_, **__: "compiled")
    monkeypatch.setattr(choice, "_candidates", lambda: {"compiled": marked})
    net = GeminiFusion(GeminiFusionConfig(num_classes=5, decoder_channels=16))
    assert choice.use_fastest_fusion(net, torch.device("cuda"), torch.float32, training=True) == "compiled"
    blocks = [module for module in net.modules() if isinstance(module, GeminiFusionBlock)]
    assert blocks
    assert all(block.mix_values is marked for block in blocks)
    folded = FoldedFusion(blocks[0])
    choice.use_fastest_fusion(folded, torch.device("cuda"), torch.float32, training=False)
    with pytest.raises(RuntimeError, match="marked"):
        folded([torch.zeros(3, 32), torch.zeros(3, 32)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_code_with_wrong_values_or_gradients_is_out(dtype):
    generator = torch.Generator().manual_seed(0)
    *tensors, outer = (torch.randn(50, 32, generator=generator).to(dtype) for _ in range(5))
    choice.require_agreement(pixelwise_fusion_reference, tensors, outer, 8)
    with pytest.raises(ValueError, match="differs from the formula"):
        choice.require_agreement(lambda *all_: 1.1 * pixelwise_fusion_reference(*all_), tensors, outer, 8)
    with pytest.raises(ValueError, match="differs from the formula"):
        choice.require_agreement(wrong_gradient, tensors, outer, 8)


def wrong_gradient(q, *others):
    return pixelwise_fusion_reference(q.detach() + 0.9 * (q - q.detach()), *others)


def marked(*_):
    raise RuntimeError("marked")

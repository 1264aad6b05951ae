"""Generator, discriminator and their configuration, on a tiny size."""

import dataclasses

import pytest
import torch
from translation_scenario import TINY

from geminifusion_model.encoder_sizes import GENERATOR_SIZES
from geminifusion_model.encoders.mit import drop_path_rates
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.translation.config import TOKEN_FUSION, TRANSLATOR_FUSIONS, TranslatorConfig
from geminifusion_model.translation.discriminator import Discriminator
from geminifusion_model.translation.generator import Generator, streams_of
from geminifusion_model.translation.token_fusion import TokenFusionBlock

PLACES = [(fusion, where) for fusion in TRANSLATOR_FUSIONS for where in ("encoder", "all")]
PLACES.remove((TOKEN_FUSION, "all"))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(GENERATOR_SIZES, "gen_b0", TINY)


def config(**changes):
    return TranslatorConfig(**{"num_fusion_heads": 4, **changes})


def images(count, batch=2, height=32, width=64):
    return torch.randn(count, batch, 3, height, width, generator=torch.Generator().manual_seed(0)).clamp(-1, 1).unbind()


@pytest.mark.parametrize(("fusion", "where"), PLACES)
def test_two_inputs_become_two_images_and_their_ensemble(fusion, where):
    torch.manual_seed(0)
    net = Generator(config(fusion=fusion, where=where)).train()
    found = net(*images(2))
    assert [name for name, _ in streams_of(found)] == ["0", "1", "ensemble"]
    for _, image in streams_of(found):
        assert image.shape == (2, 3, 32, 64)
        assert image.abs().max() <= 1
    expected = torch.stack(found.per_stream).mean(0)  # the weights start equal
    torch.testing.assert_close(found.ensemble, expected)
    penalized = fusion in (TOKEN_FUSION, "token_exchange", "channel_exchange")
    assert (net.penalty() is not None) == penalized


def test_a_single_input_is_its_own_ensemble():
    net = Generator(config(inputs=("rgb",), fusion="none"))
    found = net(*images(1))
    assert found.ensemble is found.per_stream[0]
    assert len(list(streams_of(found))) == 1
    assert "ensemble_logits" not in net.state_dict()


@pytest.mark.parametrize("where", ["encoder", "all"])
def test_fusion_is_in_every_block_of_its_place(where):
    net = Generator(config(where=where))
    fused = {name.rpartition(".attention.fusion.")[0] for name in net.state_dict() if ".attention.fusion." in name}
    assert sum(name.startswith("encoder.") for name in fused) == sum(TINY.depths)
    assert sum(name.startswith("decoder.") for name in fused) == (sum(TINY.depths[:-1]) if where == "all" else 0)


def test_the_decoder_takes_the_encoders_drop_rates_again_from_the_start():
    net = Generator(TranslatorConfig(drop_path_rate=0.1, num_fusion_heads=4))
    encoder = [block.drop_path.rate for stage in net.encoder.stages for block in stage.blocks]
    decoder = [block.drop_path.rate for level in net.decoder.levels for block in level.blocks]
    assert encoder == pytest.approx([0.02 * index for index in range(6)])
    assert decoder == encoder[: len(decoder)]
    assert list(drop_path_rates(0.3, (1, 2))) == [0.0, 0.15, 0.3]


def test_streams_meet_only_where_there_is_a_fusion():
    """Another second input changes the first stream's image with a fusion, and not without."""
    first, second, other = images(3)
    for fusion, meets in (("none", False), ("geminifusion", True)):
        net = Generator(config(fusion=fusion)).eval()
        with torch.no_grad():
            same = torch.equal(net(first, second).per_stream[0], net(first, other).per_stream[0])
        assert same != meets


def test_token_fusion_replaces_tokens_of_low_score_by_the_twins():
    torch.manual_seed(1)
    net = Generator(config(fusion=TOKEN_FUSION)).eval()
    (block,) = [b for b in net.encoder.stages[0].blocks if isinstance(b, TokenFusionBlock)]
    for bias, net_of_stream in zip((-8.0, 8.0), block.score_nets, strict=True):
        net_of_stream[-1].weight.data.zero_()
        net_of_stream[-1].bias.data = torch.tensor([bias, -bias])  # the first stream's tokens tell nothing
    x = torch.randn(2, 1, 64, TINY.channels[0])
    with torch.no_grad():
        first, second = block.attend(x, 8, 8)
        plain = super(TokenFusionBlock, block).attend(x, 8, 8)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(second, plain[1])


def test_the_ensembles_loss_reaches_its_weights_alone():
    net = Generator(config())
    net(*images(2)).ensemble.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["ensemble_logits"]


def test_nothing_is_saturated_before_training(monkeypatch):
    """SegFormer's start values for a convolution with few outputs make tanh and sigmoid flat."""
    monkeypatch.undo()
    torch.manual_seed(0)
    chosen = TranslatorConfig()
    with torch.no_grad():
        found = Generator(chosen)(*images(2, batch=1))
        logits = Discriminator(chosen)(images(2, batch=1), found.per_stream)
    assert found.per_stream[0].abs().mean() < 0.5
    assert logits.abs().max() < 3


def test_discriminator_judges_places_of_every_stream():
    net = Discriminator(config()).eval()
    inputs, judged = images(4)[:2], images(4)[2:]
    with torch.no_grad():
        found = net(inputs, judged)
        other = net(inputs, [judged[0], -judged[1]])
    assert found.shape == (2, 2, 1, 1, 2)
    assert torch.equal(found[0], other[0])
    assert not torch.equal(found[1], other[1])
    assert not any("fusion" in name for name in net.state_dict())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (images(1), "got 1 inputs; expected 2: rgb, edge_occlusion"),
        (images(2, height=48), "inputs are 48x64 pixels; expected multiples of 32"),
        ((images(1)[0], images(1, width=32)[0]), r"rgb \(2, 3, 32, 64\), edge_occlusion \(2, 3, 32, 32\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        Generator(config())(*inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "gen_b9"}, "size is 'gen_b9'; expected one of gen_b0, gen_b1, gen_b2"),
        ({"fusion": "glue"}, "fusion is 'glue'; expected one of geminifusion"),
        ({"inputs": ("rgb",)}, "rgb is the only input, which has nothing to be fused"),
        ({"inputs": ("rgb", "depth")}, "name a domain twice"),
        ({"where": "decoder"}, "where is 'decoder'; expected 'encoder' or 'all'"),
        ({"fusion": TOKEN_FUSION, "where": "all"}, "exchanges in the encoder alone"),
        ({"num_fusion_heads": 3}, "num_fusion_heads is 3; it must divide the 8 channels"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
    ],
)
def test_configurations_that_no_network_can_have_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_configuration_survives_json():
    chosen = config(inputs=("depth", "normal"), target="rgb", where="all")
    assert TranslatorConfig.from_dict(chosen.to_dict()) == chosen
    with pytest.raises(ValueError, match="there is no such field"):
        TranslatorConfig.from_dict({**chosen.to_dict(), "sizes": 1})


def test_published_sizes():
    sizes = {name: dataclasses.astuple(size) for name, size in GENERATOR_SIZES.items() if name != "gen_b0"}
    wide = (64, 128, 256, 512, 1024)
    shared = ((1, 2, 4, 8, 16), (16, 8, 4, 2, 1), 4, (3, 2))
    assert sizes == {"gen_b1": (wide, (2,) * 5, *shared), "gen_b2": (wide, (3, 4, 4, 6, 3), *shared)}


def test_every_fusion_of_segmentation_is_one_of_translation():
    assert set(FUSIONS) < set(TRANSLATOR_FUSIONS)


@pytest.mark.parametrize(
    ("size", "fusion", "where", "millions"),
    [
        ("gen_b1", "none", "encoder", 65.48),
        ("gen_b1", "geminifusion", "all", 103.95),
        ("gen_b2", "none", "encoder", 126.55),
        ("gen_b2", TOKEN_FUSION, "encoder", 131.10),
        ("gen_b2", "geminifusion", "encoder", 182.30),
        ("gen_b2", "geminifusion", "all", 203.41),
    ],
)
def test_parameters_of_the_published_sizes(size, fusion, where, millions):
    """Counted in the original's networks, without the norms that these have and never call."""
    with torch.device("meta"):
        net = Generator(TranslatorConfig(size=size, fusion=fusion, where=where))
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


def test_parameters_of_the_published_discriminator():
    with torch.device("meta"):
        net = Discriminator(TranslatorConfig(size="gen_b2"))
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(85.3, abs=0.06)

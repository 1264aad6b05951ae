"""`geminifusion evaluate` of a translator's checkpoint."""

import json

import numpy as np
import pytest
import torch
import translation_scenario as scenarios
from click.testing import CliRunner

from geminifusion_model.checkpoint import CheckpointError
from geminifusion_model.commands import evaluate
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.encoder_sizes import GENERATOR_SIZES
from geminifusion_model.evaluation.evaluation_run import EvaluationError
from geminifusion_model.translation.aligned_folder import write_aligned
from geminifusion_model.translation.checkpoint import TranslatorInfo, read_translator, write_translator
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.domains import FRAME_DOMAINS, TASKONOMY_DOMAINS, DomainError
from geminifusion_model.translation.evaluation import TranslationEvaluation
from geminifusion_model.translation.frame_views import RoomViews
from geminifusion_model.translation.frechet import lite_features
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.metrics import measure_view
from geminifusion_model.translation.tables import evaluation_text
from geminifusion_model.translation.task import TranslationTask


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(GENERATOR_SIZES, "gen_b0", scenarios.TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("aligned")
    write_aligned(RoomViews(Rooms(5, 11, (48, 64))), root, "test", tuple(FRAME_DOMAINS))
    return root


def checkpoint(directory, inputs=("rgb", "edge_occlusion"), target="depth", *, seed=0, known=FRAME_DOMAINS, **changes):
    torch.manual_seed(seed)
    fusion = "geminifusion" if len(inputs) > 1 else "none"
    config = TranslatorConfig(inputs=inputs, target=target, fusion=fusion, num_fusion_heads=4)
    net = Generator(config)
    fields = {"data": "rooms", "inputs": tuple(known[name] for name in inputs), "target": known[target]}
    task = TranslationTask(**{**fields, "size": (32, 64), **changes})
    write_translator(directory, net.state_dict(), TranslatorInfo(network=config, task=task))
    return directory


def test_scores_are_those_of_each_view(folder, tmp_path):
    evaluation = TranslationEvaluation(checkpoint(tmp_path / "a"), data=folder)
    done = []
    evaluation.run(on_view=done.append)
    scores = evaluation.first.scores
    assert done == [4, 5]
    assert tuple(scores.values) == ("rgb", "edge_occlusion", "ensemble")
    sample = evaluation.first.dataset[4]
    with torch.no_grad():
        prediction = evaluation.first.net(*(torch.from_numpy(image)[None] for image in sample.inputs))
    truth, counted = torch.from_numpy(sample.target), torch.from_numpy(sample.counted)
    for output, image in (("rgb", prediction.per_stream[0]), ("ensemble", prediction.ensemble)):
        expected = measure_view(image[0], truth, FRAME_DOMAINS["depth"], counted, counted)
        for measure in scores.measures:
            assert scores.of(measure.name, output)[0, 4] == pytest.approx(expected[measure.name], rel=1e-4)


def test_text_says_what_is_computed_from_the_target(folder, tmp_path):
    evaluation = TranslationEvaluation(
        checkpoint(tmp_path / "a"), data=folder, against=checkpoint(tmp_path / "b", ("rgb",), seed=1)
    )
    evaluation.run()
    text = evaluation_text(evaluation)
    assert "edge_occlusion: computed from the target" in text
    assert "rgb: independent of the target" in text
    assert "Not comparable with published tables" in text
    assert "5 views of 64x32" in text
    mae = evaluation.first.scores.average(evaluation.first.scores.measures[0])
    assert f"{mae:.4f}" in text
    found = evaluation.differences()["mae"]
    other = evaluation.second.scores.average(evaluation.second.scores.measures[0])
    assert found.value == pytest.approx(mae - other)
    assert f"{found.value:+.4f}" in text


def test_command_dispatches_by_the_checkpoint_and_records(folder, tmp_path):
    directory = checkpoint(tmp_path / "a", ("depth", "normal"), "rgb")
    arguments = [str(directory), "--data", str(folder), "--limit", "3", "--json", "--record", "--threads", "1"]
    done = CliRunner().invoke(evaluate, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    network = found["networks"][0]
    assert network["views"] == 3
    assert network["inputs"] == {
        "depth": "independent of the target",
        "normal": "computed from depth, which is an input too",
    }
    low, high = network["intervals"]["ssim"]
    assert low <= network["outputs"]["ensemble"]["ssim"] <= high
    recorded = read_translator(directory).training["test"]
    assert recorded["scores"]["psnr"] == pytest.approx(network["outputs"]["ensemble"]["psnr"], abs=1e-4)
    arguments.remove("--record")
    again = CliRunner().invoke(evaluate, arguments)
    assert json.loads(again.stdout)["networks"][0]["outputs"] == network["outputs"]


def test_distances_are_of_all_images(folder, tmp_path):
    evaluation = TranslationEvaluation(checkpoint(tmp_path / "a", ("depth", "normal"), "rgb"), data=folder)
    evaluation.run(spaces=[lite_features()])
    found = evaluation.first.scores.distances[0]
    assert found.images == 5
    assert found.frechet > 0
    assert "Fréchet distance (EfficientNet-Lite2)" in evaluation_text(evaluation)
    with pytest.raises(DomainError, match="two views or more"):
        TranslationEvaluation(checkpoint(tmp_path / "b", ("depth",), "rgb"), data=folder, limit=1).run(
            spaces=[lite_features()]
        )


def test_images_may_be_compared_at_another_size(folder, tmp_path):
    evaluation = TranslationEvaluation(checkpoint(tmp_path / "a"), data=folder, size=(64, 32), limit=1)
    evaluation.run()
    assert evaluation.first.dataset[0].target.shape == (3, 64, 32)


def test_what_does_not_fit_is_refused_before_a_view_is_read(folder, tmp_path, monkeypatch):
    def reading(*_):
        raise AssertionError("a view was read")

    monkeypatch.setattr("geminifusion_model.translation.views.FileViews.read", reading)
    good = checkpoint(tmp_path / "good")
    with pytest.raises(DomainError, match="multiples of 32"):
        TranslationEvaluation(good, data=folder, size=(100, 100))
    with pytest.raises(DomainError, match=r"makes rgb, .*good makes depth"):
        TranslationEvaluation(good, data=folder, against=checkpoint(tmp_path / "other", ("depth",), "rgb"))
    of_taskonomy = checkpoint(tmp_path / "taskonomy", ("rgb", "edge_texture"), "depth_zbuffer", known=TASKONOMY_DOMAINS)
    with pytest.raises(DomainError, match="no domain 'depth_zbuffer'"):
        TranslationEvaluation(of_taskonomy, data=folder)
    other_edges = checkpoint(tmp_path / "edges", ("edge_texture",), "rgb", known=TASKONOMY_DOMAINS)
    with pytest.raises(DomainError, match=r"trained for the edge_texture of rooms .* is another"):
        TranslationEvaluation(other_edges, data=folder)
    with pytest.raises(DomainError, match="target is depth"):
        TranslationEvaluation(good, data=folder).run(spaces=[lite_features()])
    with pytest.raises(CheckpointError, match="no config"):
        TranslationEvaluation(folder, data=folder)


def test_distances_of_what_is_no_photograph_are_refused_before_features_are_computed(folder, tmp_path):
    damaged = tmp_path / "inception.pth"
    damaged.write_bytes(b"no weights")
    arguments = [str(checkpoint(tmp_path / "a")), "--data", str(folder), "--fid-weights", str(damaged)]
    done = CliRunner().invoke(evaluate, arguments)
    assert isinstance(done.exception, DomainError)
    assert "target is depth" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--size", "100"], "such as 256x192"), (["--protocol", "native-labels"], "No such option"), ([], "--data")],
)
def test_command_refuses_options_that_do_not_fit(folder, tmp_path, arguments, message):
    data = ["--data", str(folder)] if arguments else []
    done = CliRunner().invoke(evaluate, [str(checkpoint(tmp_path / "a")), *data, *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_weights_that_are_no_numbers_are_found(folder, tmp_path):
    directory = checkpoint(tmp_path / "a")
    net = Generator.from_pretrained(directory)
    with torch.no_grad():
        net.decoder.project.bias.fill_(np.nan)
    write_translator(directory, net.state_dict(), read_translator(directory))
    with pytest.raises(EvaluationError, match="not finite"):
        TranslationEvaluation(directory, data=folder).run()

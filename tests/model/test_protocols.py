import dataclasses

import golden
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.evaluation.evaluate import evaluate
from geminifusion_model.evaluation.prediction import score_frame
from geminifusion_model.evaluation.protocols import PROTOCOLS, Protocol, protocol_named

TASK = nyuv2_task(13)


def frame(height=48, width=64, seed=0):
    random = np.random.default_rng(seed)
    return Sample(
        str(seed),
        random.integers(0, 256, (height, width, 3), np.uint8),
        {"depth": random.uniform(0.5, 8, (height, width)).astype(np.float32)},
        random.integers(0, 13, (height, width), np.uint8),
    )


class Frames:
    task = TASK

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return frame(seed=index)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=32)).eval()


def test_resize_equals_the_originals_for_images_and_masks():
    """The inputs are drawn as the golden file's maker drew them: one stream, colors, depth, then the mask."""
    expected = np.load(golden.FOLDER / "transforms_main.npz")
    random = np.random.RandomState(4)
    rgb = random.randint(0, 256, (3, 37, 53))
    random.randint(0, 256, (1, 37, 53))
    mask = random.randint(0, 40, (37, 53)).astype(np.uint8)
    how = dataclasses.replace(PROTOCOLS["original-sun"], shorter_side=32)
    image = torch.from_numpy(rgb).float()[None]
    for size in how.resize_steps(37, 53):
        image = F.interpolate(image, size, mode="bilinear", align_corners=False)
    np.testing.assert_array_equal(image[0].numpy(), expected["resize_noaa_rgb"])
    small = dataclasses.replace(frame(37, 53), labels=mask)
    net = GeminiFusion(GeminiFusionConfig(num_classes=40, decoder_channels=8)).eval()
    np.testing.assert_array_equal(score_frame(net, small, TASK, how).truth, expected["resize_noaa_mask"])


def test_sun_frames_are_scored_at_the_size_the_network_saw():
    how = protocol_named("original-sun")
    assert how.resize_steps(530, 730) == ((480, 661), (480, 672))
    assert how.label_size(530, 730) == (480, 672)


def test_deliver_validation_resizes_truth_and_its_test_does_not():
    assert protocol_named("deliver-val-resized").label_size(1042, 1042) == (1024, 1024)
    assert protocol_named("deliver-test-native").label_size(1042, 1042) == (1042, 1042)
    assert protocol_named("deliver-test-native").resize_steps(1042, 1042)[-1] == (1024, 1024)


@pytest.mark.parametrize("name", ["original-nyu-single-scale", "native-labels"])
def test_single_scale_protocols_ask_the_network_once_at_the_frames_size(net, name):
    sample = frame()
    answer = score_frame(net, sample, TASK, protocol_named(name))
    raw = torch.from_numpy(sample.rgb)[None], torch.from_numpy(sample.others["depth"])[None]
    with torch.inference_mode():
        logits = net(*encode_inputs(raw, TASK)).ensemble
        mode = {"original-nyu-single-scale": "bicubic", "native-labels": "bilinear"}[name]
        full = F.interpolate(logits, (48, 64), mode=mode, align_corners=False)[0]
    torch.testing.assert_close(answer.scores, full, rtol=0, atol=0)
    np.testing.assert_array_equal(answer.labels, full.argmax(0).numpy())


def test_flip_averages_probabilities_of_both_directions(net):
    """A mirrored frame gives the mirrored answer, which a single view does not."""
    sample = frame()
    mirrored = Sample("m", sample.rgb[:, ::-1].copy(), {"depth": sample.others["depth"][:, ::-1].copy()}, sample.labels)
    both = Protocol(name="flip", source="test", flip=True)
    one, other = (score_frame(net, s, TASK, both).scores for s in (sample, mirrored))
    torch.testing.assert_close(one, other.flip(-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.exp().sum(0), torch.ones(48, 64))
    single = Protocol(name="single", source="test")
    plain = score_frame(net, sample, TASK, single).scores.softmax(0)
    turned = score_frame(net, mirrored, TASK, single).scores.softmax(0).flip(-1)
    torch.testing.assert_close(one.exp(), (plain + turned) / 2)


def test_multi_scale_averages_the_probabilities_of_each_scale(net):
    sample = frame(64, 96)
    scales = (0.5, 1.0)
    together = Protocol(name="both", source="test", multiple=32, scales=scales)
    parts = [
        score_frame(net, sample, TASK, Protocol(name="one", source="test", multiple=32, scales=(scale,))).scores
        for scale in scales
    ]
    expected = sum(part.softmax(0) for part in parts) / 2
    torch.testing.assert_close(score_frame(net, sample, TASK, together).scores.exp(), expected)


def test_input_scale_reduces_what_a_resizing_protocol_shows(net):
    how = Protocol(name="x", source="test", shorter_side=96, multiple=32)
    sizes = []
    reduced = dataclasses.replace(TASK, input_scale=0.5)
    score_frame(net, frame(), reduced, how, corruption=lambda inputs: sizes.append(inputs[0].shape[2:]) or inputs)
    assert sizes == [(48, 64)]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_scores_and_names_itself(net, name):
    if name.startswith(("deliver", "original-sun")):
        small = dataclasses.replace(PROTOCOLS[name], shorter_side=48)
        answer = score_frame(net, frame(50, 66), TASK, small)
        assert answer.labels.shape == answer.truth.shape == small.label_size(50, 66)
    else:
        scores = evaluate(net, Frames(), protocol=name)
        assert scores.protocol == name
        assert scores.matrices.shape == (2, 13, 13)
        assert scores.matrices.sum() == 2 * 48 * 64
    assert PROTOCOLS[name].source in PROTOCOLS[name].describe()


def test_unknown_protocols_and_foreign_classes_are_refused(net):
    with pytest.raises(ValueError, match="expected one of original-nyu-single-scale"):
        evaluate(net, Frames(), protocol="published")
    with pytest.raises(ValueError, match="the data set has 13 classes, the network 5"):
        evaluate(GeminiFusion(GeminiFusionConfig(num_classes=5, decoder_channels=8)), Frames())
    with pytest.raises(ValueError, match="scales are"):
        Protocol(name="x", source="x", scales=(0.0,))
    with pytest.raises(ValueError, match="at least 1"):
        Protocol(name="x", source="x", multiple=0)

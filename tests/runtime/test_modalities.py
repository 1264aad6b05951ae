"""Models of one to four modalities of any kind, of which some may be absent; RGB among them."""

import numpy as np
import pytest

from geminifusion_runtime.artifact import SizePolicy, read_metadata
from geminifusion_runtime.bundled import artifact_path, demo_pairs
from geminifusion_runtime.decoding.alignment import resize_to_reference
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.decoding.images import decode_depth
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.dummy_inputs import blank_inputs, random_inputs
from geminifusion_runtime.errors import (
    MissingPartError,
    SensorBrokenError,
    SizeMismatchError,
    SizeNotServedError,
    UnknownPartError,
)
from geminifusion_runtime.model import Model
from geminifusion_runtime.preprocessing import absence_warnings, without
from geminifusion_runtime.types import SensorHealth

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def specs(make_spec):
    return (
        make_spec("rgb", encoding="imagenet", mean=(0.5, 0.25, 0.0), optional=True),
        make_spec("depth", encoding="raw", unit="metre", metres_per_unit=0.001, optional=True),
        make_spec("thermal", unit="count", optional=True),
        make_spec("event", channels=3, optional=True),
    )


@pytest.fixture(scope="module")
def model(make_sensor_artifact, specs, tmp_path_factory):
    return Model.open(make_sensor_artifact(tmp_path_factory.mktemp("artifacts") / "four", specs), threads=1)


def frame(height=32, width=48):
    return {
        "rgb": RNG.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "depth": RNG.uniform(0, 10, (height, width)).astype(np.float32),
        "thermal": RNG.uniform(28_000, 31_000, (height, width)).astype(np.float32),
        "event": RNG.integers(0, 256, (height, width, 3), dtype=np.uint8),
    }


def labels_of(arrays, size):
    """What the graph answers: a bit for each modality above the middle of its range; missing ones are below."""
    labels = np.zeros(size, np.uint8)
    for index, (name, middle) in enumerate((("rgb", 127.5), ("depth", 5), ("thermal", 29_500), ("event", 127.5))):
        if name in arrays:
            values = arrays[name].astype(np.float32)
            labels |= ((values.mean(axis=2) if values.ndim == 3 else values) > middle).astype(np.uint8) << index
    return labels


def test_four_modalities_are_fed_by_name_and_their_weights_come_back(model):
    arrays = frame()
    (answer,) = model.run([model.prepare(arrays)])
    np.testing.assert_array_equal(answer.labels, labels_of(arrays, (32, 48)))
    assert answer.modality_weights.shape == (3, 8, 12)


@pytest.mark.parametrize("absent", [("rgb",), ("rgb", "event"), ("depth", "thermal"), ("rgb", "depth", "thermal")])
def test_any_modality_may_be_absent_rgb_included(model, absent):
    arrays = {name: array for name, array in frame().items() if name not in absent}
    (answer,) = model.run([model.prepare(arrays)])
    np.testing.assert_array_equal(answer.labels, labels_of(arrays, (32, 48)))
    assert len(absence_warnings(model.metadata, arrays)) == len(absent)


def test_batches_mix_frames_with_other_modalities_missing(model):
    frames = [frame() for _ in range(4)]
    for arrays, absent in zip(frames, ((), ("rgb",), ("depth", "event"), ("thermal",)), strict=True):
        for name in absent:
            del arrays[name]
    answers = model.run([model.prepare(arrays) for arrays in frames])
    for arrays, answer in zip(frames, answers, strict=True):
        np.testing.assert_array_equal(answer.labels, labels_of(arrays, (32, 48)))


def test_a_missing_modality_is_what_it_was_in_training(model):
    arrays = frame()
    item = model.prepare({"event": arrays["event"]})
    assert (item.inputs["rgb"] == [128, 64, 0]).all(), "the mean colour"
    assert not item.inputs["depth"].any()
    assert not item.inputs["thermal"].any()


def test_at_least_one_modality_has_to_come(model):
    with pytest.raises(MissingPartError, match="nothing came; send at least one of rgb, depth, thermal, event"):
        model.prepare({})
    with pytest.raises(UnknownPartError, match="no input 'lidar'"):
        model.prepare({**frame(), "lidar": np.zeros((32, 48), np.float32)})


def test_the_first_that_came_gives_the_size(model):
    arrays = frame(32, 48)
    arrays["event"] = frame(20, 30)["event"]
    with pytest.raises(SizeMismatchError, match=r"event is 30x20 but rgb is 48x32; .* align=resize"):
        model.prepare(arrays)
    del arrays["rgb"]
    with pytest.raises(SizeMismatchError, match="event is 30x20 but depth is 48x32"):
        model.prepare(arrays)


def test_large_images_are_reduced_without_means_of_distances(model):
    arrays = frame(240, 320)
    item = model.prepare(arrays)
    assert item.shape == (120, 160)
    assert set(item.inputs["depth"].ravel()) <= set(arrays["depth"].ravel())
    assert not set(item.inputs["thermal"].ravel()) <= set(arrays["thermal"].ravel()), "area means"


def test_the_frame_without_some_modalities_is_the_frame_in_which_they_did_not_come(model):
    arrays = frame()
    item = without(model.metadata, model.prepare(arrays), ["rgb", "thermal"])
    expected = model.prepare({"depth": arrays["depth"], "event": arrays["event"]})
    for name, array in expected.inputs.items():
        np.testing.assert_array_equal(item.inputs[name], array)
    with pytest.raises(ValueError, match="nothing is left"):
        without(model.metadata, item, ["rgb", "depth", "thermal", "event"])


def test_images_are_resized_to_rgb_or_else_to_the_first(specs):
    arrays = frame(32, 48)
    arrays["thermal"], arrays["depth"] = frame(16, 24)["thermal"], frame(64, 96)["depth"]
    named = {spec.name: spec for spec in specs}
    images = {name: DecodedImage(array=array) for name, array in arrays.items()}
    aligned = resize_to_reference(images, named)
    assert {image.array.shape[:2] for image in aligned.values()} == {(32, 48)}
    assert set(aligned["depth"].array.ravel()) <= set(arrays["depth"].ravel()), "no means of distances"
    assert aligned["thermal"].warnings == ("thermal was resized from 24x16 to 48x32",)
    del images["rgb"]
    assert {image.array.shape[:2] for image in resize_to_reference(images, named).values()} == {(64, 96)}


def test_a_blinded_camera_is_dropped_but_never_the_last_one(specs):
    named = {spec.name: spec for spec in specs}
    dark = SensorHealth(holes=0, saturated=0, noise=0, problem="100% of the pixels are nearly black")
    images = {"rgb": DecodedImage(array=frame()["rgb"], health=dark), "thermal": DecodedImage(array=frame()["thermal"])}
    kept, notes = apply_policy(images, named, "drop-modality")
    assert list(kept) == ["thermal"]
    assert "rgb was left out" in notes[0]
    with pytest.raises(SensorBrokenError, match="nothing else to go by"):
        apply_policy({"rgb": images["rgb"]}, named, "drop-modality")


def test_made_up_inputs_follow_the_units(specs):
    inputs = random_inputs(specs, (2, 20, 30))
    assert {name: (array.shape, array.dtype) for name, array in inputs.items()} == {
        "rgb": ((2, 20, 30, 3), np.uint8),
        "depth": ((2, 20, 30), np.float32),
        "thermal": ((2, 20, 30), np.float32),
        "event": ((2, 20, 30, 3), np.uint8),
    }
    assert 28_000 <= inputs["thermal"].min() < inputs["thermal"].max() <= 31_000
    assert set(blank_inputs(specs, (1, 4, 4))) == {"rgb", "depth", "thermal", "event"}


@pytest.fixture(scope="module")
def fixed_size(make_sensor_artifact, make_spec, tmp_path_factory):
    size = SizePolicy(min_side=16, max_pixels=96 * 160, reference=(48, 64), shorter_side=64, multiple_of=32)
    directory = tmp_path_factory.mktemp("artifacts") / "fixed"
    return Model.open(make_sensor_artifact(directory, [make_spec("thermal", unit="count")], size=size), threads=1)


@pytest.mark.parametrize(
    ("posted", "seen"), [((530, 730), (64, 96)), ((64, 64), (64, 64)), ((33, 47), (64, 96)), ((47, 33), (96, 64))]
)
def test_the_input_policy_says_what_the_network_sees(fixed_size, posted, seen):
    assert fixed_size.metadata.size.network_size(*posted) == seen


def test_the_limit_of_pixels_judges_what_the_network_sees(fixed_size):
    posted = {"thermal": np.full((240, 200), 29_000, np.float32)}
    assert fixed_size.prepare(posted).shape == (240, 200), "more pixels than the network sees of it"
    with pytest.raises(SizeNotServedError, match="would see as 320x64, more than its 15360 pixels"):
        fixed_size.prepare({"thermal": np.full((20, 100), 29_000, np.float32)})


def test_the_bundled_model_serves_depth_alone():
    metadata = read_metadata(artifact_path())
    assert all(spec.optional for spec in metadata.modalities), "its training took either sensor away"
    pair = demo_pairs()["livingroom"]
    depth = decode_depth(pair.depth.read_bytes(), max_pixels=10**7, depth_scale=pair.depth_scale).metres
    model = Model.open(artifact_path(), threads=1)
    (answer,) = model.run([model.prepare({"depth": depth})])
    assert answer.labels.shape == depth.shape
    assert len(np.unique(answer.labels)) > 3

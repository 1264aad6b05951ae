"""The function that `cvat-cli task auto-annotate` loads: its spec and shapes pass CVAT's own checks."""

import types
from logging import getLogger

import cv2
import numpy as np
import PIL.Image
import pytest

from geminifusion import load

pytest.importorskip("cvat_sdk")
common = pytest.importorskip("cvat_cli._internal.common")

import urllib3  # noqa: E402
from cvat_sdk import models  # noqa: E402
from cvat_sdk.auto_annotation import driver  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

MODULE = "geminifusion.labeling.cvat"


def loaded(**parameters):
    """The function as `cvat-cli` loads it."""
    return common.FunctionLoader(MODULE, None, {name: str(value) for name, value in parameters.items()}).load()


def context(**changed):
    return driver._DetectionFunctionContextImpl(**{"frame_name": "room.png"} | changed)


@pytest.fixture(scope="module")
def depth_folder(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth")
    (folder / "room_depth.png").write_bytes(pair.depth_path.read_bytes())
    return folder


@pytest.fixture(scope="module", params=["a server", "this process"])
def function(request, live_server, tiny_artifact, depth_folder):
    where = {"url": live_server.grpc_url} if request.param == "a server" else {"artifact": tiny_artifact}
    return loaded(**where, depth=depth_folder)


@pytest.fixture
def image(pair):
    with PIL.Image.open(pair.rgb_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def here(pair, tiny_artifact):
    return load(tiny_artifact, threads=1)(pair.rgb_path, pair.depth_path)


def mapped(function, shapes, *, to_polygons=False):
    """The shapes after CVAT's driver has checked them against a task with the labels of the model and one more."""
    labels = [
        types.SimpleNamespace(id=100 + index, name=name, type="any", attributes=[], sublabels=[])
        for index, name in enumerate(["other", "dark near", "dark far", "bright near", "bright far"])
    ]
    for label in labels:
        label.type = "polygon" if to_polygons else "mask"
    mapper = driver._AnnotationMapper(
        getLogger(__name__),
        function.spec.labels,
        labels,
        allow_unmatched_labels=False,
        conv_mask_to_poly=to_polygons,
    )
    tags, checked = mapper.validate_and_remap(shapes, 7)
    assert tags == []
    return checked


def test_masks_are_the_models(function, image, here):
    shapes = mapped(function, function.detect(context(), image))
    assert {shape.frame for shape in shapes} == {7}
    found = {shape.label_id - 101: shape for shape in shapes}
    assert found.keys() == set(np.unique(here.labels))
    for class_id, shape in found.items():
        mask = decode_mask(shape.points, image_width=70, image_height=50)
        np.testing.assert_array_equal(mask, here.labels == class_id)
        assert 0 <= shape.score <= 1


def test_classes_below_the_threshold_are_left_out(function, image):
    scores = sorted(shape.score for shape in function.detect(context(), image))
    kept = function.detect(context(conf_threshold=scores[1]), image)
    assert sorted(shape.score for shape in kept) == scores[1:]
    assert scores[0] < scores[1]


def test_polygons_enclose_the_masks(function, image, here):
    shapes = mapped(function, function.detect(context(conv_mask_to_poly=True), image), to_polygons=True)
    assert shapes
    drawn = {class_id: np.zeros((50, 70), np.uint8) for class_id in range(4)}
    for shape in shapes:
        assert isinstance(shape, models.LabeledShapeRequest)
        cv2.fillPoly(drawn[shape.label_id - 101], [np.reshape(shape.points, (-1, 2)).astype(np.int32)], 1)
    for class_id in np.unique(here.labels):
        mask = here.labels == class_id
        whole = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
        assert (drawn[class_id][whole] == 1).all()  # parts of one or two pixels are no polygons


# Of these `cvat-cli` prints the message, of others a traceback.
SHOWN = urllib3.exceptions.HTTPError


def test_a_frame_without_depth_is_told(function, image, depth_folder):
    with pytest.raises(SHOWN, match=r"frame 'other' has no depth image in .*; name one file other\.png"):
        function.detect(context(frame_name="other.jpg"), image)


def test_arguments_that_make_no_sense_are_told(tiny_artifact, tmp_path):
    with pytest.raises(SHOWN, match="give one of them"):
        loaded(url="http://localhost:1", artifact=tiny_artifact)
    with pytest.raises(SHOWN, match="is no folder"):
        loaded(artifact=tiny_artifact, depth=tmp_path / "none")
    with pytest.raises(SHOWN, match=r"nothing responds at http://127\.0\.0\.1:9"):
        loaded(url="http://127.0.0.1:9")


def test_images_that_the_model_does_not_take_are_told(function):
    with pytest.raises(SHOWN, match="align=resize") as refusal:
        function.detect(context(), PIL.Image.new("RGB", (33, 44)))
    assert "\n" not in str(refusal.value)

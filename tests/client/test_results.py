import cv2
import numpy as np
import pytest

from geminifusion import ClassShare, Result


@pytest.fixture
def result():
    labels = np.array([[2, 2, 2], [2, 5, 5]], np.uint8)
    return Result(
        labels=labels,
        classes=(
            ClassShare(id=2, name="wall", color=(10, 20, 30), pixels=4, fraction=4 / 6, median_depth_m=2.5),
            ClassShare(id=5, name="tv", color=(200, 0, 0), pixels=2, fraction=2 / 6, median_depth_m=None),
        ),
        model="tiny@1",
        gate=np.full((1, 1), 0.25, np.float32),
        sources={"rgb": np.full((2, 3, 3), 100, np.uint8)},
    )


def test_saved_mask_shows_the_class_colours_and_keeps_the_indices(result, tmp_path):
    path = result.save(tmp_path / "mask.png")
    colours = cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert colours[0, 0].tolist() == [10, 20, 30]
    assert colours[1, 1].tolist() == [200, 0, 0]
    indices = cv2.imdecode(np.frombuffer(result.indices_png(), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(indices, result.labels)


def test_npz_holds_the_labels_and_the_maps_there_are(result, tmp_path):
    with np.load(result.save(tmp_path / "all.npz")) as maps:
        assert sorted(maps) == ["gate", "labels"]
        np.testing.assert_array_equal(maps["labels"], result.labels)


def test_other_suffixes_are_refused(result, tmp_path):
    with pytest.raises(ValueError, match=r"use \.png or \.npz"):
        result.save(tmp_path / "mask.jpg")
    with pytest.raises(ValueError, match="without suffix"):
        result.save(tmp_path / "mask")


def test_overlay_blends_between_picture_and_class_colours(result):
    assert result.overlay(0).tolist() == result.sources["rgb"].tolist()
    assert result.overlay(1)[0, 0].tolist() == [10, 20, 30]
    assert result.overlay(0.5)[1, 1].tolist() == [150, 50, 50]


def test_overlay_decodes_the_posted_bytes(result, tmp_path):
    ok, encoded = cv2.imencode(".png", np.dstack([np.full((2, 3), c, np.uint8) for c in (30, 20, 10)]))
    assert ok
    posted = Result(
        labels=result.labels, classes=result.classes, model=result.model, sources={"rgb": encoded.tobytes()}
    )
    assert posted.overlay(0)[0, 0].tolist() == [10, 20, 30]
    assert cv2.imread(str(posted.save_overlay(tmp_path / "o.png"))).shape == (2, 3, 3)


def test_overlay_says_what_it_lacks(result):
    with pytest.raises(ValueError, match="alpha is 2"):
        result.overlay(2)
    bare = Result(labels=result.labels, classes=result.classes, model="tiny@1")
    with pytest.raises(ValueError, match="without its image"):
        bare.overlay()


def test_text_forms_name_the_classes_with_share_and_distance(result):
    assert repr(result) == "Result(3x2 by tiny@1: wall 67%, tv 33%)"
    wall, tv = str(result).splitlines()[1:]
    assert wall.split() == ["wall", "66.7%", "2.50", "m"]
    assert tv.split() == ["tv", "33.3%", "no", "depth"]

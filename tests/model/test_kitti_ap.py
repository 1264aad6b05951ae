"""KITTI's average precision against the original's, and on cases whose value is known."""

import gzip
import json

import numpy as np
import pytest
from golden import FOLDER

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.data.labels import DONT_CARE, label_text, parse_objects
from geminifusion_model.detection.evaluation.kitti_ap import CellName, Labeled, kitti_scores
from geminifusion_model.detection.evaluation.matching import frame_overlaps, standing
from geminifusion_runtime.detection.boxes import footprints

GOLDEN = json.loads(gzip.decompress((FOLDER / "kitti3d_ap.json.gz").read_bytes()))
CLASSES = ("car", "pedestrian", "cyclist")
DIFFICULTIES = ("easy", "moderate", "hard")
THEIR_METRICS = {"bbox": "2d", "bev": "bev", "3d": "3d"}


def labeled(frames):
    return [
        Labeled(
            parse_objects(frame["label"], "label", scored=False), parse_objects(frame["result"], "result", scored=True)
        )
        for frame in frames
    ]


@pytest.fixture(scope="module", params=["main", "perfect_few"])
def case(request):
    return GOLDEN[request.param], kitti_scores(labeled(GOLDEN[request.param]["frames"]), CLASSES)


def figures(scores, read):
    """By class and difficulty."""
    return [[read(class_name, difficulty) for difficulty in DIFFICULTIES] for class_name in CLASSES]


@pytest.mark.parametrize("metric", THEIR_METRICS)
def test_averages_are_the_originals(case, metric):
    golden, scores = case
    for attribute, key in (("r11", "AP11"), ("r40", "AP40")):
        found = figures(
            scores,
            lambda name, hard, attribute=attribute: getattr(
                scores.cells[CellName(name, hard, THEIR_METRICS[metric])].figures(), attribute
            ),
        )
        np.testing.assert_allclose(found, golden[key][metric], atol=1e-5, err_msg=key)


def test_orientation_is_the_originals(case):
    golden, scores = case
    for attribute, key in (("aos_r11", "AP11"), ("aos_r40", "AP40")):
        found = figures(
            scores,
            lambda name, hard, attribute=attribute: getattr(
                scores.cells[CellName(name, hard, "2d")].figures(), attribute
            ),
        )
        np.testing.assert_allclose(found, golden[key]["aos"], atol=1e-5, err_msg=key)


def test_counts_are_the_originals(case):
    golden, scores = case
    counts = scores.counts()
    assert figures(scores, lambda name, hard: counts[name, hard]) == golden["valid_ground_truths"]


def test_curves_are_the_originals():
    golden, scores = GOLDEN["main"], kitti_scores(labeled(GOLDEN["main"]["frames"]), CLASSES, loose=False)
    for metric, ours in THEIR_METRICS.items():
        found = figures(scores, lambda name, hard, ours=ours: scores.cells[CellName(name, hard, ours)].curves()[0])
        np.testing.assert_allclose(found, golden["curves"][metric], atol=1e-5)


def test_the_looser_set_is_the_originals():
    golden, scores = GOLDEN["main"], kitti_scores(labeled(GOLDEN["main"]["frames"]), CLASSES)
    compared = 0
    for key, expected in golden["loose"].items():
        name, metric, kind, difficulty, _ = key.removeprefix("KITTI/").split("_")
        if metric != "2D":
            cell = scores.cells[CellName(name.lower(), difficulty, metric.lower(), loose=True)]
            assert getattr(cell.figures(), kind.replace("AP", "r")) == pytest.approx(expected, abs=1e-5)
            compared += 1
    assert compared == 36


def test_perfect_detections_of_few_objects_have_an_all_point_precision_of_100_and_a_warning():
    scores = kitti_scores(labeled(GOLDEN["perfect_few"]["frames"]), CLASSES)
    cells = [scores.cells[CellName(name, hard, "3d")] for name in CLASSES for hard in DIFFICULTIES]
    assert [cell.all_point() for cell in cells] == pytest.approx([100.0] * 9)
    (warning,) = [found for found in scores.warnings() if found.startswith("car, hard")]
    assert "5 objects" in warning
    assert "exceed 10.0" in warning


def test_a_frame_drawn_twice_counts_as_two_frames():
    frames = labeled(GOLDEN["main"]["frames"])
    times = np.zeros(len(frames), int)
    times[[3, 7, 20, 21, 40]] = 1, 2, 1, 3, 1
    drawn = [frame for frame, count in zip(frames, times, strict=True) for _ in range(count)]
    whole, copied = (kitti_scores(each, CLASSES, loose=False).cells for each in (frames, drawn))
    for name in (CellName("car", "hard", "3d"), CellName("pedestrian", "moderate", "2d")):
        np.testing.assert_allclose(whole[name].figures(times), copied[name].figures(), equal_nan=True)


def test_no_detection_at_all_scores_0():
    frames = [
        Labeled(frame.truth, parse_objects("", "result", scored=True)) for frame in labeled(GOLDEN["main"]["frames"])
    ]
    found = kitti_scores(frames, ("car",), loose=False).cells[CellName("car", "hard", "3d")].figures()
    assert (found.r11, found.r40, found.all_point) == (0, 0, 0)


def test_a_class_without_objects_has_no_all_point_precision():
    frames = [Labeled(parse_objects("", "label", scored=False), parse_objects("", "result", scored=True))]
    assert np.isnan(kitti_scores(frames, ("car",)).cells[CellName("car", "hard", "3d")].all_point())


def test_labels_survive_their_text():
    text = GOLDEN["main"]["frames"][0]["label"]
    assert label_text(parse_objects(text, "label", scored=False)).splitlines()[0] == text.splitlines()[0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Car 0.0 0 1.0", "has 4 columns; expected 16"),
        ("Car " + "1 " * 14 + "high", "columns that are no numbers"),
        ("Car " + "1 " * 14 + "nan", "columns that are no numbers"),
    ],
)
def test_a_line_that_is_no_object_is_named(line, problem):
    with pytest.raises(DatasetError, match=f"line 2 of r.txt has .*{problem.removeprefix('has ')}"):
        parse_objects("\n" + line, "r.txt", scored=True)


def test_overlaps_are_those_of_polygons_and_heights():
    shapely = pytest.importorskip("shapely")
    frame = labeled(GOLDEN["main"]["frames"])[3]
    found = frame_overlaps(*frame).by_metric
    one, other = standing(frame.truth.boxes), standing(frame.found.boxes)
    polygons = [[shapely.Polygon(corners) for corners in footprints(boxes)] for boxes in (one, other)]
    compared = 0
    for i, truth in enumerate(polygons[0]):
        if frame.truth.names[i] == DONT_CARE:
            continue
        for j, detection in enumerate(polygons[1]):
            common = truth.intersection(detection).area
            assert found["bev"][i, j] == pytest.approx(common / truth.union(detection).area, abs=1e-9)
            low, high = max(one[i, 2], other[j, 2]), min(one[i, 2] + one[i, 5], other[j, 2] + other[j, 5])
            volume = common * max(high - low, 0)
            whole = truth.area * one[i, 5] + detection.area * other[j, 5] - volume
            assert found["3d"][i, j] == pytest.approx(volume / whole, abs=1e-9)
            compared += volume > 0
    assert compared > 2

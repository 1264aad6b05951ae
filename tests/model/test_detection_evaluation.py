"""Evaluation of detectors: result files, wrong sensors, intervals."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from street_frames import SIZE, network, streets

from geminifusion_model.commands import evaluate
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.checkpoint import DetectorInfo, write_detector
from geminifusion_model.detection.config import KITTI_ANCHORS
from geminifusion_model.detection.data.kitti import KittiFrames
from geminifusion_model.detection.data.streets.folder import StreetsFolder, write_streets
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.detecting import read_results
from geminifusion_model.detection.evaluation.evaluation import DetectionEvaluation
from geminifusion_model.detection.evaluation.intervals import interval, paired_difference
from geminifusion_model.detection.evaluation.kitti_ap import CellName, Labeled, kitti_scores
from geminifusion_model.detection.evaluation.robustness import CHANGES
from geminifusion_model.detection.task import DetectionTask
from geminifusion_model.evaluation.evaluation_run import EvaluationError
from geminifusion_runtime.detection.boxes import project

CAR = CellName("car", "hard", "3d")
TALL = (188, 621)  # at which objects are high enough to count


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti") / "streets"
    write_streets(root, StreetsFolder(train=1, val=3, seed=2, size=TALL), workers=1)
    return root


def perfect_results(root, out, score=0.9):
    """Result files that repeat the labels."""
    out.mkdir()
    for name in KittiFrames(root, "val").names:
        lines = (root / "training" / "label_2" / f"{name}.txt").read_text().splitlines()
        (out / f"{name}.txt").write_text("".join(f"{line} {score}\n" for line in lines))
    return out


def test_result_files_that_repeat_the_labels_are_perfect(folder, tmp_path):
    evaluation = DetectionEvaluation(perfect_results(folder, tmp_path / "results"), folder)
    evaluation.run(bootstrap=False)
    assert evaluation.scores.cells[CAR].all_point() == pytest.approx(100)
    text = evaluation.to_text()
    assert "3-D @0.7" in text
    assert "warning: car, easy" in text
    assert evaluation.to_record()["weights_sha256"] is None
    with pytest.raises(DatasetError, match="no detector"):
        evaluation.run(robustness=True)


def checkpoint(directory, num_classes=3):
    config = network(
        anchors=dataclasses.replace(KITTI_ANCHORS, classes=KITTI_ANCHORS.classes[:num_classes]),
        positive_ious=(0.5,) * num_classes,
        negative_ious=(0.3,) * num_classes,
    )
    info = DetectorInfo(network=config, task=DetectionTask(data="streets", image_size=SIZE))
    write_detector(directory, Detector(config).state_dict(), info)
    return str(directory)


def test_what_cannot_be_had_is_refused_before_anything_is_scored(folder, tmp_path, monkeypatch):
    def reading(*_):
        raise AssertionError("a frame was read")

    monkeypatch.setattr(KittiFrames, "__getitem__", reading)
    good, damaged = (str(perfect_results(folder, tmp_path / name)) for name in ("good", "damaged"))
    (tmp_path / "damaged" / "000002.txt").write_text("Car and so on\n")
    detector = [checkpoint(tmp_path / "three"), "--data", str(folder)]
    for error, message, arguments in (
        (DatasetError, "no detector", ["--found", good, "--record"]),
        (EvaluationError, "leave out one of the two", ["--against", good, "--no-bootstrap"]),
        (EvaluationError, "finds pedestrian and no cyclist", ["--against", checkpoint(tmp_path / "one", 1)]),
        (DatasetError, r"000001\.txt is missing", ["--against", str(folder)]),
        (DatasetError, r"000002\.txt", ["--against", damaged]),
    ):
        with pytest.raises(error, match=message):
            CliRunner().invoke(evaluate, [*detector, *arguments], catch_exceptions=False)


def test_a_frame_without_a_result_file_is_named(folder, tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(DatasetError, match=r"000001\.txt is missing"):
        read_results(tmp_path / "results", KittiFrames(folder, "val"))


def test_two_sources_are_compared_on_the_same_frames(folder, tmp_path):
    good = perfect_results(folder, tmp_path / "good")
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in good.iterdir():
        (bad / path.name).write_text("")
    evaluation = DetectionEvaluation(good, folder, against=bad)
    evaluation.run()
    found = evaluation.differences["car"]
    assert found.value == pytest.approx(evaluation.scores.cells[CellName("car", "moderate", "3d")].figures().r40)
    assert found.interval.low <= found.value <= found.interval.high
    assert "less the other" in evaluation.to_text()


def test_a_detector_does_not_differ_from_itself():
    frames = [Labeled(streets()[index].objects, streets()[index].objects) for index in range(4)]
    cell = kitti_scores(frames, ("car",)).cells[CAR]
    found = paired_difference([cell], [cell], "all_point", draws=50)
    assert (found.value, found.interval.low, found.interval.high) == (0, 0, 0)
    within = interval(kitti_scores(frames, ("car",)), CAR, "all_point", draws=50)
    assert (within.low, within.high) == pytest.approx((100, 100))


def test_changes_of_sensors_change_what_they_name_and_nothing_else():
    frame = streets()[1]
    for title, change in CHANGES.items():
        changed = change(frame, 0)
        differing = {
            field.name
            for field in dataclasses.fields(frame)
            if getattr(changed, field.name) is not getattr(frame, field.name)
        }
        expected = "image" if "image" in title else "calibration" if "camera" in title else "points"
        assert differing == {expected}, title


def test_fewer_beams_keep_about_so_many_points():
    full = streets().__class__(1, 3, SIZE, beams=64, azimuth_step_deg=1.0)[0]
    shares = [len(CHANGES[f"{beams} beams"](full, 0).points) / len(full.points) for beams in (32, 16)]
    assert shares == pytest.approx([0.5, 0.25], abs=0.05)


def test_fog_takes_far_points_first_and_the_same_ones_each_time():
    frame = streets()[1]
    once, again = CHANGES["fog"](frame, 7), CHANGES["fog"](frame, 7)
    np.testing.assert_array_equal(once.points, again.points)
    mean_ranges = [np.linalg.norm(each.points[:, :3], axis=1).mean() for each in (once, frame)]
    assert mean_ranges[0] < 0.9 * mean_ranges[1]


def test_a_turned_camera_turns_to_either_side():
    frame = streets()[1]
    point = np.array([[20.0, 0, -1]])
    before = project(point, frame.calibration.lidar2image)[0][0, 0]
    shifts = [
        project(point, CHANGES["camera turned 2°"](frame, index).calibration.lidar2image)[0][0, 0] - before
        for index in (0, 1)
    ]
    assert shifts[0] == pytest.approx(-shifts[1], rel=0.05)
    assert abs(shifts[0]) > 3

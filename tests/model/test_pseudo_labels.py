"""`geminifusion pseudo-label`: photographs become a data set that training can mix in."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distillation_scenario import TinyTeacher, write_photographs
from own_data import write_own_data

from geminifusion_model.data.folder import folder_dataset
from geminifusion_model.data.sample import Joined
from geminifusion_model.distillation.pseudo_labels import class_thresholds
from geminifusion_model.distillation.teachers import TEACHERS
from geminifusion_model.pseudo_label_commands import pseudo_label


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setitem(TEACHERS, "tiny", TinyTeacher)


def invoke(tmp_path, *more, labeled=None, data=None):
    labeled = labeled or write_own_data(tmp_path / "own")
    data = data or write_photographs(tmp_path / "photographs", 6)
    arguments = ["--labeled", labeled, "--data", data, "--out", tmp_path / "out", "--teacher", "tiny"]
    return CliRunner().invoke(
        pseudo_label, [str(part) for part in (*arguments, "--teacher-side", 64, "--threads", 1, *more)]
    )


@pytest.mark.usefixtures("teacher")
def test_photographs_get_the_classes_they_look_like(tmp_path):
    # the data set's own pictures as photographs, because what is right is known of them
    labeled = write_own_data(tmp_path / "own")
    result = invoke(tmp_path, "--epochs", 60, "--least-confidence", 0.5, labeled=labeled, data=labeled / "test/rgb")
    assert result.exit_code == 0, result.output
    found, expected = folder_dataset(tmp_path / "out", "train"), folder_dataset(labeled, "test")
    assert len(found) == len(expected) == 4
    right, labeled_pixels = 0, 0
    for index in range(4):
        labels, truth = found[index].labels, expected[index].labels
        sure = labels != 255
        labeled_pixels += int(sure.sum())
        right += int((labels == truth)[sure].sum())
    assert labeled_pixels > 0.4 * 4 * truth.size
    assert right > 0.8 * labeled_pixels
    assert "of their pixels labeled: a " in result.output


@pytest.mark.usefixtures("teacher")
def test_the_data_set_joins_the_labeled_one(tmp_path):
    labeled = write_own_data(tmp_path / "own")
    more = ("--least-confidence", 0, "--size", "48x80", "--holdout", 2, "--precision", "bfloat16")
    result = invoke(tmp_path, "--epochs", 1, *more, labeled=labeled)
    assert result.exit_code == 0, result.output
    assert "2 held-out training frames, RGB alone: mIoU" in result.output
    found = folder_dataset(tmp_path / "out", "train")
    assert len(Joined(folder_dataset(labeled, "train"), found)) == 4 + 6
    assert found[5].rgb.shape == (48, 80, 3)
    assert not found[5].others["depth"].any()
    assert (found[5].labels != 255).all()


class FixedHead:
    """Gives each photograph the probabilities that its map holds."""

    def probabilities(self, maps):
        return maps[0]


def test_every_class_keeps_its_surest_pixels():
    # of class 0 ten pixels at 0.9 and ten at 0.8, of class 1 five at 0.6 and fifteen at 0.52, of class 2 none
    first = [0.9] * 10 + [0.8] * 10 + [0.4] * 5 + [0.47] * 15
    second = [0.1] * 10 + [0.2] * 10 + [0.6] * 5 + [0.52] * 15
    photograph = torch.tensor([first, second, [0.0] * 40])[None, :, None]
    found = [
        class_thresholds(1, lambda _: (photograph,), FixedHead(), share=share, lowest=0.55) for share in (0.5, 0.25, 1)
    ]
    assert [0.8 < values[0] <= 0.9 for values in found] == [True, False, False]
    assert found[1][0] > 0.9, "half of the class has this confidence, which is more than a quarter"
    assert found[2][0] <= 0.8
    assert 0.55 <= found[1][1] <= 0.6
    assert found[2][1] == 0.55, "no class goes below the lowest"
    assert {values[2] for values in found} == {1.0}


@pytest.mark.usefixtures("teacher")
def test_a_share_of_every_class_is_labeled(tmp_path):
    result = invoke(tmp_path, "--epochs", 3, "--class-share", 0.5, "--least-confidence", 0)
    assert result.exit_code == 0, result.output
    labels = np.stack([folder_dataset(tmp_path / "out", "train")[index].labels for index in range(6)])
    assert 0.3 < (labels != 255).mean() < 0.7


@pytest.mark.usefixtures("teacher")
def test_maps_are_asked_for_once(tmp_path, monkeypatch):
    teachers = []
    monkeypatch.setitem(TEACHERS, "tiny", lambda: teachers.append(TinyTeacher()) or teachers[-1])
    shared = ("--teacher-maps", tmp_path / "maps", "--epochs", 1)
    assert invoke(tmp_path, *shared).exit_code == 0
    (tmp_path / "out").rename(tmp_path / "first")
    assert invoke(tmp_path, *shared).exit_code == 0
    assert [teacher.images for teacher in teachers] == [10, 4]
    first, second = (folder_dataset(tmp_path / name, "train") for name in ("first", "out"))
    assert all(np.array_equal(first[index].labels, second[index].labels) for index in range(6))


@pytest.mark.usefixtures("teacher")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--teacher-side", 60), "no multiple of 32"),
        (("--holdout", 4), "has 4 training frames, --holdout is 4"),
        (("--size", "48"), "48 is no size; expected height and width"),
        (("--teacher", "tiny2"), "did you mean tiny"),
    ],
)
def test_what_cannot_be_is_refused_before_work(tmp_path, more, message):
    result = invoke(tmp_path, *more)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("teacher")
def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    result = invoke(tmp_path)
    assert result.exit_code != 0
    assert "is not empty; name a new folder" in str(result.exception)


def test_a_modality_that_cannot_be_marked_missing_is_refused_before_the_teacher_is_asked(tmp_path, monkeypatch):
    teachers = []
    monkeypatch.setitem(TEACHERS, "tiny", lambda: teachers.append(TinyTeacher()) or teachers[-1])
    labeled = write_own_data(tmp_path / "own", modality={"encoding": "raw", "bits": 16, "metres_per_unit": 0.001})
    result = invoke(tmp_path, labeled=labeled)
    assert result.exit_code != 0
    assert "pseudo-labels go with metric depth" in str(result.exception)
    assert teachers == []
    assert not (tmp_path / "out").exists()

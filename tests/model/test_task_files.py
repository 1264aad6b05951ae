"""Tasks as YAML files: those that come with the package, and one's own."""

import dataclasses

import pytest
import yaml
from click.testing import CliRunner

from geminifusion_model.data.list_files import nyuv2_lists
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.task_files import TaskFileError, describe_task, task_named, task_names, task_text
from geminifusion_model.evaluation.protocols import PROTOCOLS
from geminifusion_model.import_commands import tasks
from geminifusion_model.task import InputPolicy, ModalityEncoding, Task

OWN = {
    "name": "my robot",
    "license": "CC-BY-4.0",
    "classes": ["floor", {"name": "chair", "color": [200, 60, 120]}],
    "modalities": {
        "thermal": {"encoding": "raw", "channels": 1, "bits": 16, "range": [28000, 31000], "mean": 115.0, "std": 2.0}
    },
}


def written(tmp_path, **changes):
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump({**OWN, **changes}))
    return path


@pytest.mark.parametrize("name", task_names())
def test_tasks_that_come_with_the_package_are_whole(name):
    task = task_named(name)
    assert name.endswith(f"-{len(task.class_names)}")
    assert len(set(task.class_names)) == len(task.class_names)
    assert len(set(task.palette)) >= len(task.class_names) - 1, "ADE20K has one color twice"
    assert task.evaluation_protocol in PROTOCOLS
    assert task.data_license
    assert "\n" not in task.data_license
    assert Task.from_dict(task.to_dict()) == task


def test_all_nine_data_sets_are_there():
    expected = "ade20k-150 cityscapes-19 deliver-25 fmb-14 mfnet-9 nyuv2-13 nyuv2-40 pst900-5 sunrgbd-37"
    assert task_names() == tuple(expected.split())


def test_protocol_and_input_policy_resize_alike():
    for name in ("sunrgbd-37", "deliver-25"):
        task = task_named(name)
        protocol = PROTOCOLS[task.evaluation_protocol]
        assert task.input_policy == InputPolicy(shorter_side=protocol.shorter_side, multiple_of=protocol.multiple)
        assert task.label_upsampling == protocol.logit_interpolation


def test_sun_classes_are_the_first_of_nyu_and_the_readers_share_them():
    nyu, sun = task_named("nyuv2-40"), task_named("sunrgbd-37")
    assert nyu.class_names[:37] == sun.class_names
    assert nyuv2_task(39).class_names == nyu.class_names[:39]


def test_depth_of_an_unwritten_unit_is_stored_numbers_until_the_unit_is_said():
    assert describe_task("nyuv2-40").unit_unknown == ["depth"]
    stored = task_named("nyuv2-40").modalities[1]
    assert (stored.unit, stored.range, stored.metres_per_unit) == ("count", (0.0, 65535.0), None)
    fine, coarse = (task_named("nyuv2-40", unit).modalities[1] for unit in (0.001, 10 / 255))
    assert (fine.encoding, fine.unit, fine.metres_per_unit) == ("raw", "metre", 0.001)
    assert fine.range == pytest.approx((0.0, 65.535))
    assert coarse.range == pytest.approx((0.0, 10.0)), "8 bits cannot store more"


def test_an_own_file_is_a_task(tmp_path):
    task = task_named(written(tmp_path, input_policy={"shorter_side": 480}, label_upsampling="bicubic"))
    assert [m.name for m in task.modalities] == ["rgb", "thermal"]
    thermal = task.modalities[1]
    assert (thermal.unit, thermal.range, thermal.mean, thermal.std) == ("count", (28000, 31000), (115.0,), (2.0,))
    assert task.palette[1] == (200, 60, 120)
    assert task.input_policy == InputPolicy(shorter_side=480)
    assert task.label_upsampling == "bicubic"


def test_a_dataset_yaml_is_a_task_by_its_file_and_its_folder(tmp_path):
    contract = {**OWN, "splits": {"train": "train.csv"}, "columns": {"rgb": "image"}}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(contract))
    assert task_named(tmp_path) == task_named(tmp_path / "dataset.yaml") == task_named(written(tmp_path))


def test_hha_is_pictures_unless_a_unit_says_how_to_compute_it(tmp_path):
    stored = written(tmp_path, modalities={"depth": {"encoding": "hha"}})
    assert task_named(stored).modalities[1].encoding == "hha"
    with pytest.raises(TaskFileError, match="hha needs intrinsics"):
        task_named(written(tmp_path, modalities={"depth": {"encoding": "hha", "metres_per_unit": 0.001}}))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nyu-40", r"task is 'nyu-40', and there is none of that name; the nearest names are nyuv2-40"),
        ("own.yaml", r"task is 'own\.yaml', and there is no such file"),
    ],
)
def test_an_unknown_task_is_refused_with_what_there_is(name, complaint):
    with pytest.raises(TaskFileError, match=complaint) as refused:
        task_named(name)
    assert "sunrgbd-37" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"classes": []}, "classes"),
        ({"wings": 2}, "wings"),
        ({"modalities": {"rgb": {"encoding": "raw", "channels": 3}}}, "which every data set has anyway"),
        ({"modalities": {"x": {"encoding": "raw", "channels": 3, "metres_per_unit": 0.1}}}, "depth has one"),
        ({"input_policy": {"multiple_of": 32}}, "without a shorter_side"),
    ],
)
def test_a_file_that_describes_no_task_is_refused_with_its_fields(tmp_path, changes, complaint):
    with pytest.raises(TaskFileError, match=complaint) as refused:
        task_named(written(tmp_path, **changes))
    assert "\n" not in str(refused.value)


def test_tasks_of_older_checkpoints_load_with_native_size():
    values = task_named("nyuv2-13").to_dict()
    for added in ("input_policy", "label_upsampling", "evaluation_protocol"):
        del values[added]
    for modality in values["modalities"]:
        del modality["metres_per_unit"]
    expected = dataclasses.replace(task_named("nyuv2-13"), evaluation_protocol=None)
    assert Task.from_dict(values) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": "metre"},
        {"unit": "metre", "metres_per_unit": -1.0},
        {"metres_per_unit": 0.001},
        {"encoding": "metric", "unit": "count"},
        {"unit": "furlong"},
    ],
)
def test_units_that_do_not_fit_the_encoding_are_refused(wrong):
    fields = {"name": "x", "encoding": "raw", "unit": "count", "range": (0, 9), "mean": (0,), "std": (1,)}
    with pytest.raises(ValueError, match=r"unit of x|metres_per_unit of x"):
        ModalityEncoding(**{**fields, **wrong})


def test_the_command_lists_tasks_and_prints_one_as_an_example():
    listed = CliRunner().invoke(tasks, [], catch_exceptions=False)
    assert listed.exit_code == 0
    for name in task_names():
        assert name in listed.output
    assert "thermal (raw)" in listed.output
    printed = CliRunner().invoke(tasks, ["mfnet-9"], catch_exceptions=False).output
    assert printed == task_text("mfnet-9")
    assert yaml.safe_load(printed)["classes"][1]["name"] == "car"


def test_listed_depth_with_a_unit_stays_raw_in_metres(tmp_path):
    import cv2
    import numpy as np

    for folder, image in (
        ("rgb", np.zeros((4, 6, 3), np.uint8)),
        ("masks", np.zeros((4, 6), np.uint8)),
        ("depth", np.full((4, 6), 3000, np.uint16)),
    ):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), image)
    (tmp_path / "test.txt").write_text("rgb/1.png\tmasks/1.png\tdepth/1.png\n")
    dataset = nyuv2_lists(tmp_path, "test", encoding="raw", metres_per_unit=0.001)
    assert dataset.task == task_named("nyuv2-40", 0.001)
    assert dataset[0].others["depth"] == pytest.approx(3.0)

"""A folder with a `dataset.yaml` that people write by hand, by Excel, or get from strangers; V29."""

import re

import cv2
import numpy as np
import pytest
import yaml
from own_data import METRIC, scene, write_own_data, write_png
from PIL import Image

from geminifusion_model.data.frame_files import UnmappedLabelsError
from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.registry import kind_of, open_dataset, usual_split
from geminifusion_model.data.sample import DatasetError


def refusal(root, split="train", **options):
    with pytest.raises(DatasetError) as caught:
        read_all(root, split, **options)
    return str(caught.value)


def read_all(root, split, **options):
    dataset = open_dataset("folder", root, split, **options)
    return [dataset[index] for index in range(len(dataset))]


class TestLabels:
    def test_the_palettes_that_tools_write_are_indices(self, tmp_path):
        def palette(path, labels):
            image = Image.fromarray(labels, "P")
            image.putpalette([0, 0, 0, 0, 0, 255, 0, 255, 0])
            image.save(path)

        dataset = open_dataset("folder", write_own_data(tmp_path, write_labels=palette), "train")
        np.testing.assert_array_equal(dataset[1].labels, scene(1))

    def test_a_value_without_a_class_is_refused_by_frame_value_and_count(self, tmp_path):
        def stray(path, labels):
            labels[:3, :3] = 7
            write_png(path, labels)

        with pytest.raises(UnmappedLabelsError) as caught:
            open_dataset("folder", write_own_data(tmp_path, write_labels=stray), "train")[2]
        for part in ("frame 2: ", "labels/2.png holds 7 on 9 pixels", "expected 0 to 2, void 255", "labels.map"):
            assert part in str(caught.value)
        assert caught.value.sample.name == "2"


class TestTables:
    def write(self, root, text, encoding="utf-8", **contract):
        splits = {"train": "train.csv"}
        write_own_data(root, splits=splits, **contract)
        (root / "train.csv").write_bytes(text.encode(encoding))
        return root

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("rgb,labels,depth\ntrain/rgb/0.png,train/labels/0.png,train/depth/0.png\n", "utf-8-sig"),
            ("rgb;labels;depth\r\ntrain/rgb/0.png;train/labels/0.png;train/depth/0.png\r\n", "utf-8"),
            ("rgb\tlabels\tdepth\ntrain/rgb/0.png\ttrain/labels/0.png\ttrain/depth/0.png\n\n", "utf-16"),
            ("rgb,labels,depth\ntrain\\rgb\\0.png,train\\labels\\0.png,train\\depth\\0.png\n", "utf-8"),
            ('"labels","rgb","depth","note"\ntrain/labels/0.png,train/rgb/0.png,train/depth/0.png,"a, b"', "utf-8"),
        ],
    )
    def test_what_spreadsheets_save_is_read(self, tmp_path, text, encoding):
        dataset = open_dataset("folder", self.write(tmp_path, text, encoding), "train")
        np.testing.assert_array_equal(dataset[0].labels, scene(0))

    def test_an_encoding_that_is_not_utf8_is_named_with_its_file(self, tmp_path):
        message = refusal(self.write(tmp_path, "rgb,labels,depth\nstraße/0.png,x,y\n", "latin-1"))
        assert re.search(r"train\.csv is not encoded as UTF-8; save it again", message)

    def test_an_empty_cell_means_not_measured(self, tmp_path):
        text = "rgb,labels,depth\ntrain/rgb/0.png,train/labels/0.png,\n"
        text += "train/rgb/1.png,train/labels/1.png,train/depth/1.png"
        dataset = open_dataset("folder", self.write(tmp_path, text), "train")
        assert not dataset[0].others["depth"].any()
        assert dataset[1].others["depth"].all()
        assert "line 2 has no labels" in refusal(self.write(tmp_path, "rgb,labels,depth\ntrain/rgb/0.png,,\n"))

    def test_a_title_that_comes_twice_is_a_question(self, tmp_path):
        message = refusal(self.write(tmp_path, "rgb,labels,labels,depth\na.png,b.png,c.png,d.png\n"))
        assert "several columns called labels" in message

    def test_a_row_of_another_length_is_no_row(self, tmp_path):
        message = refusal(self.write(tmp_path, "rgb,labels,depth\na,b.png,c.png,d.png\n"))
        assert "line 2 has 4 cells; expected 3" in message

    @pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "train/../../x.png"])
    def test_files_outside_the_data_set_are_refused_unless_allowed(self, tmp_path, monkeypatch, path):
        root = self.write(tmp_path / "data", f"rgb,labels,depth\ntrain/rgb/0.png,{path},train/depth/0.png\n")
        message = refusal(root)
        assert "outside the data set" in message
        assert "GEMINIFUSION_DATA_FOLDERS" in message
        monkeypatch.setenv("GEMINIFUSION_DATA_FOLDERS", f"/nowhere:/etc:{tmp_path}")
        assert "outside the data set" not in refusal(root)

    def test_tables_and_folders_themselves_stay_inside_too(self, tmp_path):
        assert "outside the data set" in refusal(write_own_data(tmp_path / "a", splits={"train": "../x.csv"}))
        folders = {"rgb": "../other", "labels": "train/labels", "depth": "train/depth"}
        assert "outside the data set" in refusal(write_own_data(tmp_path / "b", splits={"train": folders}))


class TestFolders:
    def test_other_files_are_passed_over(self, tmp_path):
        root = write_own_data(tmp_path)
        (root / "train" / "rgb" / "0.json").write_text("{}")
        (root / "train" / "labels" / "Thumbs.db").write_bytes(b"x")
        assert len(open_dataset("folder", root, "train")) == 4

    def test_two_images_of_one_stem_are_a_question(self, tmp_path):
        root = write_own_data(tmp_path)
        write_png(root / "train" / "rgb" / "1.webp", np.zeros((64, 96, 3), np.uint8))
        message = refusal(root)
        assert "1.png and 1.webp, and both could be the rgb of frame 1" in message

    def test_stems_that_differ_by_a_rule_are_one_problem_that_names_the_table(self, tmp_path):
        root = write_own_data(tmp_path)
        for path in (root / "train" / "labels").iterdir():
            path.rename(path.with_stem(f"{path.stem}_mask"))
        message = refusal(root)
        assert message.startswith("1 problem")
        assert "share their stem" in message
        assert "data init" in message

    def test_subfolders_are_not_searched_and_it_says_so(self, tmp_path):
        root = write_own_data(tmp_path)
        (root / "train" / "rgb" / "scene").mkdir()
        for path in (root / "train" / "rgb").glob("*.png"):
            path.rename(root / "train" / "rgb" / "scene" / path.name)
        assert "1 subfolders, which are not searched" in refusal(root)

    def test_a_modality_of_another_size_is_resized_if_the_contract_says_so(self, tmp_path):
        small = {"other": lambda labels: 1000 + 1000 * labels[::2, ::2].astype(np.uint16)}
        assert "say align: resize at it in the contract" in refusal(write_own_data(tmp_path, **small))
        write_own_data(tmp_path, modality={**METRIC, "align": "resize"}, **small)
        assert open_dataset("folder", tmp_path, "train")[0].others["depth"].shape == (64, 96)


class TestPictures:
    def test_an_exif_orientation_is_not_applied(self, tmp_path):
        root = write_own_data(tmp_path)
        path = root / "train" / "rgb" / "0.png"
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = 3
        image.save(path.with_suffix(".jpg"), exif=exif, quality=95)
        stored = np.asarray(image)
        path.unlink()
        found = open_dataset("folder", root, "train")[0].rgb
        assert np.abs(found.astype(int) - stored).mean() < 20 < np.abs(found[::-1, ::-1].astype(int) - stored).mean()

    def test_labels_of_a_turned_picture_are_told_by_the_tag(self, tmp_path):
        root = write_own_data(tmp_path, write_labels=lambda path, labels: write_png(path, labels.T.copy()))
        for path in (root / "train" / "rgb").glob("*.png"):
            image = Image.open(path)
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(path.with_suffix(".jpg"), exif=exif)
            path.unlink()
        assert "orientation tag 6, which is not applied" in refusal(root)

    def test_four_channels_in_one_file_are_said_to_need_splitting(self, tmp_path):
        def four(path, _):
            write_png(path, np.zeros((64, 96, 4), np.uint8))

        raw = {"encoding": "raw", "channels": 1}
        message = refusal(write_own_data(tmp_path, name="thermal", modality=raw, write_other=four))
        assert "thermal has 4 channels" in message
        assert "must be split" in message

    @pytest.mark.parametrize("kind", [np.uint16, np.float32])
    def test_more_than_8_bits_under_8_bits_are_refused(self, tmp_path, kind):
        def stored(path, image):
            np.save(path.with_suffix(".npy"), image)

        root = write_own_data(
            tmp_path,
            name="thermal",
            modality={"encoding": "raw", "channels": 1},
            write_other=stored,
            other=lambda labels: (280.0 + labels).astype(kind),
        )
        message = refusal(root)
        assert "say bits: 16, and the range that the sensor measures in (this file has 280 to 282)" in message

    def test_a_format_that_the_service_refuses_is_refused(self, tmp_path):
        root = write_own_data(tmp_path)
        cv2.imwrite(str(root / "train" / "rgb" / "0.bmp"), np.zeros((64, 96, 3), np.uint8))
        (root / "train" / "rgb" / "0.bmp").rename(root / "train" / "rgb" / "0.png")
        assert "is a BMP, which is not read here" in refusal(root)


class TestContract:
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("a: " + "[" * 100_000, "nest"),
            ("a: " + "[" * 40 + "]" * 40, "nested more than 32 deep"),
            ("name: x\nname: y\n", "line 2 has name for the second time"),
            ("- a\n- b\n", "holds no mapping"),
            ("classes: [a\n", "line 2: did not find"),
            ("name: \x00", "cannot be read as YAML"),
            ("name: 2026-99-99", "cannot be read as YAML"),
        ],
    )
    def test_text_that_is_no_contract_is_refused_in_one_sentence(self, tmp_path, text, complaint):
        (tmp_path / "dataset.yaml").write_text(text)
        with pytest.raises(LayoutError, match=complaint) as caught:
            open_dataset("folder", tmp_path, "train")
        assert len(caught.value.problems) == 1
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"classes": ["a", "a"]}, "classes names 'a' twice"),
            ({"classes": ["a", True]}, "a class is called True, which is no text: put its name in quotes"),
            ({"labels": ["a"]}, "labels: expected fields, such as {name: value}, came ['a']"),
            ({"modalities": ["depth"]}, "modalities: expected fields, such as {name: value}, came ['depth']"),
            ({"labels": {"map": {0: "x"}}}, "labels.map names 'x'"),
            ({"modalities": {"nir": {"encoding": "raw"}}}, "modalities names 'nir'; networks know depth, thermal"),
        ],
    )
    def test_fields_that_contradict_each_other_are_named(self, tmp_path, changes, complaint):
        splits = {"train": "train.csv"}
        assert complaint in refusal(write_own_data(tmp_path, splits=splits, **changes))


@pytest.mark.parametrize("encoding", ["metric", "inverse", "log", "raw"])
def test_depth_without_a_unit_is_refused_before_a_file_is_read(tmp_path, encoding):
    modality = {name: value for name, value in METRIC.items() if name != "metres_per_unit"} | {"encoding": encoding}
    if encoding == "raw":
        modality = {"encoding": "raw"}
    root = write_own_data(tmp_path, modality=modality, other=lambda labels: 60 + 60 * labels)
    with pytest.raises(
        LayoutError, match=r"modalities\.depth.*metres_per_unit: it is missing: say how many metres one"
    ):
        open_dataset("folder", root, "train")


def test_classes_may_be_numbered_as_other_tools_do(tmp_path):
    root = write_own_data(tmp_path)
    contract = yaml.safe_load((root / "dataset.yaml").read_text())
    (root / "dataset.yaml").write_text(yaml.safe_dump({**contract, "classes": {0: "x", 2: "z", 1: "y"}}))
    assert open_dataset("folder", root, "train").task.class_names == ("x", "y", "z")


def test_the_layout_is_told_by_the_contract(tmp_path):
    with pytest.raises(DatasetError, match="data init"):
        kind_of(tmp_path)
    (tmp_path / "train.txt").write_text("")
    assert kind_of(tmp_path) == "nyuv2"
    write_own_data(tmp_path)
    assert kind_of(tmp_path) == "folder"
    assert kind_of(tmp_path, "deliver") == "deliver"
    assert usual_split("folder", tmp_path) == "test"

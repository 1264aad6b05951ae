"""`geminifusion data init`: what it proposes for folders as people have them opens and trains as proposed."""

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from own_data import scene
from PIL import Image

from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data_commands import data


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def photograph(number):
    noise = np.random.default_rng(number).integers(0, 60, (64, 96, 3))
    return (scene(number % 4)[..., None] * 80 + noise).astype(np.uint8)


def palette(labels):
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 0, 0, 255, 0, 255, 0])
    return image


def init(root, *options):
    return CliRunner().invoke(data, ["init", str(root), *options], catch_exceptions=False)


def proposed(root):
    result = init(root)
    assert result.exit_code == 0, result.output
    return result.output, yaml.safe_load((root / "dataset.yaml").read_text())


def check(root):
    return CliRunner().invoke(data, ["check", str(root), "--limit", "3"], catch_exceptions=False)


def thermal_camera(root, frames=10):
    for number in range(frames):
        name = f"FLIR_{number:05d}"
        save(root / "Visible" / f"{name}_RGB.JPG", photograph(number))
        save(root / "LWIR" / f"{name}_PreviewData.tiff", (60 + 50 * scene(number % 4)).astype(np.uint8))
        save(root / "Annotations" / "SegmentationClass" / f"{name}_RGB.png", palette(scene(number % 4)))
    return root


def test_pairs_of_different_names_get_a_table(tmp_path):
    output, contract = proposed(thermal_camera(tmp_path))
    assert "thermal is paired with rgb by the numbers in their names" in output
    assert "the last 2 of 10 are" in output
    assert contract["modalities"]["thermal"]["channels"] == 1
    assert contract["classes"][1] == {"name": "class_1", "color": [0, 0, 255]}
    frames = open_dataset("folder", tmp_path, "train")
    assert len(frames) == 8
    np.testing.assert_array_equal(frames[5].labels, scene(1))
    assert frames[5].others["thermal"].max() == 160
    assert len(open_dataset("folder", tmp_path, "test")) == 2


def test_splits_and_scenes_in_folders_are_kept(tmp_path):
    for split, scenes in (("train", ("hall", "yard")), ("val", ("roof",))):
        for place in scenes:
            for number in range(3):
                save(tmp_path / "images" / split / place / f"{number}.png", photograph(number))
                save(tmp_path / "labels" / split / place / f"{number}.png", scene(number))
                depth = 1500 + 1000 * scene(number).astype(np.uint16)
                save(tmp_path / "depth" / split / place / f"{number}.png", depth)
    output, contract = proposed(tmp_path)
    assert contract["splits"] == {"train": "train.csv", "val": "val.csv"}
    assert contract["modalities"]["depth"]["metres_per_unit"] == 0.001
    assert "depth is guessed to have 0.001 m per stored unit: its median is then 2.50 m" in output
    frames = open_dataset("folder", tmp_path, "train")
    assert [name.split("/")[-2] for name in frames.names] == ["hall"] * 3 + ["yard"] * 3


def test_files_of_one_folder_are_told_by_the_word_in_their_names(tmp_path):
    for number in range(5):
        save(tmp_path / f"{number}_rgb.png", photograph(number))
        save(tmp_path / f"{number}_mask.png", ((scene(number % 4) == 2) * 255).astype(np.uint8))
    _, contract = proposed(tmp_path)
    assert contract["labels"] == {"map": {0: "background", 255: "foreground"}}
    assert "modalities" not in contract
    assert np.unique(open_dataset("folder", tmp_path, "train")[1].labels).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("stored", "labels"),
    [
        ((1, 2, 3), {"offset": -1, "void": []}),
        ((0, 1, 255), {"map": {0: "background", 1: "foreground"}, "void": [255]}),
        ((0, 7, 24), {"map": {0: "class_0", 7: "class_7", 24: "class_24"}}),
    ],
)
def test_the_values_seen_decide_the_section_labels(tmp_path, stored, labels):
    for number in range(4):
        save(tmp_path / "rgb" / f"{number}.png", photograph(number))
        save(tmp_path / "labels" / f"{number}.png", np.array(stored, np.uint8)[scene(number)])
    output, contract = proposed(tmp_path)
    found = contract["labels"]
    # 0 and 1 with void need no map
    assert found == labels or (255 in stored and found == {"void": [255]})
    assert f"label values seen in 4 of 4 files: {stored[0]} (" in output


def test_colors_become_a_table_of_colors(tmp_path):
    (tmp_path / "classes.txt").write_text("road\nwall\ntree\n")
    for number in range(4):
        save(tmp_path / "rgb" / f"{number}.png", photograph(number))
        save(tmp_path / "labels" / f"{number}.png", palette(scene(number)).convert("RGB"))
    _, contract = proposed(tmp_path)
    assert set(contract["labels"]["colors"]) == {"#000000", "#0000ff", "#00ff00"}
    assert sorted(contract["labels"]["colors"].values()) == ["road", "tree", "wall"]


def test_sixteen_bits_of_a_thermal_camera_get_their_range(tmp_path):
    for number in range(4):
        save(tmp_path / "rgb" / f"{number}.png", photograph(number))
        save(tmp_path / "labels" / f"{number}.png", scene(number))
        save(tmp_path / "thermal" / f"{number}.png", (28000 + 900 * scene(number).astype(np.uint16)))
    _, contract = proposed(tmp_path)
    thermal = contract["modalities"]["thermal"]
    assert thermal["bits"] == 16
    assert thermal["range"][0] < 28000 < 29800 < thermal["range"][1]
    assert "0 errors" in check(tmp_path).output


def test_depth_of_8_bits_is_proposed_with_a_place_for_its_unit(tmp_path):
    for number in range(4):
        save(tmp_path / "rgb" / f"{number}.png", photograph(number))
        save(tmp_path / "labels" / f"{number}.png", scene(number))
        save(tmp_path / "depth" / f"{number}.png", (60 + 60 * scene(number)).astype(np.uint8))
    output, contract = proposed(tmp_path)
    assert "depth has 8 bits, whose unit cannot be told" in output
    assert contract["modalities"]["depth"]["metres_per_unit"] == "ask"
    assert "# write metres per stored unit instead of ask" in (tmp_path / "dataset.yaml").read_text()
    assert open_dataset("folder", tmp_path, "train").task.modalities[1].unit == "intensity"
    stated = (tmp_path / "dataset.yaml").read_text().replace("metres_per_unit: ask", "metres_per_unit: 0.0392")
    (tmp_path / "dataset.yaml").write_text(stated)
    (depth,) = open_dataset("folder", tmp_path, "train").task.modalities[1:]
    assert (depth.unit, depth.metres_per_unit) == ("metre", 0.0392)


def test_nothing_is_overwritten_and_printing_writes_nothing(tmp_path):
    thermal_camera(tmp_path)
    assert "nothing was written" in init(tmp_path, "--print").output
    assert not (tmp_path / "dataset.yaml").exists()
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(DatasetError, match=r"train\.csv exists"):
        init(tmp_path)
    (tmp_path / "train.csv").unlink()
    init(tmp_path)
    with pytest.raises(DatasetError, match=r"dataset\.yaml exists"):
        init(tmp_path)


def test_masks_that_were_compressed_or_smoothed_are_not_taken_for_classes(tmp_path):
    mask = Image.fromarray(((scene(1) == 2) * 255).astype(np.uint8))
    for root, suffix in ((tmp_path / "jpg", "jpg"), (tmp_path / "png", "png")):
        for number in range(3):
            save(root / "rgb" / f"{number}.png", photograph(number))
            save(root / "labels" / f"{number}.{suffix}", mask.rotate(11 * number, Image.Resampling.BICUBIC))
    with pytest.raises(DatasetError, match="write labels as PNG"):
        init(tmp_path / "jpg")
    with pytest.raises(DatasetError, match="with gaps, as smoothed or resized masks do"):
        init(tmp_path / "png")


def test_a_folder_without_labels_or_pairs_says_what_is_missing(tmp_path):
    with pytest.raises(DatasetError, match="no rgb images were found"):
        init(tmp_path)
    save(tmp_path / "rgb" / "a.png", photograph(0))
    with pytest.raises(DatasetError, match=r"no labels images were found \(1 rgb\)"):
        init(tmp_path)
    save(tmp_path / "labels" / "x.png", scene(0))
    save(tmp_path / "labels" / "y.png", scene(0))
    with pytest.raises(DatasetError, match="nothing in the names pairs"):
        init(tmp_path)


def write_published_layout(root, layout):
    """Frames of two splits, laid out and named as a published data set has them."""
    for split in ("train", "val"):
        for number in range(3):
            rgb, labels = photograph(number), scene(number)
            colored = np.array([[128, 64, 128], [70, 70, 70], [107, 142, 35]], np.uint8)[labels]
            match layout:
                case "cityscapes":
                    stem = f"ulm_{number:06d}_000019"
                    save(root / "leftImg8bit" / split / "ulm" / f"{stem}_leftImg8bit.png", rgb)
                    folder = root / "gtFine" / split / "ulm"
                    save(folder / f"{stem}_gtFine_labelIds.png", labels)
                    save(folder / f"{stem}_gtFine_instanceIds.png", labels.astype(np.uint16))
                    save(folder / f"{stem}_gtFine_color.png", colored)
                case "camvid":
                    save(root / split / f"{number}.png", rgb)
                    save(root / f"{split}annot" / f"{number}.png", labels)
                case "kitti":
                    save(root / split / "image_2" / f"{number:06d}_10.png", rgb)
                    save(root / split / "semantic" / f"{number:06d}_10.png", labels)
                    save(root / split / "semantic_rgb" / f"{number:06d}_10.png", colored)
                case "voc":
                    save(root / "JPEGImages" / f"{split}_{number}.jpg", rgb)
                    save(root / "SegmentationClass" / f"{split}_{number}.png", palette(labels))
                    save(root / "SegmentationObject" / f"{split}_{number}.png", palette(labels * 2))
                case "nyu":
                    save(root / split / f"{number}_colors.png", rgb)
                    save(root / split / f"{number}_labels.png", labels)
                    save(root / split / f"{number}_depth.png", (1500 + 1000 * labels.astype(np.uint16)))


@pytest.mark.parametrize("layout", ["cityscapes", "camvid", "kitti", "voc", "nyu"])
def test_published_layouts_are_understood(tmp_path, layout):
    write_published_layout(tmp_path, layout)
    output, contract = proposed(tmp_path)
    assert len(contract["classes"]) == 3, output
    train = open_dataset("folder", tmp_path, "train")
    if layout == "voc":  # whose splits are in lists
        assert len(train) == 5
    else:
        assert set(contract["splits"]) == {"train", "val"}
        assert len(train) == 3
    np.testing.assert_array_equal(train[1].labels, scene(1))
    assert list(train[1].others) == (["depth"] if layout == "nyu" else [])

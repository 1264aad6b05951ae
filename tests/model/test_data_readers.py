import cv2
import numpy as np
import pytest
import yaml

from geminifusion_model.data.deliver import CLASSES, deliver
from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.loader import collate
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError

SIZE = (40, 56)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def rgb(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def labels(values):
    """Vertical stripes of the given values."""
    stripes = np.array(values, np.uint8)[np.arange(SIZE[1]) * len(values) // SIZE[1]]
    return np.tile(stripes, (SIZE[0], 1))


def ramp(top=6000, dtype=np.uint16):
    return np.tile(np.linspace(top / 10, top, SIZE[1]), (SIZE[0], 1)).astype(dtype)


class TestAuthorsLists:
    def write_nyu(self, root, split="train"):
        lines = []
        for number in (3, 5):
            name = f"{number:06d}.png"
            write(root / "rgb" / name, rgb(number))
            write(root / "masks" / name, labels([0, 39, 255]))
            write(root / "depth" / name, ramp())
            lines.append(f"rgb/{name}\tmasks/{name}\tdepth/{name}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
        return root

    def test_nyu_masks_are_used_as_they_are_and_depth_is_raw_by_default(self, tmp_path):
        dataset = open_dataset("nyuv2-lists", self.write_nyu(tmp_path), "train", num_classes=40)
        assert len(dataset) == 2
        sample = dataset[0]
        assert sample.name == "000003"
        assert np.unique(sample.labels).tolist() == [0, 39, 255]
        np.testing.assert_array_equal(sample.rgb[..., ::-1], rgb(3))
        np.testing.assert_array_equal(sample.others["depth"], ramp().astype(np.float32))
        # the original's arithmetic: value / 255 in three equal channels, unclipped
        depth = collate([sample], dataset.task).inputs[1]
        np.testing.assert_allclose(depth[0, 2].numpy(), ramp() / 255, rtol=1e-6)

    def test_a_given_unit_makes_metres_of_it(self, tmp_path):
        dataset = open_dataset("nyuv2-lists", self.write_nyu(tmp_path), "train", metres_per_unit=1 / 5000)
        np.testing.assert_allclose(dataset[0].others["depth"], ramp() / 5000, rtol=1e-6)
        assert dataset.task.modalities[1].unit == "metre"

    def test_a_list_with_a_byte_order_mark_is_read_and_another_encoding_named_with_its_file(self, tmp_path):
        root = self.write_nyu(tmp_path)
        text = (root / "train.txt").read_text()
        (root / "train.txt").write_text(text, encoding="utf-8-sig")
        assert len(open_dataset("nyuv2-lists", root, "train")) == 2
        (root / "train.txt").write_text(text + "ü", encoding="latin-1")
        with pytest.raises(LayoutError, match=r"train\.txt is not encoded as UTF-8"):
            open_dataset("nyuv2-lists", root, "train")

    def test_metric_encoding_without_a_unit_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="needs metres_per_unit"):
            open_dataset("nyuv2-lists", self.write_nyu(tmp_path), "train", encoding="log")

    def test_the_test_split_may_be_called_val(self, tmp_path):
        assert len(open_dataset("nyuv2-lists", self.write_nyu(tmp_path, "val"), "test")) == 2

    def test_every_problem_of_a_list_is_in_one_report(self, tmp_path):
        root = self.write_nyu(tmp_path)
        (root / "depth" / "000003.png").unlink()
        (root / "masks" / "000005.png").unlink()
        with (root / "train.txt").open("a") as stream:
            stream.write("rgb/000007.png masks/000007.png\nrgb/000003.png\tmasks/000003.png\tdepth/000003.png\n")
        with pytest.raises(LayoutError) as caught:
            open_dataset("nyuv2-lists", root, "train")
        report = str(caught.value)
        for part in (
            "depth/000003.png is missing",
            "masks/000005.png is missing",
            "line 3 has 2 columns",
            "twice",
        ):
            assert part in report

    def test_sun_labels_lose_one_and_zero_is_ignored(self, tmp_path):
        write(tmp_path / "RGB" / "train_0.jpg", rgb())
        write(tmp_path / "labels" / "train_0.png", labels([0, 1, 37]))
        write(tmp_path / "Depth" / "train_0.png", ramp(255, np.uint8))
        (tmp_path / "train.txt").write_text("RGB/train_0.jpg\tlabels/train_0.png\tDepth/train_0.png\n")
        (tmp_path / "test.txt").write_text("RGB/train_0.jpg labels/train_0.png\n")
        for split in ("train", "test"):
            dataset = open_dataset("sunrgbd", tmp_path, split, num_classes=37)
            assert np.unique(dataset[0].labels).tolist() == [0, 36, 255]
            np.testing.assert_array_equal(dataset[0].others["depth"], ramp(255, np.uint8))
        assert dataset.task.class_names[0] == "wall"
        assert dataset.task.class_names[36] == "bag"


class TestDeliver:
    def write(self, root):
        for condition, place, name in (
            ("cloud", "MAP_1_point2", "001_rgb_front.png"),
            ("fog", "MAP_1_point2", "001_rgb_front.png"),
            ("fog", "MAP_2_point3_motionblur", "009_rgb_front.png"),
        ):
            for folder, kind, image in (
                ("img", "rgb", rgb()),
                ("hha", "depth", rgb(1)),
                ("event", "event", rgb(2)[::2, ::2]),
                ("lidar", "lidar", rgb(3)[..., 0]),
                ("semantic", "semantic", np.dstack([labels([9]), labels([9]), labels([0, 1, 25, 255])])),
            ):
                write(root / folder / condition / "val" / place / name.replace("rgb", kind), image)
        return root

    def test_all_modalities_are_images_of_three_channels_at_the_size_of_the_rgb(self, tmp_path):
        dataset = deliver(self.write(tmp_path), "val", modalities=("rgb", "depth", "event", "lidar"))
        sample = dataset[0]
        assert len(dataset) == 3
        assert sample.name == "cloud/val/MAP_1_point2/001_rgb_front"
        np.testing.assert_array_equal(sample.others["depth"][..., ::-1], rgb(1))
        assert sample.others["event"].shape == (*SIZE, 3)
        np.testing.assert_array_equal(sample.others["event"][::2, ::2, ::-1], rgb(2)[::2, ::2])
        np.testing.assert_array_equal(sample.others["lidar"][..., 1], rgb(3)[..., 0])
        assert [tuple(x.shape) for x in collate([sample], dataset.task).inputs] == [(1, 3, *SIZE)] * 4

    def test_stored_zero_and_255_are_ignored_and_classes_start_at_one(self, tmp_path):
        dataset = deliver(self.write(tmp_path), "val")
        assert np.unique(dataset[0].labels).tolist() == [0, 24, 255]
        assert len(CLASSES) == 25

    def test_a_condition_or_a_corner_case_selects_frames(self, tmp_path):
        root = self.write(tmp_path)
        assert len(deliver(root, "val/fog")) == 2
        assert deliver(root, "val/motionblur").names == ["fog/val/MAP_2_point3_motionblur/009_rgb_front"]
        with pytest.raises(LayoutError, match="matches 3 files, val/night none"):
            deliver(root, "val/night")
        with pytest.raises(DatasetError, match="with a case"):
            open_dataset("deliver", root, "val/snow")

    def test_missing_counterparts_of_an_image_are_all_named(self, tmp_path):
        root = self.write(tmp_path)
        (root / "event" / "cloud" / "val" / "MAP_1_point2" / "001_event_front.png").unlink()
        (root / "semantic" / "fog" / "val" / "MAP_1_point2" / "001_semantic_front.png").unlink()
        with pytest.raises(LayoutError, match="2 problems"):
            deliver(root, "val", modalities=("rgb", "event"))
        assert len(deliver(root, "val/motionblur", modalities=("rgb", "event"))) == 1

    def test_unknown_modalities_are_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="expected rgb, then any of depth, event, lidar"):
            open_dataset("deliver", tmp_path, "val", modalities=("rgb", "sound"))


CONTRACT = {
    "name": "robot",
    "license": "CC0-1.0",
    "classes": ["floor", {"name": "wall", "color": [1, 2, 3]}],
    "labels": {"offset": -1, "void": [0]},
    "modalities": {
        "depth": {
            "encoding": "metric",
            "metres_per_unit": 0.01,
            "range": [0.2, 9],
            "mean": 3,
            "std": 1.5,
        },
        "thermal": {"encoding": "raw", "channels": 1},
    },
    "splits": {
        "train": "train.csv",
        "test": {role: f"test/{role}" for role in ("rgb", "labels", "depth", "thermal")},
    },
    "columns": {"rgb": "image"},
}


class TestFolder:
    def write(self, root, **changes):
        for folder in ("a", "test"):
            write(root / folder / "rgb" / "1.png", rgb())
            write(root / folder / "labels" / "1.png", labels([0, 1, 2]))
            write(root / folder / "thermal" / "1.png", rgb()[..., 0])
            (root / folder / "depth").mkdir()
            np.save(root / folder / "depth" / "1.npy", ramp(600))
        (root / "train.csv").write_text("image,labels,depth,thermal\n" + "a/rgb/1.png,a/labels/1.png,")
        with (root / "train.csv").open("a") as stream:
            stream.write("a/depth/1.npy,a/thermal/1.png\n")
        (root / "dataset.yaml").write_text(yaml.safe_dump({**CONTRACT, **changes}))
        return root

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_tables_and_folders_read_the_same_frames(self, tmp_path, split):
        dataset = open_dataset("folder", self.write(tmp_path), split, modalities=("rgb", "depth", "thermal"))
        sample = dataset[0]
        np.testing.assert_allclose(sample.others["depth"], ramp(600) * 0.01, rtol=1e-6)
        np.testing.assert_array_equal(sample.others["thermal"], rgb()[..., 0])
        assert np.unique(sample.labels).tolist() == [0, 1, 255]
        assert dataset.task.class_names == ("floor", "wall")
        assert dataset.task.palette[1] == (1, 2, 3)
        assert dataset.task.data_license == "CC0-1.0"

    def test_hha_is_computed_from_the_intrinsics(self, tmp_path):
        modalities = {"depth": {**CONTRACT["modalities"]["depth"], "encoding": "hha"}}
        camera = {"fx": 50.0, "fy": 50.0, "cx": 28.0, "cy": 20.0}
        splits = {"train": "train.csv"}
        root = self.write(tmp_path, modalities=modalities, splits=splits, intrinsics=camera)
        dataset = open_dataset("folder", root, "train", encoding="hha")
        assert dataset[0].others["depth"].shape == (*SIZE, 3)
        assert dataset.task.modalities[1].encoding == "hha"

    def test_every_wrong_field_of_the_contract_is_named(self, tmp_path):
        bad = {"depth": {"encoding": "metric", "range": [0, 9], "mean": 3, "std": -1}}
        with pytest.raises(LayoutError) as caught:
            open_dataset("folder", self.write(tmp_path, modalities=bad, klasses=3), "train")
        for part in ("metres_per_unit: it is missing: say how many metres", "range", "std", "klasses"):
            assert part in str(caught.value)

    def test_hha_without_intrinsics_is_refused(self, tmp_path):
        modalities = {"depth": {**CONTRACT["modalities"]["depth"], "encoding": "hha"}}
        with pytest.raises(LayoutError, match="hha needs intrinsics"):
            open_dataset("folder", self.write(tmp_path, modalities=modalities, splits={"train": "train.csv"}), "train")

    def test_problems_of_tables_and_folders_are_collected(self, tmp_path):
        root = self.write(tmp_path)
        with (root / "train.csv").open("a") as stream:
            stream.write("a/rgb/1.png,,a/depth/1.npy,a/thermal/1.png\na/rgb/2.png,a/labels/1.png,x.npy,y.png\n")
        with pytest.raises(LayoutError) as caught:
            open_dataset("folder", root, "train")
        for part in (
            "line 3 has no labels",
            "a/rgb/2.png is missing",
            "x.npy is missing",
            "y.png is missing",
        ):
            assert part in str(caught.value)
        (root / "test" / "depth" / "1.npy").unlink()
        with pytest.raises(LayoutError, match=r"the folder of depth\) is empty"):
            open_dataset("folder", root, "test")
        (root / "train.csv").write_text("rgb,labels\n")
        with pytest.raises(LayoutError, match="expected also image, depth, thermal"):
            open_dataset("folder", root, "train")

    def test_missing_contract_and_unknown_split_say_what_to_do(self, tmp_path):
        with pytest.raises(LayoutError, match=r"dataset\.yaml is missing"):
            open_dataset("folder", tmp_path, "train")
        with pytest.raises(LayoutError, match="yaml names test, train"):
            open_dataset("folder", self.write(tmp_path), "valid")

    def test_images_of_different_size_in_one_frame_are_refused(self, tmp_path):
        root = self.write(tmp_path)
        write(root / "a" / "thermal" / "1.png", rgb()[::2, :, 0])
        with pytest.raises(DatasetError, match="thermal 56x20, labels 56x40; expected one size"):
            open_dataset("folder", root, "train")[0]


def test_unknown_kinds_and_unfitting_arguments_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="the kinds are nyuv2, nyuv2-lists"):
        open_dataset("coco", tmp_path, "train")
    with pytest.raises(DatasetError, match="leave metres_per_unit out"):
        open_dataset("folder", tmp_path, "train", metres_per_unit=0.001)
    with pytest.raises(DatasetError, match="expected one of metric"):
        open_dataset("nyuv2", tmp_path, "train", encoding="jet")
    with pytest.raises(DatasetError, match="13 and 39"):
        open_dataset("nyuv2", tmp_path, "train", num_classes=40)

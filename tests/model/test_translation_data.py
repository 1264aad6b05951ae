"""Aligned views from folders, Taskonomy, RGB-D frames and rooms; and what is refused before anything is read."""

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.nyuv2 import NYU_CAMERA
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.data_commands import data as data_command
from geminifusion_model.translation.aligned_folder import is_aligned_folder, splits_of_folder, write_aligned
from geminifusion_model.translation.dataset import (
    TranslationDataset,
    layout_of,
    open_views,
    translation_batches,
    usual_translation_split,
)
from geminifusion_model.translation.domains import FRAME_DOMAINS, DomainError
from geminifusion_model.translation.frame_views import FrameViews, RoomViews, assumed_camera, camera_of_dataset
from geminifusion_model.translation.layouts import ALIGNED, TASKONOMY
from geminifusion_model.translation.taskonomy import taskonomy
from geminifusion_model.translation.transforms import TranslationAugmentation
from geminifusion_model.translation.views import View

NAMES = tuple(FRAME_DOMAINS)
SIZE = (48, 64)


@pytest.fixture(scope="module")
def rooms():
    return RoomViews(Rooms(4, 7, SIZE), 1, 3)


@pytest.fixture(scope="module")
def folder(rooms, tmp_path_factory):
    root = tmp_path_factory.mktemp("aligned")
    write_aligned(rooms, root, "train", NAMES)
    return root


def samples(views, inputs=("rgb", "edge_occlusion"), target="depth", size=(32, 64), **how):
    return TranslationDataset(views, inputs=inputs, target=target, size=size, **how)


def test_rooms_have_every_domain(rooms):
    assert len(rooms) == 3
    view = rooms.read(0, NAMES)
    assert view.name == "room-7-000001"
    for name, image in view.images.items():
        assert image.dtype == np.float32
        assert image.shape == (*SIZE, 3) if FRAME_DOMAINS[name].channels == 3 else image.shape == SIZE
        assert np.abs(image).max() <= 1
        assert view.measured[name].all()
        assert image.std() > 0.01


def test_a_written_folder_is_read_back(rooms, folder):
    views = open_views(layout_of(folder), folder, "train", NAMES)
    assert (layout_of(folder), usual_translation_split(ALIGNED, folder)) == (ALIGNED, "train")
    assert (len(views), views.data, views.data_license) == (3, rooms.data, rooms.data_license)
    for index in range(3):
        ours, theirs = views.read(index, NAMES), rooms.read(index, NAMES)
        for name in NAMES:
            np.testing.assert_allclose(ours.images[name], theirs.images[name], atol=1.01 / 255)
    assert np.abs(ours.images["depth"] - theirs.images["depth"]).max() < 0.002  # millimetres


def test_unmeasured_depth_and_normals_survive_a_folder(tmp_path):
    class Holed:
        data, data_license, domains, counts_unmeasured = "holed", "none", FRAME_DOMAINS, False

        def __len__(self):
            return 1

        def read(self, index, names):
            view = RoomViews(Rooms(1, 3, SIZE)).read(0, names)
            for name in ("depth", "normal"):
                view.images[name][:10] = 0
            masks = dict(view.measured)
            masks["depth"] = masks["normal"] = np.arange(SIZE[0])[:, None].repeat(SIZE[1], 1) >= 10
            return View(view.name, view.images, masks)

    write_aligned(Holed(), tmp_path, "test", ("depth", "normal"))
    view = open_views(ALIGNED, tmp_path, "test", ("depth", "normal")).read(0, ("depth", "normal"))
    for name in ("depth", "normal"):
        assert not view.measured[name][:10].any()
        assert view.measured[name][10:].all()
        assert (view.images[name][:10] == 0).all()
    sample = samples(open_views(ALIGNED, tmp_path, "test", ("depth", "normal")), ("normal",), "depth", (32, 32))[0]
    assert sample.counted.mean() == pytest.approx(1 - 10 / 48, abs=0.03)
    assert (sample.counted == sample.measured).all()


def test_a_split_is_written_once(rooms, folder):
    with pytest.raises(DatasetError, match="exists already"):
        write_aligned(rooms, folder, "train", NAMES)


def test_a_write_that_was_cut_short_leaves_no_split_and_nothing_to_the_next(rooms, tmp_path):
    def stop(views):
        if views == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aligned(rooms, tmp_path, "train", NAMES, on_view=stop)
    assert not is_aligned_folder(tmp_path)
    assert splits_of_folder(tmp_path) == ()
    write_aligned(RoomViews(Rooms(4, 7, SIZE), 0, 1), tmp_path, "train", ("rgb", "depth"))
    assert splits_of_folder(tmp_path) == ("train",)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["depth", "rgb"]
    assert len(open_views(ALIGNED, tmp_path, "train", ("rgb", "depth"))) == 1


def test_samples_are_three_channels_in_range(rooms):
    sample = samples(rooms)[0]
    for image in (*sample.inputs, sample.target):
        assert image.shape == (3, 32, 64)
        assert image.dtype == np.float32
        assert np.abs(image).max() <= 1
    assert (sample.target[0] == sample.target[2]).all()
    assert sample.counted.all()


def test_variations_depend_on_seed_epoch_and_index_alone(rooms):
    views = samples(rooms, augmentation=TranslationAugmentation())
    first = views.variation(1, seed=3, epoch=5)
    views.variation(0, seed=3, epoch=5)
    again = views.variation(1, seed=3, epoch=5)
    assert all(np.array_equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))
    others = [views.variation(1, seed=seed, epoch=epoch) for seed, epoch in ((4, 5), (3, 6))]
    assert not any(np.array_equal(first.target, other.target) for other in others)


def test_all_images_of_a_variation_show_the_same_place():
    class Ramp:
        data, data_license, domains, counts_unmeasured = "ramp", "none", FRAME_DOMAINS, False

        def __len__(self):
            return 1

        def read(self, index, names):
            ramp = np.linspace(-1, 1, 64, dtype=np.float32)[None].repeat(64, 0) * np.linspace(0.2, 1, 64)[:, None]
            image = ramp.astype(np.float32)
            images = {"rgb": image[..., None].repeat(3, 2), "depth": image, "shade": image}
            everywhere = np.ones((64, 64), bool)
            return View("ramp", images, dict.fromkeys(names, everywhere))

    views = samples(Ramp(), ("rgb", "shade"), "depth", (32, 32), augmentation=TranslationAugmentation(enlarged=1.5))
    for epoch in range(8):
        found = views.variation(0, seed=0, epoch=epoch)
        np.testing.assert_array_equal(found.inputs[0], found.target)
        np.testing.assert_array_equal(found.inputs[1], found.target)


def test_batches_resume_at_any_step(rooms):
    views = samples(rooms, augmentation=TranslationAugmentation())

    def targets(first):
        batches = translation_batches(views, batch_size=2, seed=1, first_step=first, last_step=5, workers=1)
        return [batch.target for batch in batches]

    assert all(torch.equal(a, b) for a, b in zip(targets(0)[2:], targets(2), strict=True))


def test_frames_of_a_known_data_set_have_all_domains(tmp_path):
    done = CliRunner().invoke(
        data_command, ["rooms", str(tmp_path / "r"), "--train", "2", "--test", "1", "--height", "48", "--width", "64"]
    )
    assert done.exit_code == 0, done.output
    views = open_views("nyuv2", tmp_path / "r", "train", NAMES)
    assert len(views) == 2
    view = views.read(0, NAMES)
    assert set(view.images) == set(NAMES)
    assert view.measured["normal"].mean() > 0.5
    # depth need not be there for what is computed from the photograph
    for path in (tmp_path / "r" / "depth").iterdir():
        path.unlink()
    assert len(open_views("nyuv2", tmp_path / "r", "train", ("rgb", "edge_texture"))) == 2
    with pytest.raises(LayoutError, match="depth of frame"):
        open_views("nyuv2", tmp_path / "r", "train", ("rgb", "normal"))


def test_commands_write_folders_of_domains(tmp_path):
    small = ["--train", "2", "--test", "1", "--height", "32", "--width", "64"]
    runner = CliRunner()
    for command in (
        ["rooms", str(tmp_path / "exact"), "--aligned", *small],
        ["rooms", str(tmp_path / "frames"), *small],
        ["domains", str(tmp_path / "frames"), str(tmp_path / "computed"), "--limit", "1"],
    ):
        done = runner.invoke(data_command, command)
        assert done.exit_code == 0, done.output
    for name, counts in (("exact", (2, 1)), ("computed", (1, 1))):
        found = tuple(len(open_views(ALIGNED, tmp_path / name, split, NAMES)) for split in ("train", "test"))
        assert found == counts


def test_no_split_is_written_where_another_exists(tmp_path):
    (tmp_path / "test" / "rgb").mkdir(parents=True)
    done = CliRunner().invoke(data_command, ["rooms", str(tmp_path), "--aligned", "--train", "1", "--test", "1"])
    assert isinstance(done.exception, DatasetError)
    assert "test exists already" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_cameras():
    assert camera_of_dataset("nyuv2", ".")((480, 640)) == NYU_CAMERA
    assert camera_of_dataset("nyuv2", ".")((240, 320)).fx == pytest.approx(NYU_CAMERA.fx / 2)
    assert camera_of_dataset("deliver", ".")((100, 200)) == assumed_camera((100, 200))
    assert assumed_camera((100, 200)).cx == 99.5


def test_depth_without_a_unit_is_refused(tmp_path):
    for folder in ("RGB", "labels", "Depth"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train.txt").write_text("RGB/a.jpg\tlabels/a.png\tDepth/a.png\n")
    cv2.imwrite(str(tmp_path / "RGB/a.jpg"), np.zeros((40, 40, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "labels/a.png"), np.ones((40, 40), np.uint8))
    cv2.imwrite(str(tmp_path / "Depth/a.png"), np.full((40, 40), 2000, np.uint16))
    with pytest.raises(DatasetError, match="--metres-per-unit"):
        open_views("sunrgbd", tmp_path, "train", ("rgb", "depth"))
    views = open_views("sunrgbd", tmp_path, "train", ("rgb", "depth"), metres_per_unit=0.001)
    np.testing.assert_allclose(FRAME_DOMAINS["depth"].decoded(views.read(0, ("depth",)).images["depth"]), 2, rtol=1e-5)
    frames = FrameViews(open_dataset("sunrgbd", tmp_path, "train", modalities=("rgb",)), assumed_camera)
    assert set(frames.domains) == {"rgb", "edge_texture"}


# Taskonomy


def write_view(root, domain, point, view, image, building=""):
    path = root / domain / building / f"point_{point}_view_{view}_domain_{domain}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def building(tmp_path):
    rng = np.random.default_rng(0)
    for point in range(12):
        for view in range(2):
            write_view(tmp_path, "rgb", point, view, rng.integers(0, 256, (40, 40, 3), np.uint8))
            write_view(tmp_path, "edge_texture", point, view, rng.integers(0, 11000, (40, 40), np.uint16))
            depth = np.full((40, 40), 1024, np.uint16)
            depth[:20] = 65535
            write_view(tmp_path, "depth_zbuffer", point, view, depth)
    return tmp_path


PAIR = ("rgb", "edge_texture", "depth_zbuffer")


def test_taskonomy_without_lists_keeps_points_apart(building):
    assert (layout_of(building), usual_translation_split(TASKONOMY, building)) == (TASKONOMY, "test")
    train, test = (taskonomy(building, split, PAIR) for split in ("train", "test"))
    points = [{file.name.split("_")[1] for file in views.files} for views in (train, test)]
    assert not points[0] & points[1]
    assert len(train) + len(test) == 24
    assert len(train) > len(test) > 0


def test_taskonomys_unmeasured_depth_counts_but_has_no_metres(building):
    sample = samples(open_views(TASKONOMY, building, "train", PAIR), PAIR[:2], PAIR[2], (32, 32))[0]
    assert sample.counted.all()
    assert sample.measured.mean() == pytest.approx(0.5)
    assert sample.target[0, 0, 0] == pytest.approx(254 / 127.5 - 1)
    measured = sample.target[0, 31, 0]
    metres = taskonomy(building, "train", PAIR).domains["depth_zbuffer"].decoded(np.full((1, 1), measured))
    assert metres[0, 0] == pytest.approx(2.0, rel=0.05)  # one of 256 steps


def test_lists_of_the_original_code_are_read(building):
    (building / "train_domain.txt").write_text(
        "point_3_view_1_domain_{domain}.png\nrgb/point_1_view_0_domain_rgb.png\n"
    )
    assert [file.name for file in taskonomy(building, "train", PAIR).files] == ["point_3_view_1", "point_1_view_0"]
    with pytest.raises(LayoutError, match="no list of the test views"):
        taskonomy(building, "test", PAIR)
    (building / "val_domain.txt").write_text("point_2_view_0\npoint_2_view_0\nwhatever\n")
    with pytest.raises(LayoutError, match=r"(?s)second time.*names no view"):
        taskonomy(building, "test", PAIR)


def test_several_buildings_are_told_apart(tmp_path):
    for name in ("anaheim", "brinnon"):
        for domain, image in (("rgb", np.zeros((40, 40, 3), np.uint8)), ("reshading", np.zeros((40, 40), np.uint8))):
            write_view(tmp_path, domain, 0, 0, image, name)
    (tmp_path / "train.txt").write_text("anaheim/point_0_view_0\nrgb/brinnon/point_0_view_0_domain_rgb.png\n")
    views = taskonomy(tmp_path, "train", ("rgb", "reshading"))
    assert [file.name for file in views.files] == ["anaheim/point_0_view_0", "brinnon/point_0_view_0"]


# refused


def test_files_that_do_not_align_are_refused_when_a_folder_is_opened(folder, tmp_path):
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    cv2.imwrite(str(root / "train/depth/000002.png"), np.ones((10, 20), np.uint16))
    with pytest.raises(LayoutError, match="view 000002: rgb 64x48, depth 20x10; expected one size"):
        open_views(ALIGNED, root, "train", ("rgb", "depth"))
    (root / "train/depth/000002.png").unlink()
    with pytest.raises(LayoutError, match="view 000002 has no file in"):
        open_views(ALIGNED, root, "train", ("rgb", "depth"))
    (root / "train/rgb/000001.png").write_bytes(b"no image")
    with pytest.raises(LayoutError, match=r"000001\.png"):
        open_views(ALIGNED, root, "train", ("rgb", "shade"))


def test_folders_of_no_known_layout_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"neither aligned images .* nor Taskonomy's files"):
        layout_of(tmp_path)
    assert layout_of(tmp_path, ALIGNED) == ALIGNED


def test_domains_and_splits_that_are_not_there_are_refused(folder, building):
    with pytest.raises(LayoutError, match="no split 'val'; the folder has train"):
        open_views(ALIGNED, folder, "val", ("rgb",))
    with pytest.raises(DomainError, match="aligned has no domain 'reshading'"):
        open_views(ALIGNED, folder, "train", ("rgb", "reshading"))
    with pytest.raises(LayoutError, match="no domain 'normal'; it has rgb, depth_zbuffer, edge_texture"):
        open_views(TASKONOMY, building, "train", ("rgb", "normal"))
    with pytest.raises(LayoutError, match="no split 'val'"):
        open_views(TASKONOMY, building, "val", PAIR)


def test_depth_of_8_bits_is_refused(folder, tmp_path):
    for name in ("rgb", "depth"):
        (tmp_path / "train" / name).mkdir(parents=True)
        shape = (32, 32, 3) if name == "rgb" else (32, 32)
        cv2.imwrite(str(tmp_path / "train" / name / "a.png"), np.ones(shape, np.uint8))
    with pytest.raises(DatasetError, match="8 bits"):
        samples(open_views(ALIGNED, tmp_path, "train", ("rgb", "depth")), ("rgb",), size=(32, 32))[0]


def test_a_contract_of_anything_else_is_refused(folder, tmp_path):
    (tmp_path / "train/rgb").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train/rgb/a.png"), np.ones((32, 32, 3), np.uint8))
    (tmp_path / "domains.yaml").write_text("name: [1]\n")
    with pytest.raises(LayoutError, match="name and license"):
        open_views(ALIGNED, tmp_path, "train", ("rgb",))


@pytest.mark.parametrize("how", [{"size": (32, 50)}, {"inputs": ("rgb", "depth")}, {"target": "thermal"}])
def test_what_no_network_can_do_is_refused_before_a_view_is_read(rooms, how):
    with pytest.raises(DomainError):
        samples(rooms, **how)

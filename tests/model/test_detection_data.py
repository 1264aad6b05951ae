"""Streets, KITTI's layout, and variations in which points, boxes and image stay aligned."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from street_frames import SIZE, network, points_inside, streets

from geminifusion_model.data.layout import LayoutError
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.data.augment import DetectionAugmentation, Variation, prepare
from geminifusion_model.detection.data.batches import training_batches
from geminifusion_model.detection.data.kitti import LICENSE_NAME, KittiFrames
from geminifusion_model.detection.data.streets import Streets
from geminifusion_model.detection.data.streets.folder import StreetsFolder, write_streets
from geminifusion_model.detection.data.streets.scene import street
from geminifusion_runtime.detection.boxes import image_rectangles, project
from geminifusion_runtime.detection.pillars import in_image

CLASSES = ("pedestrian", "cyclist", "car")
VARIED = Variation(yaw=0.3, scale=1.04, translation=(0.2, -0.1, 0.05), mirrored=True, image_scale=0.8)


@pytest.fixture(scope="module")
def frame():
    return streets()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti") / "streets"
    write_streets(root, StreetsFolder(train=2, val=1, seed=5, size=SIZE), workers=1)
    return root


def test_a_street_depends_on_seed_and_index_alone(frame):
    again, other = streets()[1], streets(seed=6)[1]
    for one, two in zip(frame.arrays().values(), again.arrays().values(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(frame.image, other.image)


def test_points_lie_in_the_labeled_boxes_and_in_the_image(frame):
    boxes, _ = frame.boxes(CLASSES)
    clear = frame.objects.occluded[[name.lower() in CLASSES for name in frame.objects.names]] == 0
    near = np.hypot(*boxes[:, :2].T) < 25
    counts = points_inside(frame.points, boxes).sum(axis=1)
    assert (clear & near).any()
    assert (counts[clear & near] > 0).all()
    assert in_image(frame.points, frame.calibration.lidar2image, frame.image_size).all()


def test_rectangles_are_those_of_the_boxes(frame):
    boxes, _ = frame.boxes((*CLASSES, "van", "truck"))
    height, width = frame.image_size
    expected = image_rectangles(boxes, frame.calibration.lidar2image).clip(0, [width, height, width, height])
    np.testing.assert_allclose(frame.objects.rectangles, expected, atol=0.01)


def test_people_and_their_doubles_differ_in_color_alone():
    rng_color, rng_shape = [], []
    for index in range(6):
        things = _scene(index).things
        for thing in things:
            if thing.shape == "person":
                saturation = max(max(color) - min(color) for color in thing.colors)
                rng_color.append((bool(thing.kind), saturation > 0.05))
                rng_shape.append((bool(thing.kind), thing.size, thing.reflectance))
    assert {is_person for is_person, _ in rng_color} == {True, False}
    assert all(is_person == is_colored for is_person, is_colored in rng_color)
    assert len({reflectance for _, _, reflectance in rng_shape}) == 1
    heights = [[size[2] for kind, size, _ in rng_shape if kind is wanted] for wanted in (True, False)]
    assert abs(np.mean(heights[0]) - np.mean(heights[1])) < 0.1


def _scene(index):
    return street(np.random.default_rng([5, index, 0]))


def test_a_hidden_object_is_marked_as_occluded():
    occluded = np.concatenate([streets(8)[index].objects.occluded for index in range(8)])
    assert {0, 1, 2} <= set(occluded)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"count": 0}, "count 0"), ({"size": (8, 64)}, "size"), ({"beams": 2}, "beams 2"), ({"seed": -1}, "seed -1")],
)
def test_streets_outside_their_range_are_refused(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        Streets(**{"count": 1, "seed": 0, "size": SIZE} | arguments)


def test_a_folder_of_streets_is_read_back(folder):
    written, read = Streets(3, 5, SIZE)[1], KittiFrames(folder, "train")[1]
    np.testing.assert_array_equal(read.image, written.image)
    np.testing.assert_array_equal(read.points, written.points)
    np.testing.assert_allclose(read.calibration.lidar2image, written.calibration.lidar2image, rtol=1e-9)
    assert read.objects.names == written.objects.names
    np.testing.assert_allclose(read.objects.rectangles, written.objects.rectangles, atol=0.006)
    np.testing.assert_allclose(read.boxes(CLASSES)[0], written.boxes(CLASSES)[0], atol=0.01)
    assert (len(KittiFrames(folder, "train")), len(KittiFrames(folder, "val"))) == (2, 1)


def test_a_folder_keeps_its_name_and_licence(folder, tmp_path, monkeypatch):
    assert KittiFrames(folder, "train").data_license == Streets.data_license
    monkeypatch.chdir(folder)
    assert KittiFrames(Path(), "train").data == f"{folder.name}, train"
    shutil.copytree(folder, tmp_path / "kitti")
    (tmp_path / "kitti" / LICENSE_NAME).unlink()
    assert KittiFrames(tmp_path / "kitti", "train").data_license == "unknown"


def test_points_outside_the_image_are_left_out_when_read(folder):
    path = folder / "training" / "velodyne" / "000002.bin"
    before, content = KittiFrames(folder, "val")[0], path.read_bytes()
    path.write_bytes(content + np.array([[-9, 0, 0, 0.1], [3, 30, 0, 0.1]], "<f4").tobytes())
    np.testing.assert_array_equal(KittiFrames(folder, "val")[0].points, before.points)
    path.write_bytes(content)


def test_every_missing_file_is_named_at_once(folder, tmp_path):
    with pytest.raises(LayoutError, match=r"test\.txt is missing; the splits here are train, val"):
        KittiFrames(folder, "test")
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("000007\n")
    with pytest.raises(LayoutError) as error:
        KittiFrames(tmp_path, "train")
    assert len(error.value.problems) == 4
    (tmp_path / "ImageSets" / "train.txt").write_text("../000007\n")
    with pytest.raises(LayoutError, match="no name of a file"):
        KittiFrames(tmp_path, "train")


def test_a_full_folder_is_not_written_over(folder):
    with pytest.raises(DatasetError, match="not empty"):
        write_streets(folder, StreetsFolder(train=1, val=0))


@pytest.mark.parametrize("variation", [Variation(), VARIED, dataclasses.replace(VARIED, mirrored=False)])
def test_points_stay_where_they_are_in_the_image(frame, variation):
    sample = prepare(frame, network(), SIZE, variation)
    before, _ = project(frame.points[:, :3], frame.calibration.lidar2image)
    after, depth = project(sample.points[:, :3], sample.lidar2image)
    height, width = sample.image.shape[:2]
    expected = before * [width / frame.image_size[1], height / frame.image_size[0]]
    if variation.mirrored:
        expected[:, 0] = width - expected[:, 0]
    np.testing.assert_allclose(after, expected, atol=2e-3)
    assert (depth > 0).all()


def test_boxes_keep_their_points(frame):
    whole = network(point_range=(-81.92, -81.92, -3.0, 81.92, 81.92, 1.0))
    plain, varied = (prepare(frame, whole, SIZE, each) for each in (None, VARIED))
    counts = [points_inside(each.points, each.boxes).sum(axis=1) for each in (plain, varied)]
    assert sum(counts[0]) > 20
    assert np.abs(counts[0] - counts[1]).max() <= 1  # one on a face may change sides
    np.testing.assert_array_equal(plain.labels, varied.labels)


def test_the_image_is_mirrored_with_the_points(frame):
    sample = prepare(frame, network(), SIZE, Variation(mirrored=True))
    np.testing.assert_array_equal(sample.image[:, ::-1], prepare(frame, network(), SIZE).image)


def test_boxes_whose_centre_leaves_the_range_are_dropped(frame):
    boxes, _ = frame.boxes(CLASSES)
    sample = prepare(frame, network(), SIZE)
    inside = (boxes[:, 0] < 20.48) & (np.abs(boxes[:, 1]) < 10.24)
    assert 0 < inside.sum() < len(boxes)
    np.testing.assert_array_equal(sample.boxes, boxes[inside])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"scale": (1.1, 0.9)}, "scale is 1.1"), ({"mirror": 1.5}, "1.5"), ({"rotation": -1.0}, "-1")],
)
def test_augmentation_out_of_range_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        DetectionAugmentation(**changes)


def test_batches_depend_on_seed_and_step_alone_and_images_are_padded_to_multiples_of_32():
    def batch(first):
        return next(
            training_batches(
                streets(),
                network(),
                DetectionAugmentation(image_scale=(0.5, 1.2)),
                image_size=SIZE,
                batch_size=2,
                seed=3,
                first_step=first,
                last_step=2,
            )
        )

    one, again, other = batch(1), batch(1), batch(0)
    assert one.inputs.images.shape[2] % 32 == one.inputs.images.shape[3] % 32 == 0
    for a, b in zip(one.inputs.points, again.inputs.points, strict=True):
        assert a.equal(b)
    assert one.inputs.images.equal(again.inputs.images)
    assert one.targets.boxes.equal(again.targets.boxes)
    assert not one.inputs.points[0].equal(other.inputs.points[0])

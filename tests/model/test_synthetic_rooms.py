"""Synthetic rooms."""

import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from geminifusion_model.data import nyuv2
from geminifusion_model.data.synthetic_rooms import Rooms, builder
from geminifusion_model.data.synthetic_rooms.camera import choose_pose
from geminifusion_model.data.synthetic_rooms.layout import Scene, furnished_room
from geminifusion_model.data.synthetic_rooms.materials import Painter
from geminifusion_model.data.synthetic_rooms.raycast import View, cast, resolve
from geminifusion_model.data.synthetic_rooms.sensor import fill_holes
from geminifusion_model.data.synthetic_rooms.shapes import Frame, box, frustum, rounded
from geminifusion_model.data.synthetic_rooms.textures import pattern_bank

SEED = 0
SMALL = (72, 96)


@pytest.fixture(scope="module")
def sixty():
    """Sixty small frames with the sensor's holes."""
    rooms = Rooms(60, SEED, size=SMALL)
    return [rooms[index] for index in range(60)]


def true_geometry(index, size=SMALL, seed=SEED):
    """The scene of a frame, the view through its pixel centers, and what that view meets."""
    layout, pose = (np.random.default_rng([seed, index, part]) for part in range(2))
    scene = furnished_room(layout, pattern_bank(seed))
    view = choose_pose(scene, pose).view(size)
    return scene, view, resolve(scene.shapes, view, *cast(scene.shapes, scene.size, view))


def digest(sample):
    state = hashlib.sha256()
    for array in (sample.rgb, sample.others["depth"], sample.labels):
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


@pytest.mark.slow
def test_a_frame_has_the_same_bits_in_another_process_and_whatever_was_read_before():
    code = (
        "import hashlib, numpy as np\n"
        "from geminifusion_model.data.synthetic_rooms import Rooms\n"
        "frame = Rooms(1, 0, size=(72, 96))[0]\n"
        "arrays = (frame.rgb, frame.others['depth'], frame.labels)\n"
        "print(hashlib.sha256(b''.join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest())\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    ).stdout.strip()
    rooms = Rooms(5, SEED, size=SMALL)
    rooms[4], rooms[2]
    assert digest(rooms[0]) == digest(rooms[0]) == elsewhere
    assert digest(rooms[1]) != elsewhere
    assert digest(Rooms(5, SEED + 1, size=SMALL)[0]) != elsewhere


def test_the_task_says_what_the_data_are():
    task = Rooms(1, 0).task
    assert task.class_names == nyuv2.CLASSES_13
    assert task.data == "synthetic rooms, 13 classes"
    assert task.data_license.startswith("Apache-2.0")
    for name in nyuv2.CLASSES_13:
        assert nyuv2.CLASSES_13[getattr(builder, name.upper())] == name


def test_arrays_keep_the_contract_of_a_sample(sixty):
    for sample in sixty:
        depth = sample.others["depth"]
        assert sample.rgb.shape == (*SMALL, 3)
        assert sample.rgb.dtype == sample.labels.dtype == np.uint8
        assert depth.shape == sample.labels.shape == SMALL
        assert depth.dtype == np.float32
        assert sample.labels.max() < 13, "labels are dense unless void is asked for"
        assert (((depth >= 0.5) & (depth <= 10)) | (depth == 0)).all()
    assert len({sample.name for sample in sixty}) == 60


def test_any_size_works_and_shows_the_same_room():
    wide, small = Rooms(1, 3, size=(95, 133))[0], Rooms(1, 3, size=(48, 64))[0]
    assert wide.rgb.shape == (95, 133, 3)
    shrunk = cv2.resize(wide.labels, (64, 48), interpolation=cv2.INTER_NEAREST)
    assert (shrunk == small.labels).mean() > 0.85


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"size": (16, 400)}, {"void_border": -1}])
def test_arguments_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match="need a count of 1 or more"):
        Rooms(**{"count": 1, "seed": 0, **wrong})


@pytest.mark.parametrize("index", [-1, 2])
def test_frames_outside_the_set_are_refused(index):
    with pytest.raises(IndexError, match="of 2 rooms"):
        Rooms(2, 0, size=SMALL)[index]


def test_depth_of_the_bare_floor_is_where_the_camera_says_it_is():
    """Height and tilt of the camera alone give it: height / (downward part of the ray)."""
    seen_floor = 0
    for index in range(8):
        _, view, seen = true_geometry(index)
        bare = seen.shape == 4  # the floor itself; rugs lie on it
        down = -(
            view.axes[2, 0] * view.x[None, :] + view.axes[2, 1] * view.y[:, None] + np.full(SMALL, view.axes[2, 2])
        )
        expected = view.origin[2] / down[bare]
        np.testing.assert_allclose(seen.depth[bare], expected, rtol=1e-4)
        np.testing.assert_allclose(seen.point[2][bare], 0, atol=1e-4)
        # The sensor agrees to its resolution: 3 mm at 1 m, growing with the square of distance.
        measured = Rooms(8, SEED, size=SMALL)[index].others["depth"][bare]
        valid = (measured > 0) & (expected < 4)
        if valid.sum() > 100:
            relative = (measured[valid] - expected[valid]) / expected[valid] ** 2
            assert np.median(np.abs(relative)) < 0.02
            assert abs(np.median(relative)) < 0.01
            seen_floor += 1
    assert seen_floor >= 4


def test_cameras_are_held_by_hand_inside_the_room():
    for index in range(15):
        layout, pose = (np.random.default_rng([SEED, index, part]) for part in range(2))
        scene = furnished_room(layout, pattern_bank(SEED))
        chosen = choose_pose(scene, pose)
        assert 0.8 <= chosen.position[2] <= 1.8
        assert (chosen.position > 0).all()
        assert (chosen.position < scene.size).all()
        np.testing.assert_allclose(chosen.axes.T @ chosen.axes, np.eye(3), atol=1e-5)
        assert np.linalg.det(chosen.axes) == pytest.approx(1, abs=1e-4)
        assert chosen.axes[2, 1] < -0.5, "the image's down is the room's down"


@pytest.mark.slow
def test_edges_of_labels_and_depth_coincide():
    """Where true depth jumps between two shapes of different class, the labels change at that very pixel."""
    rooms = Rooms(10, SEED, size=SMALL)
    jumps = agreeing = 0
    for index in range(10):
        scene, _, seen = true_geometry(index)
        labels = rooms[index].labels
        classes = np.array([shape.label for shape in scene.shapes])
        left, right = seen.depth[:, :-1], seen.depth[:, 1:]
        jump = (np.abs(left - right) > 0.3) & (classes[seen.shape[:, :-1]] != classes[seen.shape[:, 1:]])
        jumps += jump.sum()
        agreeing += (jump & (labels[:, :-1] != labels[:, 1:])).sum()
    assert jumps > 300
    assert agreeing == jumps


def test_sixty_frames_show_every_class_about_as_often_as_nyu_does(sixty):
    pixels = np.bincount(np.concatenate([sample.labels.reshape(-1) for sample in sixty]), minlength=13)
    share = dict(zip(nyuv2.CLASSES_13, pixels / pixels.sum(), strict=True))
    assert min(share.values()) > 0.001
    assert 0.2 < share["wall"] < 0.42
    assert 0.1 < share["furniture"] < 0.3
    assert 0.05 < share["floor"] < 0.25
    frames = np.array([np.bincount(sample.labels.reshape(-1), minlength=13) > 0 for sample in sixty]).sum(0)
    assert frames.min() >= 3
    assert np.median([len(np.unique(sample.labels)) for sample in sixty]) >= 5


def test_color_alone_does_not_give_the_class_away(sixty):
    """A classifier with the mean color of each class, fitted on half of the frames and judged on the other half."""
    colors = [sample.rgb.reshape(-1, 3).astype(np.float32) for sample in sixty]
    labels = [sample.labels.reshape(-1) for sample in sixty]
    train_colors, train_labels = np.concatenate(colors[::2]), np.concatenate(labels[::2])
    means = np.stack([train_colors[train_labels == number].mean(0) for number in range(13)])
    test_colors, test_labels = np.concatenate(colors[1::2]), np.concatenate(labels[1::2])
    guess = ((test_colors[:, None] - means) ** 2).sum(-1).argmin(1)
    recall = np.mean([(guess[test_labels == number] == number).mean() for number in np.unique(test_labels)])
    assert recall < 0.2, f"mean recall {recall:.3f}; chance is {1 / 13:.3f}"


def test_the_sensor_leaves_holes_and_in_painting_leaves_none(sixty):
    holes = np.array([(sample.others["depth"] == 0).mean() for sample in sixty])
    assert 0.01 < holes.mean() < 0.25
    dense = Rooms(3, SEED, size=SMALL, sensor=False)
    for index in range(3):
        filled, raw = dense[index].others["depth"], sixty[index].others["depth"]
        assert (filled >= 0.5).all()
        assert np.median(np.abs(filled - raw)[raw > 0]) < 0.05
        np.testing.assert_array_equal(dense[index].rgb, sixty[index].rgb)


def test_filling_reads_a_hole_off_its_surroundings():
    depth = np.full((40, 60), 2.0, np.float32)
    depth[10:20, 10:30] = 0
    np.testing.assert_allclose(fill_holes(depth), 2.0, atol=1e-3)
    assert (fill_holes(np.zeros((40, 60), np.float32)) == 10).all(), "nothing measured at all is as far as it goes"


@pytest.mark.slow
def test_shadows_of_the_projector_fall_left_of_what_stands_in_front():
    left = right = 0
    for index in range(8):
        _, _, seen = true_geometry(index, size=(120, 160))
        holes = Rooms(8, SEED, size=(120, 160))[index].others["depth"] == 0
        jump = seen.depth[:, 6:-6] * 0.7
        left += holes[:, 3:-9][seen.depth[:, 7:-5] < jump].sum()
        right += holes[:, 9:-3][seen.depth[:, 5:-7] < jump].sum()
    assert left > 2 * right


def test_void_border_is_labeled_only_when_asked_for():
    plain, outlined = Rooms(1, 0, size=SMALL)[0], Rooms(1, 0, size=SMALL, void_border=1)[0]
    kept = outlined.labels != 255
    assert 0.5 < kept.mean() < 1
    np.testing.assert_array_equal(outlined.labels[kept], plain.labels[kept])
    across = plain.labels[:, :-1] != plain.labels[:, 1:]
    assert not kept[:, :-1][across].any()


def test_rays_meet_solids_where_geometry_says():
    """Down the axis, every solid of half a metre is met half a metre before its center; beside it, nothing is."""
    rng = np.random.default_rng(0)
    paint = Painter(rng, pattern_bank(SEED))
    material = paint.material("hard")
    room = np.array([4, 4, 3], np.float32)
    sides = [box(Frame(), (0, 0, 0), (1, 1, 1), builder.WALL, material) for _ in range(6)]
    low, high = (1.5, 2.5, 1.0), (2.5, 3.5, 2.0)
    forward = View(
        np.array([2, 0.5, 1.5], np.float32),
        np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32),
        np.array([-0.6, 0, 0.6], np.float32),
        np.array([-0.01, 0, 0.01], np.float32),
    )
    for solid in (
        box(Frame(), low, high, builder.OBJECTS, material),
        rounded(Frame(), low, high, builder.OBJECTS, material, (2, 2, 2)),
        rounded(Frame(), low, high, builder.OBJECTS, material, (6, 6, 4)),
        frustum(Frame(), (2.0, 3.0, 1.0), 1.0, (0.5, 0.5), builder.OBJECTS, material),
    ):
        depth, index = cast([*sides, solid], room, forward)
        assert index[1].tolist() == [0, 6, 1]
        assert depth[1, 1] == pytest.approx(2.0, abs=5e-3)
        seen = resolve([*sides, solid], forward, depth, index)
        np.testing.assert_allclose(seen.normal[:, 1, 1], [0, -1, 0], atol=0.02)
    cone = frustum(Frame(), (2.0, 3.0, 1.0), 1.0, (0.5, 0.25), builder.OBJECTS, material)
    depth, _ = cast([*sides, cone], room, forward)
    assert depth[1, 1] == pytest.approx(2.5 - 0.375, abs=5e-3), "half-way up the radius is the mean of both"


def test_furniture_stands_on_the_floor_inside_the_room():
    """Over many rooms: nothing on the floor stands outside, and pictures hang on walls above the floor."""
    for index in range(20):
        scene: Scene = furnished_room(np.random.default_rng([SEED, index, 0]), pattern_bank(SEED))
        for place in scene.footprints:
            assert min(place.x0, place.y0) > -0.05
            assert place.x1 < scene.size[0] + 0.05
            assert place.y1 < scene.size[1] + 0.05
        for shape in scene.shapes:
            if shape.label == builder.PICTURE:
                gap = min(*shape.center[:2], *(scene.size - shape.center)[:2])
                assert gap < 0.1
                assert shape.center[2] > 1

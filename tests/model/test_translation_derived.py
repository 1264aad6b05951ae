"""Domains computed from scenes whose geometry is known."""

import numpy as np
import pytest

from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.translation.derived import (
    edge_occlusion_of,
    edge_texture_of,
    image_normals,
    normals_of,
    shade_of,
    stored_step,
)
from geminifusion_model.translation.frame_views import assumed_camera

HEIGHT, WIDTH = 120, 160
CAMERA = assumed_camera((HEIGHT, WIDTH))
FLOOR_M = 1.2


def rays():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy


def room(wall_m=4.0):
    """A floor and a back wall, and where the floor is."""
    _, down = rays()
    to_floor = np.where(down > 1e-6, FLOOR_M / np.maximum(down, 1e-6), np.inf)
    return np.minimum(to_floor, wall_m).astype(np.float32), to_floor < wall_m


def inner(mask, margin=10):
    """Without a margin at its outline and at the image's."""
    padded = np.pad(mask, margin)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * margin + 1,) * 2)
    return windows.all(axis=(2, 3))


def test_floor_faces_up_and_wall_the_camera():
    depth, floor = room()
    normal = normals_of(depth, CAMERA)
    np.testing.assert_allclose(normal[inner(floor)], np.broadcast_to([0, 1, 0], (inner(floor).sum(), 3)), atol=0.03)
    wall = inner(~floor)
    np.testing.assert_allclose(normal[wall], np.broadcast_to([0, 0, 1], (wall.sum(), 3)), atol=0.03)


def test_coarsely_stored_depth_keeps_the_floor_a_floor():
    depth, floor = room()
    coarse = np.rint(depth * 25.5).astype(np.float32) / np.float32(25.5)
    assert stored_step(coarse) == pytest.approx(1 / 25.5, rel=1e-4)
    up = normals_of(coarse, CAMERA)[inner(floor)][:, 1]
    assert np.degrees(np.arccos(up.clip(-1, 1))).mean() < 8


def test_left_walls_face_right():
    across, _ = rays()
    depth = np.where(across < -1e-6, 1.0 / np.maximum(-across, 1e-6), 50).clip(0, 5).astype(np.float32)
    left = inner((across < -0.3) & (depth < 4.9))
    assert (normals_of(depth, CAMERA)[left][:, 0] > 0.98).all()


def test_unmeasured_depth_has_no_normals_and_mixes_with_nothing():
    depth, floor = room()
    depth[30:60, 40:80] = 0
    normal = normals_of(depth, CAMERA)
    assert (normal[30:60, 40:80] == 0).all()
    wall = inner(~floor, 3)
    wall[30:60, 40:80] = False
    assert (normal[wall][:, 2] > 0.95).all()
    assert (normals_of(np.zeros((HEIGHT, WIDTH), np.float32), CAMERA) == 0).all()


def test_surfaces_that_look_up_are_lit_and_those_that_look_down_are_dim():
    normal = np.array([[[0, 1, 0], [0, 0, 1], [0, -1, 0], [0, 0.6, 0.8], [0, 0, 0]]], np.float32)
    np.testing.assert_allclose(shade_of(normal), [[0.68, 0.84, 0.2, 1.0, 0.2]], atol=1e-6)


def test_shading_does_not_change_when_a_scene_is_mirrored():
    normal = np.random.default_rng(0).normal(size=(5, 6, 3)).astype(np.float32)
    mirrored = normal * np.array([-1, 1, 1], np.float32)
    np.testing.assert_array_equal(shade_of(normal), shade_of(mirrored))


def test_occlusion_edges_are_at_jumps_and_nowhere_on_planes():
    depth, floor = room()
    assert edge_occlusion_of(depth)[inner(floor | ~floor, 2)].max() < 0.3  # where floor meets wall there is no jump
    depth[20:50, 60:100] = 2.0
    edges = edge_occlusion_of(depth)
    assert edges[35, 58:62].max() == 1
    assert edges[35, 64:96].max() == 0
    assert edges[20, 10:50].max() == 0


def test_steps_of_storage_and_holes_are_no_occlusion():
    depth, floor = room()
    coarse = np.rint(depth * 25.5).astype(np.float32) / np.float32(25.5)
    assert edge_occlusion_of(coarse)[inner(floor, 4)].max() == 0
    holed = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    holed[40:60, 40:60] = 0
    assert edge_occlusion_of(holed).max() == 0
    assert edge_occlusion_of(np.zeros((8, 8), np.float32)).max() == 0
    assert edge_occlusion_of(np.ones((1, 1), np.float32)).max() == 0


def test_texture_edges_are_at_changes_of_brightness():
    rgb = np.full((60, 80, 3), 40, np.uint8)
    rgb[:, 40:] = 200
    edges = edge_texture_of(rgb)
    assert edges[:, 39:41].min() > 0.9
    assert edges[:, :35].max() == edges[:, 45:].max() == 0


def test_normals_computed_from_exact_depth_are_those_of_the_room():
    rooms = Rooms(2, 7, (120, 160))
    _, surfaces = rooms.with_geometry(1)
    computed, exact = normals_of(surfaces.depth, CAMERA), image_normals(surfaces.normal)
    np.testing.assert_allclose(np.linalg.norm(exact, axis=2), 1, atol=1e-4)
    angle = np.degrees(np.arccos((computed * exact).sum(axis=2).clip(-1, 1)))
    assert np.median(angle) < 3


def test_asking_for_geometry_changes_no_frame():
    rooms = Rooms(2, 7, (60, 80))
    plain, (sample, surfaces) = rooms[1], rooms.with_geometry(1)
    np.testing.assert_array_equal(plain.rgb, sample.rgb)
    measured = sample.others["depth"] > 0
    error = np.abs(sample.others["depth"] - surfaces.depth)[measured] / surfaces.depth[measured]
    assert np.median(error) < 0.05

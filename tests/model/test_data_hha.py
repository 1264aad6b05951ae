import dataclasses

import numpy as np
import pytest

from geminifusion_model.data.depth_encodings import hha_encoding
from geminifusion_model.data.hha import WithHHA
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.hha import hha_from_depth

CAMERA = Intrinsics(fx=130.0, fy=130.0, cx=79.5, cy=59.5)
CAMERA_HEIGHT_M = 1.4


def room(pitch_deg, wall_m=4.0):
    """Depth of a floor and a back wall seen by a camera that looks down by `pitch_deg`, and where the floor is."""
    y, x = np.mgrid[:120, :160]
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy, np.ones(x.shape)], axis=2)
    pitch = np.radians(pitch_deg)
    down = np.array([0.0, np.cos(pitch), np.sin(pitch)])
    forward = np.array([0.0, -np.sin(pitch), np.cos(pitch)])
    to_floor = CAMERA_HEIGHT_M / np.maximum(rays @ down, 1e-9)
    to_wall = wall_m / (rays @ forward)
    depth = np.minimum(to_floor, to_wall).astype(np.float32)
    height = CAMERA_HEIGHT_M - depth * (rays @ down)
    return depth, to_floor < to_wall, height


@pytest.mark.parametrize("pitch_deg", [0, 20])
def test_floor_and_wall_are_told_apart_at_any_camera_angle(pitch_deg):
    depth, on_floor, height = room(pitch_deg)
    disparity, height_cm, angle = np.moveaxis(hha_from_depth(depth, CAMERA), 2, 0)
    np.testing.assert_allclose(disparity, np.minimum(310 / depth, 255), rtol=1e-5)
    inside = np.zeros(depth.shape, bool)
    inside[4:-4, 4:-4] = True
    edge = np.abs(np.diff(on_floor.astype(int), axis=0, prepend=on_floor[:1].astype(int)))
    inside &= ~(np.lib.stride_tricks.sliding_window_view(np.pad(edge, 4), (9, 9)).max(axis=(2, 3)) > 0)
    # up-facing surfaces have an angle of 0, walls of 90 degrees, both shifted by 38
    assert np.abs(angle[inside & on_floor] - 38).max() < 3
    assert np.abs(angle[inside & ~on_floor] - 128).max() < 3
    assert np.abs(height_cm - np.clip(100 * height, 0, 255)).max() < 8


def test_unmeasured_pixels_are_zero_and_all_values_fit_a_byte():
    depth, _, _ = room(10)
    depth[30:60, 40:80] = 0
    found = hha_from_depth(depth, CAMERA)
    assert found.dtype == np.float32
    assert (found[30:60, 40:80] == 0).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert (hha_from_depth(np.zeros((20, 30), np.float32), CAMERA) == 0).all()


class OneRoom:
    task = nyuv2_task(13)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        depth, on_floor, _ = room(10)
        return Sample("room", np.zeros((120, 160, 3), np.uint8), {"depth": depth}, on_floor.astype(np.uint8))


def test_a_data_set_with_metric_depth_becomes_one_with_hha():
    dataset = WithHHA(OneRoom(), CAMERA)
    assert dataset.task.modalities[1] == hha_encoding("depth")
    np.testing.assert_array_equal(dataset[0].others["depth"], hha_from_depth(room(10)[0], CAMERA))


def test_hha_needs_depth_in_metres():
    once = WithHHA(OneRoom(), CAMERA)
    with pytest.raises(ValueError, match="no depth in metres"):
        WithHHA(once, CAMERA)
    with pytest.raises(ValueError, match="focal lengths"):
        dataclasses.replace(CAMERA, fx=0.0)

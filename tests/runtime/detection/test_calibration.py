"""Reading calibrations, and refusing those that cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geminifusion_runtime.detection.calibration import MAX_BYTES, decode_calibration
from geminifusion_runtime.errors import CalibrationMismatchError, UndecodableCalibrationError

LINES = {
    "P0": "700 0 600 0 0 700 180 0 0 0 1 0",
    "P2": "700 0 600 45 0 700 180 0.2 0 0 1 0.003",
    "R0_rect": "1 0 0 0 1 0 0 0 1",
    "Tr_velo_to_cam": "0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27",
}


def kitti(**changes: str | None) -> bytes:
    lines = {**LINES, **changes}
    return "\n".join(f"{name}: {numbers}" for name, numbers in lines.items() if numbers is not None).encode()


def test_text_and_json_say_the_same() -> None:
    found = decode_calibration(kitti())
    again = decode_calibration(json.dumps(found.as_document()).encode())
    np.testing.assert_array_equal(found.lidar2image, again.lidar2image)
    assert found.lidar2image.shape == (4, 4)
    np.testing.assert_allclose(found.lidar2image @ [10, 0, 0, 1], [600 * 9.73 + 45, 180 * 9.73 - 55.8, 9.733, 1])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe\x00", "not text"),
        (b"x" * (MAX_BYTES + 1), "expected at most"),
        (b'{"P2": [1,', "begins as JSON"),
        (b'{"P3": []}', "'P3'"),
        (kitti(P2=None), "no P2"),
        (kitti(R0_rect="1 0 0"), "has 3 numbers, expected 9"),
        (kitti(R0_rect="a b c"), "is not 9 numbers"),
        (kitti(Tr_velo_to_cam="0 -1 0 0 0 0 -1 0 0 0 0 0"), "cannot be inverted"),
        (kitti(Tr_velo_to_cam="0 -2 0 0 0 0 -2 0 2 0 0 0"), "is no rotation"),
        (kitti(R0_rect="-1 0 0 0 1 0 0 0 1"), "mirrors"),
        (kitti(Tr_velo_to_cam="0 -1 0 0 0 0 -1 -80 1 0 0 -270"), "in metres"),
        (kitti(P2="nan 0 600 45 0 700 180 0 0 0 1 0"), "NaN or infinity"),
        (kitti(P2="-700 0 600 45 0 700 180 0 0 0 1 0"), "focal lengths"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(UndecodableCalibrationError, match=says) as caught:
        decode_calibration(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(375, 1242), (360, 1200)])
def test_the_image_it_was_made_for_is_accepted(size: tuple[int, int]) -> None:
    decode_calibration(kitti()).check_size(size)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(CalibrationMismatchError, match="of an image of about 1201x361, and this one has 416x128"):
        decode_calibration(kitti()).check_size((128, 416))


@pytest.mark.parametrize(
    ("center", "size"),
    [
        ((609.6, 172.9), (375, 1242)),  # cameras of KITTI and nuScenes, and of rendered streets
        ((604.1, 180.5), (370, 1224)),
        ((601.9, 186.0), (374, 1238)),
        ((816.3, 491.5), (900, 1600)),
        ((829.2, 481.8), (900, 1600)),
        ((624.0, 192.0), (384, 1248)),
    ],
)
def test_a_principal_point_as_cameras_have_it_raises_no_doubt(
    center: tuple[float, float], size: tuple[int, int]
) -> None:
    calibration = decode_calibration(kitti(P2=f"720 0 {center[0]} 45 0 720 {center[1]} 0.2 0 0 1 0.003"))
    calibration.check_size(size)
    assert calibration.size_warnings(size) == ()


@pytest.mark.parametrize("size", [(330, 1100), (400, 1330), (330, 1330), (400, 1100)])
def test_an_image_that_may_have_been_resized_or_cropped_is_warned_of(size: tuple[int, int]) -> None:
    calibration = decode_calibration(kitti())
    calibration.check_size(size)
    (warning,) = calibration.size_warnings(size)
    assert f"the middle of an image of about 1201x361, and this one has {size[1]}x{size[0]}; if" in warning
    stated = calibration.as_document() | {"image_size": [size[1], size[0]]}
    assert decode_calibration(json.dumps(stated).encode()).size_warnings(size) == ()


def test_a_stated_size_has_to_be_the_images() -> None:
    document = decode_calibration(kitti()).as_document() | {"image_size": [1242, 375]}
    calibration = decode_calibration(json.dumps(document).encode())
    calibration.check_size((375, 1242))
    with pytest.raises(CalibrationMismatchError, match="for an image of 1242x375, and this one has 1224x370"):
        calibration.check_size((370, 1224))


def test_a_resized_calibration_projects_to_the_same_share_of_the_image() -> None:
    calibration = decode_calibration(kitti())
    point = np.array([12.0, 2, -1, 1])
    x, y, depth, _ = calibration.lidar2image @ point
    smaller_x, smaller_y, same_depth, _ = calibration.resized((375, 1242), (125, 414)).lidar2image @ point
    assert same_depth == depth
    np.testing.assert_allclose([smaller_x, smaller_y], [x / 3, y / 3])


@pytest.mark.parametrize("size", [[10**20, 5], [5, 2**20 + 1], [0, 5], [-1, 5], [1e3, 5], [5]])
def test_a_size_of_no_image_is_refused_and_never_packed(size: list[float]) -> None:
    document = decode_calibration(kitti()).as_document() | {"image_size": size}
    with pytest.raises(UndecodableCalibrationError, match=r"image_size of the calibration is .*\[width, height\]"):
        decode_calibration(json.dumps(document).encode())

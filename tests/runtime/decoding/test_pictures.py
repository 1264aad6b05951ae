"""Pictures of other sensors: what the model was trained on is read, everything else is refused in one sentence."""

import io

import cv2
import numpy as np
import pytest

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.decode import decode_modality
from geminifusion_runtime.decoding.hha import hha_from_depth
from geminifusion_runtime.errors import InvalidOptionError, UnsupportedImageError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (24, 40), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
COUNTS = RNG.integers(28_000, 31_000, (24, 40)).astype(np.uint16)
LIMIT = 10**6
CAMERA = (40.0, 40.0, 20.0, 12.0)


def file(suffix, image):
    if suffix == ".npy":
        stream = io.BytesIO()
        np.save(stream, image)
        return stream.getvalue()
    stored = image[..., ::-1] if image.ndim == 3 else image  # OpenCV writes BGR
    done, data = cv2.imencode(suffix, np.ascontiguousarray(stored))
    assert done
    return data.tobytes()


def decode(data, spec, **options):
    return decode_modality(data, spec, max_pixels=LIMIT, **options)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ""])
@pytest.mark.parametrize("gil", [False, True])
def test_eight_bit_pictures_of_one_channel_and_of_three_are_read_as_stored(make_spec, suffix, gil):
    for pixels, channels in ((GREY, 1), (COLOR, 3)):
        data = file(suffix, pixels) if suffix else pixels
        image = decode(data, make_spec("event", channels=channels), may_hold_gil=gil)
        assert image.array.dtype == np.uint8
        np.testing.assert_array_equal(image.array, pixels)
        assert not image.warnings


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ""])
def test_counts_of_more_bits_are_read_as_floats_without_a_unit(make_spec, suffix):
    three = np.stack([COUNTS, COUNTS + 1, COUNTS + 2], axis=2)
    for pixels, channels in ((COUNTS, 1), (three, 3)):
        data = file(suffix, pixels) if suffix else pixels
        image = decode(data, make_spec("thermal", unit="count", channels=channels))
        assert image.array.dtype == np.float32
        np.testing.assert_array_equal(image.array, pixels)
        assert not image.warnings
        assert image.health.problem is None


@pytest.mark.parametrize("suffix", [".tiff", ".npy"])
def test_floats_are_counts_too(make_spec, suffix):
    kelvin = COUNTS.astype(np.float32) / 100
    image = decode(file(suffix, kelvin), make_spec("thermal", unit="count", range=(280.0, 310.0)))
    np.testing.assert_array_equal(image.array, kelvin)


def test_one_channel_is_repeated_and_three_equal_ones_are_one(make_spec):
    image = decode(file(".png", GREY), make_spec("event", channels=3))
    np.testing.assert_array_equal(image.array, np.repeat(GREY[..., None], 3, axis=2))
    image = decode(file(".png", np.repeat(GREY[..., None], 3, axis=2)), make_spec("thermal"))
    np.testing.assert_array_equal(image.array, GREY)
    image = decode(COUNTS[..., None], make_spec("thermal", unit="count"))
    np.testing.assert_array_equal(image.array, COUNTS)


def test_marked_counts_are_not_measured(make_spec):
    broken = COUNTS.copy()
    broken[:4] = 65535
    image = decode(file(".png", broken), make_spec("thermal", unit="count"), invalid=(65535.0,))
    assert np.isnan(image.array[:4]).all()
    np.testing.assert_array_equal(image.array[4:], COUNTS[4:])
    assert image.health.holes == pytest.approx(4 / 24, abs=0.05)


@pytest.mark.parametrize(
    ("unit", "channels", "data", "said"),
    [
        ("count", 1, file(".png", GREY), "thermal is a PNG of 8-bit integer values, the model was trained on more"),
        ("count", 1, file(".jpg", GREY), "thermal is JPEG, which holds 8 bits per channel"),
        ("count", 1, GREY, "thermal is of dtype uint8; send the sensor's stored numbers, one channel of 16 bits"),
        ("intensity", 1, file(".png", COUNTS), "thermal is a PNG of 16-bit integer values, the model was trained on 8"),
        ("intensity", 1, COUNTS, "thermal is of dtype uint16; send one channel of 8 bits"),
        ("intensity", 1, file(".png", COLOR), "three different channels; send one channel of 8 bits"),
        ("intensity", 1, COLOR, "three different channels"),
        ("intensity", 3, file(".npy", RNG.integers(0, 9, (24, 40, 4)).astype("u1")), "4 channels; send three channels"),
        (
            "count",
            1,
            file(".npy", RNG.random((24, 40, 2))),
            "2 channels; send the sensor's stored numbers, one channel",
        ),
        ("intensity", 1, np.zeros((0, 4), np.uint8), "shape"),
    ],
)
def test_other_bits_or_channels_are_refused_with_what_to_send(make_spec, unit, channels, data, said):
    with pytest.raises(UnsupportedImageError, match=said):
        decode(data, make_spec("thermal", unit=unit, channels=channels))


def test_a_picture_of_depth_is_refused_by_a_metric_model(make_spec):
    spec = make_spec("depth", encoding="metric", unit="metre")
    for data in (file(".png", COLOR), COLOR):
        with pytest.raises(UnsupportedImageError, match="3 channels, expected one; send the raw depth, not a picture"):
            decode(data, spec)


def test_numbers_far_outside_the_training_range_warn_of_the_unit(make_spec):
    celsius = (COUNTS / 100 - 273.15).astype(np.float32)
    (warning,) = decode(celsius, make_spec("thermal", unit="count")).warnings
    assert "outside 28000 to 31000" in warning
    assert "wrong unit" in warning


def test_hha_is_taken_as_a_picture_or_computed_as_in_training(make_spec):
    spec = make_spec("depth", encoding="hha")
    np.testing.assert_array_equal(decode(file(".png", COLOR), spec).array, COLOR)
    millimetres = np.linspace(900, 4000, 24 * 40).reshape(24, 40).astype(np.uint16)
    computed = decode(file(".png", millimetres), spec, intrinsics=CAMERA)
    camera = Intrinsics(**dict(zip(("fx", "fy", "cx", "cy"), CAMERA, strict=True)))
    trained = hha_from_depth(millimetres * np.float32(0.001), camera)
    assert computed.array.dtype == np.uint8
    np.testing.assert_allclose(computed.array, trained, atol=0.5)
    np.testing.assert_array_equal(
        decode(millimetres * np.float32(0.001), spec, intrinsics=CAMERA).array, computed.array
    )


def test_hha_cannot_be_computed_without_a_camera_nor_from_a_grey_picture(make_spec):
    spec = make_spec("depth", encoding="hha")
    with pytest.raises(InvalidOptionError, match=r"send intrinsics=fx,fy,cx,cy .* or the HHA picture"):
        decode(file(".png", COUNTS), spec)
    with pytest.raises(InvalidOptionError, match="focal lengths 0 and 40"):
        decode(file(".png", COUNTS), spec, intrinsics=(0.0, 40.0, 20.0, 12.0))
    with pytest.raises(UnsupportedImageError, match="one channel; send the HHA picture"):
        decode(file(".png", GREY), spec)


@pytest.mark.parametrize("channels", [1, 3])
def test_sparse_and_noisy_pictures_of_events_are_no_alarm(make_spec, channels):
    events = np.where(RNG.random((96, 128)) < 0.02, RNG.integers(1, 256, (96, 128)), 0).astype(np.uint8)
    pixels = events if channels == 1 else np.stack([events, np.zeros_like(events), events], axis=2)
    health = decode(pixels, make_spec("event", channels=channels)).health
    assert health.problem is None
    assert health.holes == 0


@pytest.mark.parametrize(
    ("unit", "pixels", "said"),
    [
        ("intensity", np.full((96, 128), 7, np.uint8), "every pixel is 7"),
        ("intensity", np.where(RNG.random((96, 128)) < 0.97, 255, 3).astype(np.uint8), "end of the range"),
        ("count", np.full((96, 128), 29_000, np.uint16), "every pixel is 2.9e"),
        ("count", np.where(RNG.random((96, 128)) < 0.97, 40_000, 29_000).astype(np.uint16), "end of the range"),
        ("count", np.where(RNG.random((96, 128)) < 0.99, np.nan, 29_000).astype(np.float32), "not measured"),
    ],
)
def test_frozen_and_saturated_thermal_frames_are_recognised(make_spec, unit, pixels, said):
    assert said in decode(pixels, make_spec("thermal", unit=unit)).health.problem

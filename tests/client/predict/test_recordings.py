"""Recordings as sources: what is in a bag comes out as frames, and what cannot be used is refused at once."""

import numpy as np
import pytest

from geminifusion.errors import InvalidInputError
from geminifusion.images import stored_values
from geminifusion.ros.images import color_image, depth_image
from geminifusion.ros.rvl import decode_rvl
from geminifusion.sources.base import SourceRequest
from geminifusion.sources.recordings.pairing import Stamped, pair_by_stamp
from geminifusion.sources.recordings.reading import Topic
from geminifusion.sources.recordings.topics import color_topic, depth_topic
from geminifusion.sources.registry import open_source


def frames_of(path, **request):
    source = open_source(SourceRequest(inputs={"rgb": path}, **request))
    try:
        return source, list(source.frames())
    finally:
        source.close()


def refusal(path, **request):
    with pytest.raises(InvalidInputError) as refused:
        frames_of(path, **request)
    return str(refused.value)


@pytest.mark.parametrize("storage", ["ros1", "ros2", "mcap"])
@pytest.mark.parametrize("depth", ["16UC1", "32FC1", "16UC1 png", "16UC1 rvl", "32FC1 png"])
def test_every_frame_comes_out_as_it_was_recorded(recorder, make_scene, storage, depth):
    path = recorder.write("room", storage, depth=depth)
    source, frames = frames_of(path)
    assert (source.count, len(frames), source.notes) == (30, 30, [])
    assert source.period_s == pytest.approx(1 / 30, rel=1e-3)
    for number, frame in enumerate(frames):
        shown = make_scene(number)
        assert frame.name == f"{path.stem}_{number:06d}"
        np.testing.assert_array_equal(frame.images["rgb"], shown.rgb)
        stored = stored_values(frame.images["depth"])
        metres = stored * 0.001 if stored.dtype == np.uint16 else np.nan_to_num(stored)
        expected = shown.depth_mm * 0.001
        # Inverse depth is in steps of 1/800, which is 20 mm at 4 m.
        np.testing.assert_allclose(metres, expected, atol=0.012 if depth == "32FC1 png" else 1e-6)
        np.testing.assert_array_equal(metres == 0, expected == 0)
        assert frame.offset_ms == 4.0
        assert frame.stamp_ns == frames[0].stamp_ns + number * 33_333_333
        assert (frame.intrinsics, frame.frame_id, frame.warnings) == ((60.5, 61.0, 31.5, 23.5), "optical", ())


@pytest.mark.parametrize("color", ["bgr8", "jpeg"])
def test_colour_is_rgb_however_it_was_recorded(recorder, make_scene, color):
    _, frames = frames_of(recorder.write("room", color=color, count=2))
    difference = np.abs(stored_values(frames[1].images["rgb"]).astype(int) - make_scene(1).rgb).mean()
    assert difference < (6 if color == "jpeg" else 1e-9)


def test_the_offset_is_reported_and_half_a_period_is_warned_of(recorder):
    late = {2: 20_000_000}
    _, frames = frames_of(recorder.write("room", offset_ns=lambda number: late.get(number, 0), count=6))
    assert [round(frame.offset_ms, 1) for frame in frames] == [0, 0, 20, 0, 0, 0]
    assert (
        "20.0 ms after the colour image, more than half the time between two frames (16.7 ms)" in frames[2].warnings[0]
    )
    assert all(frame.warnings == () for frame in frames if frame.name[-1] != "2")


def test_frames_without_depth_near_enough_are_left_out_and_counted(recorder):
    path = recorder.write("room", offset_ns=lambda number: 500_000_000 if number in (28, 29) else 0)
    source, frames = frames_of(path)
    assert len(frames) == 29  # the depth of 27 is within a period of 28
    (note,) = source.notes
    assert "1 colour image has no depth within 33.3 ms and stay out: room_000029; allow more" in note
    assert len(frames_of(path, max_offset_ms=100)[1]) == 30
    assert len(frames_of(path, max_offset_ms=1)[1]) == 28


def test_topics_are_chosen_by_name_and_missing_ones_list_those_that_there_are(recorder):
    path = recorder.write("room", count=2)
    message = refusal(path, depth_topic="/depth")
    for part in (
        "--depth-topic /depth",
        "/camera/color/image_raw (sensor_msgs/msg/Image, 2)",
        "/camera/color/camera_info",
    ):
        assert part in message
    only_color = recorder.write("color", count=2, without=("/camera/aligned_depth_to_color/image_raw",))
    assert "no topic that looks like depth" in refusal(only_color)
    _, frames = frames_of(only_color, depth_topic="none")
    assert [list(frame.images) for frame in frames] == [["rgb"], ["rgb"]]
    odd = recorder.write("odd", count=2, topics=("/a", "/b", "/c"))
    assert "no topic that looks like colour" in refusal(odd)
    assert len(frames_of(odd, rgb_topic="/a", depth_topic="/b")[1]) == 2


def topics_of(*names):
    return [Topic(name=name, type="sensor_msgs/msg/Image", count=1) for name in names]


def test_two_cameras_ask_for_a_choice():
    with pytest.raises(InvalidInputError, match="several topics of colour: /a/color/image, /b/color/image; choose one"):
        color_topic(topics_of("/a/color/image", "/b/color/image", "/a/depth/image"), None)


def test_depth_that_is_aligned_to_colour_is_preferred_and_raw_images_to_compressed_ones():
    depths = topics_of(
        "/camera/depth/image_rect_raw", "/camera/aligned_depth_to_color/image_raw", "/camera/infra1/image"
    )
    compressed = Topic(name=f"{depths[1].name}/compressedDepth", type="sensor_msgs/msg/CompressedImage", count=1)
    found = depth_topic([compressed, *depths], None)
    assert found is depths[1]


def test_an_encoding_that_is_not_supported_is_named(recorder):
    message = refusal(recorder.write("room", count=2, encoding="bayer_rggb8"))
    assert "/camera/color/image_raw: the colour image has encoding 'bayer_rggb8'" in message


def test_depth_of_other_pixels_is_refused_unless_the_request_aligns_it(recorder):
    other_frame = recorder.write("frame", count=2, depth_frame_id="infrared")
    assert "in frame optical and /camera/aligned_depth_to_color/image_raw in infrared" in refusal(other_frame)
    smaller = recorder.write("size", count=2, depth_size=(24, 32))
    assert "is 80x60 and /camera/aligned_depth_to_color/image_raw is 32x24" in refusal(smaller)
    for path in (other_frame, smaller):
        assert len(frames_of(path, may_differ=True)[1]) == 2


def test_a_bag_without_index_says_how_to_make_one(recorder, tmp_path):
    bag = recorder.write("room", "ros1", count=3)
    content = bytearray(bag.read_bytes())
    at = content.index(b"index_pos=") + len(b"index_pos=")
    content[at : at + 8] = bytes(8)  # what a recorder writes that never came to its end
    bag.write_bytes(content)
    assert refusal(bag).endswith(f"make its index anew with: rosbag reindex {bag}")
    folder = recorder.write("room", "ros2", count=3)
    (folder / "metadata.yaml").unlink()
    for path in (folder, next(folder.glob("*.db3"))):
        assert refusal(path).endswith(f"make it with: ros2 bag reindex {folder}")


def test_of_an_mcap_that_was_cut_off_the_rest_is_used(recorder, make_scene):
    path = recorder.write("room", count=250)  # several chunks
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    source, frames = frames_of(path)
    assert 50 < len(frames) < 200
    np.testing.assert_array_equal(frames[-1].images["rgb"], make_scene(len(frames) - 1).rgb)
    assert "was not written to its end; the" in source.notes[0]
    path.write_bytes(whole[:400])
    assert "ends before its first message" in refusal(path)


def test_of_a_damaged_mcap_what_comes_before_is_used(recorder):
    path = recorder.write("room", count=250)
    content = bytearray(path.read_bytes())
    at = len(content) * 3 // 5
    content[at : at + 30_000] = b"\xff" * 30_000
    path.write_bytes(content)
    source, frames = frames_of(path)
    assert 50 < len(frames) < 200
    assert "is damaged (" in source.notes[0]
    assert source.notes[0].endswith("what comes before is used")


def test_a_damaged_bag_of_sqlite_is_refused(recorder):
    folder = recorder.write("room", "ros2", count=5)
    (file,) = folder.glob("*.db3")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "cannot be read" in refusal(folder)


@pytest.mark.parametrize("name", ["notes.mcap", "notes.bag"])
def test_what_is_no_recording_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    assert "cannot be read" in refusal(tmp_path / name)


def test_a_recording_with_further_files_is_refused(recorder, tmp_path):
    path = recorder.write("room", count=2)
    with pytest.raises(InvalidInputError, match="--depth-topic instead"):
        open_source(SourceRequest(inputs={"rgb": path, "depth": path}))


def test_a_damaged_message_costs_its_frame_alone(make_messages, recorder):
    make = make_messages(2)
    image = make.image(make.header(0, ""), "rgb8", np.zeros((4, 4, 3), np.uint8))
    image.data = image.data[:10]
    with pytest.raises(InvalidInputError, match="holds 10 bytes in rows of 12"):
        color_image(image)
    for kind in ("16UC1; compressedDepth png", "8UC1; compressedDepth png"):
        with pytest.raises(InvalidInputError, match="expected 16UC1 or 32FC1"):
            depth_image(make.compressed(make.header(0, ""), kind, b"short"))


@pytest.mark.parametrize("seed", range(4))
def test_rvl_is_read_back(encode_rvl, seed):
    rng = np.random.default_rng(seed)
    depth = rng.integers(0, 65536, (13, 17)).astype(np.uint16)
    depth[rng.random(depth.shape) < (0, 0.2, 0.9, 1)[seed]] = 0
    data = encode_rvl(depth)
    np.testing.assert_array_equal(decode_rvl(data), depth)
    for length in range(0, len(data) - 4, 7):
        with pytest.raises(InvalidInputError, match="damaged"):
            decode_rvl(data[:length])


def test_pairs_are_nearest_in_time_and_few_wait(make_scene):
    def images():
        for number in range(500):
            yield True, Stamped(stamp_ns=number * 10, content=None)
            if number < 300 and number % 2 == 0:  # half as often, and then no more
                yield False, Stamped(stamp_ns=number * 10 + 3, content=None)

    taken = 0

    def counted():
        nonlocal taken
        for image in images():
            taken += image[0]
            yield image

    most = 0
    offsets = []
    for pair in pair_by_stamp(counted(), max_offset_ns=12):
        most = max(most, taken - pair.number)
        offsets.append(None if pair.depth is None else pair.offset_ns)
    assert offsets[:300] == [3, -7] * 150
    assert offsets[300:] == [None] * 200
    assert most <= 33

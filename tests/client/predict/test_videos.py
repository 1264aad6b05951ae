"""Videos as sources and as results."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion import load
from geminifusion.commands import predict
from geminifusion.errors import InvalidInputError
from geminifusion.sources.base import SourceRequest
from geminifusion.sources.registry import open_source

COUNT = 6


def write_video(path, frames, *, depth=False):
    height, width = frames[0].shape[:2]
    kind = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0] if depth else []
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10, (width, height), kind)
    for frame in frames:
        writer.write(frame if depth else frame[..., ::-1])
    writer.release()
    return path


@pytest.fixture
def scenes(make_scene):
    return [make_scene(number) for number in range(COUNT)]


@pytest.fixture
def color(scenes, tmp_path):
    return write_video(tmp_path / "room.mkv", [one.rgb for one in scenes])


def depth_beside(kind, scenes, folder):
    """The depth of the frames, in one of the ways in which it may lie beside a video."""
    if kind == "video":
        return write_video(folder / "depth.mkv", [one.depth_mm for one in scenes], depth=True)
    if kind == "npy":
        np.save(folder / "depth.npy", [one.depth_mm for one in scenes])
        return folder / "depth.npy"
    (folder / "depth").mkdir()
    for number, one in enumerate(scenes):
        cv2.imwrite(str(folder / "depth" / f"{number:04d}.png"), one.depth_mm)
    return folder / "depth"


@pytest.mark.parametrize("kind", ["video", "npy", "folder"])
def test_a_video_and_its_depth_are_segmented_frame_by_frame(color, scenes, tiny_artifact, tmp_path, kind):
    depth = depth_beside(kind, scenes, tmp_path)
    arguments = [
        color,
        depth,
        "--artifact",
        tiny_artifact,
        "--format",
        "png",
        "--format",
        "video",
        "--output",
        tmp_path / "out",
    ]
    done = CliRunner().invoke(predict, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    segment = load(tiny_artifact, threads=1)
    rgb_there = cv2.VideoCapture(str(color), cv2.CAP_FFMPEG)
    for number, one in enumerate(scenes):
        rgb = rgb_there.read()[1][..., ::-1]
        expected = segment(np.ascontiguousarray(rgb), one.depth_mm).labels
        written = cv2.imread(str(tmp_path / "out" / f"room_{number:06d}_labels.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, expected)
    video = cv2.VideoCapture(str(tmp_path / "out/room_overlay.mp4"), cv2.CAP_FFMPEG)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == COUNT
    assert video.get(cv2.CAP_PROP_FPS) == 10
    assert video.read()[1].shape == (60, 80, 3)


def test_stamps_come_from_the_rate(color, scenes, tmp_path):
    source = open_source(SourceRequest(inputs={"rgb": color, "depth": depth_beside("npy", scenes, tmp_path)}))
    assert [frame.stamp_ns for frame in source.frames()] == [number * 100_000_000 for number in range(COUNT)]
    source.close()


def test_depth_of_eight_bits_other_lengths_and_no_videos_are_refused(color, scenes, tmp_path):
    def refusal(depth):
        with pytest.raises(InvalidInputError) as refused:
            open_source(SourceRequest(inputs={"rgb": color, "depth": depth}))
        return str(refused.value)

    assert "depth is cut off; give a video of 16 bits" in refusal(color)
    short = write_video(tmp_path / "short.mkv", [one.depth_mm for one in scenes[:3]], depth=True)
    assert "rgb has 6, depth has 3" in refusal(short)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert "cannot be opened as a video" in refusal(tmp_path / "broken.mp4")
    np.save(tmp_path / "flat.npy", scenes[0].depth_mm)
    assert "give frames x height x width" in refusal(tmp_path / "flat.npy")
    (tmp_path / "depth.txt").write_text("1")
    assert "beside a video" in refusal(tmp_path / "depth.txt")


def test_of_a_video_that_was_cut_off_the_rest_is_used(color, scenes, tmp_path):
    depth = depth_beside("npy", scenes, tmp_path)
    content = color.read_bytes()
    color.write_bytes(content[: len(content) * 2 // 3])
    source = open_source(SourceRequest(inputs={"rgb": color, "depth": depth}))
    frames = list(source.frames())
    source.close()
    assert 0 < len(frames) < COUNT

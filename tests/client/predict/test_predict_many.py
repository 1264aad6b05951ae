"""`geminifusion predict` on many frames: what it writes, what it refuses, and how it goes on."""

import json
import os
import resource
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import trimesh
from click.testing import CliRunner
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from geminifusion import load
from geminifusion.commands import predict
from geminifusion.errors import ClientError, InvalidInputError
from geminifusion.progress import Progress, progress_line
from geminifusion.ros import nav2
from geminifusion.sinks import nav2_recording
from geminifusion.sinks.base import SinkRequest
from geminifusion.sources.base import SourceFrame


def invoke(*arguments):
    return CliRunner().invoke(predict, [str(argument) for argument in arguments], catch_exceptions=False)


def invoke_any(*arguments):
    return CliRunner().invoke(predict, [str(argument) for argument in arguments])


def refusal(*arguments):
    with pytest.raises(ClientError) as refused:
        invoke(*arguments)
    return refused.value


@pytest.fixture(scope="module")
def segment(tiny_artifact):
    return load(tiny_artifact, threads=1)


@pytest.fixture
def folders(tmp_path, make_scene):
    """Four scenes as folders of colour and depth, one of them in a folder within."""
    for number in range(4):
        shown, inner = make_scene(number), "more" if number == 3 else "."
        for kind, image in (("rgb", shown.rgb[..., ::-1]), ("depth", shown.depth_mm)):
            (tmp_path / kind / inner).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / kind / inner / f"{number:03d}_{kind}.png"), image)
    return tmp_path / "rgb", tmp_path / "depth"


def decoded(folder):
    """What another decoder reads: messages by topic, and the metadata of the topics."""
    messages, channels = {}, {}
    (file,) = folder.glob("*.mcap")
    with file.open("rb") as stream:
        for _, channel, message, content in make_reader(
            stream, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages():
            messages.setdefault(channel.topic, []).append((message.log_time, content))
            channels[channel.topic] = channel.metadata
    return messages, channels


@pytest.mark.parametrize(("storage", "depth"), [("ros1", "16UC1"), ("ros2", "32FC1"), ("mcap", "16UC1 png")])
@pytest.mark.parametrize("where", ["here", "grpc", "http"])
def test_the_mcap_holds_what_load_answers(
    recorder, make_scene, segment, tiny_artifact, live_server, tmp_path, storage, depth, where
):
    recording = recorder.write("room", storage, depth=depth)
    urls = {"grpc": live_server.grpc_url, "http": live_server.http_url}
    place = ["--artifact", tiny_artifact] if where == "here" else ["--url", urls[where]]
    done = invoke(recording, *place, "--format", "mcap", "--format", "jsonl", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "30 frames segmented" in done.output
    messages, channels = decoded(tmp_path / "out" / f"{recording.stem}_segmentation")
    ((labels_at, labels),) = messages[nav2.LABELS_TOPIC]
    names = {entry.class_id: entry.class_name for entry in labels.class_map}
    assert names == {one.id: one.name for one in segment.metadata.classes} | {255: "UNLABELED"}
    assert "transient_local" in channels[nav2.LABELS_TOPIC]["offered_qos_profiles"].lower() or (
        "durability: 1" in channels[nav2.LABELS_TOPIC]["offered_qos_profiles"]
    )
    masks, confidences = messages[nav2.MASK_TOPIC], messages[nav2.CONFIDENCE_TOPIC]
    assert len(masks) == len(confidences) == 30
    assert labels_at <= masks[0][0]
    lines = [json.loads(line) for line in (tmp_path / "out" / f"{recording.stem}.jsonl").read_text().splitlines()]
    for number, ((_, mask), (_, confidence)) in enumerate(zip(masks, confidences, strict=True)):
        shown = make_scene(number)
        result = segment(shown.rgb, shown.depth_mm)
        for image, expected in ((mask, result.labels), (confidence, nav2.confidence_levels(result))):
            pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
            np.testing.assert_allclose(pixels.astype(int), expected, atol=image is confidence and where != "here")
            assert (image.encoding, image.width, image.header.frame_id) == ("mono8", 80, "optical")
            stamp_ns = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
            assert stamp_ns == lines[number]["stamp_ns"]
        assert lines[number]["pair_offset_ms"] == 4.0
        assert [one["pixels"] for one in lines[number]["classes"]] == [one.pixels for one in result.classes]


def test_the_recording_plays_with_a_cloud_where_points_are_known(segment, make_scene, tmp_path):
    shown = make_scene(0)
    points = np.random.default_rng(0).normal(size=(60, 80, 3)).astype(np.float32)
    points[0, 0] = np.nan
    sink = nav2_recording.Nav2Recording(
        SinkRequest(
            directory=tmp_path,
            name="room",
            classes=lambda: segment.metadata.classes,
            points=lambda frame, result: points,
        )
    )
    frame = SourceFrame(name="0", images={"rgb": shown.rgb, "depth": shown.depth_mm})
    sink.write(frame, segment(shown.rgb, shown.depth_mm))
    (folder,) = sink.close()
    ((_, cloud),) = decoded(folder)[0][nav2.CLOUD_TOPIC]
    assert [(field.name, field.offset, field.datatype) for field in cloud.fields] == [
        ("x", 0, 7),
        ("y", 4, 7),
        ("z", 8, 7),
    ]
    assert (cloud.height, cloud.width, cloud.row_step, cloud.is_dense) == (60, 80, 960, False)
    np.testing.assert_array_equal(np.frombuffer(bytes(cloud.data), "<f4").reshape(60, 80, 3), points)


@pytest.mark.parametrize("where", ["here", "grpc", "http"])
def test_points_have_the_camera_of_the_recording(recorder, make_scene, tiny_artifact, live_server, tmp_path, where):
    recording = recorder.write("room", count=3, offset_ns=0)
    urls = {"grpc": live_server.grpc_url, "http": live_server.http_url}
    place = ["--artifact", tiny_artifact] if where == "here" else ["--url", urls[where]]
    done = invoke(recording, *place, "--format", "ply", "--format", "mcap", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    messages, _ = decoded(tmp_path / "room_segmentation")
    for number, (_, cloud) in enumerate(messages[nav2.CLOUD_TOPIC]):
        depth = make_scene(number).depth_mm * 0.001
        rows, columns = np.indices(depth.shape)
        expected = np.stack([(columns - 31.5) / 60.5 * depth, (rows - 23.5) / 61.0 * depth, depth], axis=-1)
        expected[depth == 0] = np.nan
        points = np.frombuffer(bytes(cloud.data), "<f4").reshape(*depth.shape, 3)
        np.testing.assert_allclose(points, expected, atol=1e-5)
        written = trimesh.load(tmp_path / f"room_{number:06d}.ply")
        np.testing.assert_allclose(written.vertices, expected[depth > 0], atol=1e-5)
    assert len(messages[nav2.CLOUD_TOPIC]) == 3


def test_points_without_a_camera_are_refused(folders, tiny_artifact, tmp_path):
    done = invoke_any(*folders, "--artifact", tiny_artifact, "--format", "ply", "--output", tmp_path / "out")
    assert done.exit_code != 0
    assert "points need the camera of depth" in done.output + str(done.exception)
    given = [*folders, "--artifact", tiny_artifact, "--format", "pcd", "--intrinsics", 60.5, 61, 31.5, 23.5]
    assert invoke(*given, "--output", tmp_path / "out").exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.pcd"))) == 3


def test_folders_are_paired_by_stem_and_go_on_where_they_stopped(folders, segment, tiny_artifact, tmp_path):
    out = tmp_path / "out"
    command = [
        *folders,
        "--artifact",
        tiny_artifact,
        "--recursive",
        "--output",
        out,
        "--format",
        "npz",
        "--format",
        "jsonl",
    ]
    first = invoke(*command, "--limit", 2)
    assert "2 frames segmented" in first.output
    assert sorted(path.name for path in out.iterdir()) == ["000.npz", "001.npz", "rgb.jsonl"]
    with (out / "rgb.jsonl").open("a") as file:
        file.write('{"frame": "00')  # as a run leaves it that was killed
    second = invoke(*command)
    assert "2 frames segmented, 2 kept from an earlier run" in second.output
    lines = [json.loads(line) for line in (out / "rgb.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == ["000", "001", "002", "more/003"]
    rgb, depth = (folder / "more" / f"003_{folder.name}.png" for folder in folders)
    np.testing.assert_array_equal(np.load(out / "more/003.npz")["labels"], segment(rgb, depth).labels)
    assert "4 frames segmented" in invoke(*command, "--overwrite").output


def test_files_without_counterpart_are_listed_before_anything_is_computed(folders, tiny_artifact, tmp_path):
    rgb, depth = folders
    (depth / "001_depth.png").unlink()
    shutil.copy(depth / "002_depth.png", depth / "extra.png")
    command = [rgb, depth, "--artifact", tiny_artifact, "--output", tmp_path / "out"]
    message = str(refusal(*command))
    assert f"2 files have no counterpart: {rgb}/001_rgb.png (no depth), {depth}/extra.png (no rgb)" in message
    assert not (tmp_path / "out").exists()
    done = invoke(*command, "--skip-unpaired")
    assert "2 frames segmented" in done.output
    assert "left out" in done.output


def test_folders_that_cannot_be_paired_say_why(folders, tmp_path):
    rgb, depth = folders
    (tmp_path / "empty").mkdir()
    assert "holds no images" in str(refusal(rgb, tmp_path / "empty"))
    assert "folder for each modality" in str(refusal(rgb, depth / "000_depth.png"))
    assert "files or folders alone" in str(refusal(rgb / "000_rgb.png", depth))
    shutil.copy(rgb / "000_rgb.png", rgb / "000.png")
    assert "are both rgb of frame '000'" in str(refusal(rgb, depth))


@pytest.mark.parametrize("where", ["here", "grpc"])
def test_a_half_written_image_costs_its_frame_alone(folders, tiny_artifact, live_server, tmp_path, where):
    rgb, depth = folders
    file = rgb / "001_rgb.png"
    file.write_bytes(file.read_bytes()[:200])
    place = ["--artifact", tiny_artifact] if where == "here" else ["--url", live_server.grpc_url]
    command = [rgb, depth, *place, "--output", tmp_path / "out", "--format", "jsonl"]
    failed = refusal(*command)
    assert "1 frames have no result (001: " in str(failed)
    lines = [json.loads(line) for line in (tmp_path / "out/rgb.jsonl").read_text().splitlines()]
    assert [(line["frame"], "error" in line) for line in lines] == [("000", False), ("001", True), ("002", False)]
    assert lines[1]["error"]["code"] == "undecodable_image"


def test_frames_that_cannot_be_sent_keep_their_place(live_server, make_scene):
    from geminifusion.segmenters import ServedSegmenter

    shown = make_scene(0)
    images = {"rgb": shown.rgb, "depth": shown.depth_mm}
    broken = InvalidInputError("damaged")
    frames = [
        SourceFrame(name=str(number), images=images, error=broken if number in (0, 3, 4, 6) else None)
        for number in range(7)
    ]
    segmenter = ServedSegmenter(live_server.grpc_url, {})
    outcomes = list(segmenter.outcomes(iter(frames)))
    segmenter.close()
    assert [frame.name for frame, _ in outcomes] == list("0123456")
    assert [outcome is broken for _, outcome in outcomes] == [True, False, False, True, True, False, True]


def test_what_cannot_be_added_to_is_not_replaced_unasked(folders, tiny_artifact, tmp_path):
    command = [
        *folders,
        "--artifact",
        tiny_artifact,
        "--output",
        tmp_path / "out",
        "--format",
        "mcap",
        "--format",
        "video",
    ]
    assert invoke(*command).exit_code == 0
    assert "exists; remove it" in str(refusal(*command))
    assert invoke(*command, "--overwrite").exit_code == 0


def test_results_that_do_not_fit_are_refused_after_one_frame(folders, tiny_artifact, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    command = [*folders, "--artifact", tiny_artifact, "--output", tmp_path / "out", "--format", "mcap"]
    refused = refusal(*command)
    assert refused.code == "disk_full"
    assert "3 frames need at least 0 MB" in str(refused)


def test_a_disk_that_fills_up_is_one_line(folders, tiny_artifact, tmp_path):
    """A limit on the size of files stands for the disk."""
    arguments = [*folders, "--artifact", tiny_artifact, "--output", tmp_path / "out", "--format", "npz"]
    done = subprocess.run(
        [sys.executable, "-m", "geminifusion", "predict", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "is full after 0 frames; free some and run the same command again" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_a_request_id_is_for_one_frame(folders, live_server):
    assert "names one request" in str(refusal(*folders, "--url", live_server.http_url, "--request-id", "a"))


def test_progress_says_what_is_left():
    assert progress_line(12, 0, 30, 2.0) == "12/30 frames, 6.0 per second, 0:03 left"
    assert progress_line(12, 10, 100, 1.0) == "12/100 frames, 2.0 per second, 0:44 left"
    assert progress_line(12, 0, None, 2.0) == "12 frames, 6.0 per second"
    assert progress_line(12, 12, 30, 2.0) == "12/30 frames"


def test_progress_is_shown_now_and_then():
    now, lines = [0.0], []
    progress = Progress(100, write=lines.append, is_terminal=False, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 0.25
        progress.step()
    progress.end()
    assert lines == ["40/100 frames, 4.0 per second, 0:15 left\n", "80/100 frames, 4.0 per second, 0:05 left\n"]

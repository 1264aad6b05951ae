"""`geminifusion predict` with a model for 3-D object detection."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from geminifusion.server_process import running_server


@pytest.fixture
def run():
    from geminifusion.commands import predict

    return lambda *arguments: CliRunner().invoke(predict, [str(one) for one in arguments])


@pytest.fixture
def folder(make_street, tmp_path):
    """Two frames in KITTI's layout."""
    for name, seed in (("000000", 1), ("000001", 2)):
        for content, (kind, suffix) in zip(
            make_street(seed).files().values(),
            (("image_2", ".png"), ("velodyne", ".bin"), ("calib", ".txt")),
            strict=True,
        ):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"{name}{suffix}").write_bytes(content)
    return tmp_path


def test_a_frame_is_drawn_and_written_in_kittis_form(run, folder, detector_artifact):
    done = run(
        folder / "image_2/000000.png", "--input", f"points={folder / 'velodyne/000000.bin'}",
        "--input", f"calibration={folder / 'calib/000000.txt'}", "--artifact", detector_artifact,
        "--output", folder / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "car" in done.output
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "000000.txt", "000000_bev.png", "000000_boxes.png",
    ]  # fmt: skip
    assert (folder / "out/000000.txt").read_text().split()[0] in ("Car", "Pedestrian")


def test_folders_are_matched_by_name(run, folder, detector_artifact):
    done = run(
        folder / "image_2", "--input", f"points={folder / 'velodyne'}", "--input", f"calibration={folder / 'calib'}",
        "--artifact", detector_artifact, "--output", folder / "out", "--format", "kitti", "--min-score", "0.2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "in 2 frames; wrote 2 files" in done.output
    (folder / "calib/000001.txt").unlink()
    failed = run(
        folder / "image_2", "--input", f"points={folder / 'velodyne'}", "--input", f"calibration={folder / 'calib'}",
        "--artifact", detector_artifact, "--output", folder / "out",
    )  # fmt: skip
    assert "frame 000001 has no calibration" in str(failed.exception)


@pytest.mark.parametrize("served", [False, True])
def test_a_calibration_that_cannot_be_inverted_is_a_sentence(run, folder, detector_artifact, tmp_path, served):
    file = folder / "calib/000000.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join("R0_rect: 0 0 0 0 0 0 0 0 0" if line.startswith("R0") else line for line in lines))
    arguments = [
        folder / "image_2/000000.png", "--input", f"points={folder / 'velodyne/000000.bin'}",
        "--input", f"calibration={file}", "--output", folder / "out",
    ]  # fmt: skip
    if served:
        with running_server(["--artifact", detector_artifact], tmp_path / "server.log") as server:
            done = run(*arguments, "--url", server.http_url)
    else:
        done = run(*arguments, "--artifact", detector_artifact)
    assert done.exit_code != 0
    assert "R0_rect of the calibration cannot be inverted; send the matrix of a real camera" in str(done.exception)


def test_formats_of_boxes_need_points(run, folder):
    done = run(folder / "image_2/000000.png", "--format", "bev")
    assert done.exit_code == 2
    assert "--format bev or kitti are for boxes" in done.output


def test_a_detector_without_points_says_what_to_give(run, folder, detector_artifact, tmp_path):
    with running_server(["--artifact", detector_artifact], tmp_path / "server.log") as server:
        for where in (["--artifact", detector_artifact], ["--url", server.http_url], ["--url", server.grpc_url]):
            for rgb in (folder / "image_2/000000.png", folder / "image_2"):
                done = run(rgb, *where, "--output", folder / "out")
                assert done.exit_code == 2, (where, rgb, done.exception)
                assert "street@1 is for object-detection-3d; give RGB, --input points=FILE and" in done.output


def test_what_boxes_have_no_use_for_is_refused_in_one_sentence(run, folder, detector_artifact):
    done = run(
        folder / "image_2", "--input", f"points={folder / 'velodyne'}", "--input", f"calibration={folder / 'calib'}",
        "--artifact", detector_artifact, "--overwrite", "--rerun", "--overlay-on", "rgb",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "--rerun, --overlay-on, --overwrite: not for 3-D object detection; leave it out" in done.output

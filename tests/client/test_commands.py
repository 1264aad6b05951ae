"""The command line, in this process and as a real one."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from tests.translator_artifact import write_translator

from geminifusion import Client, __version__, cli, load
from geminifusion.cli import LazyGroup
from geminifusion.commands import demo, models, predict
from geminifusion.errors import InvalidInputError
from geminifusion.server_process import open_port, running_server
from geminifusion_model.commands import evaluate

COMMAND = [sys.executable, "-m", "geminifusion"]


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=60, check=False,
    )  # fmt: skip


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def test_help_lists_every_command_with_a_summary():
    done = run("--help")
    assert done.returncode == 0
    for name in ("demo", "evaluate", "export", "models", "predict", "serve", "train", "verify"):
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in done.stdout.splitlines())


def test_version_is_the_package_s():
    assert run("--version").stdout.strip() == f"geminifusion {__version__}"


def test_unknown_command_is_wrong_usage():
    done = run("segmnt")
    assert done.returncode == 2
    assert "No such command 'segmnt'" in done.stderr


def test_missing_extra_is_one_line_with_the_command_that_installs_it(monkeypatch, capsys):
    # A None entry makes Python say that the module is not installed.
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("geminifusion_runtime.decoding.images", "geminifusion_runtime.model", "geminifusion.local"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    group = LazyGroup({"images": EntryPoint("images", "geminifusion_runtime.decoding.images:decode_rgb", cli.GROUP)})
    monkeypatch.setattr(cli, "command_group", lambda: group)
    with pytest.raises(SystemExit) as end:
        cli.main(["images"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'needs cv2, which is not installed; run: pip install "geminifusion[runtime]"' in line


def test_models_of_every_task_are_described_alike_here_and_by_a_server(tmp_path, detector_artifact):
    translator = write_translator(tmp_path / "to-depth", "depth", scores={"rmse_m": 0.123456})
    with running_server(["--artifact", translator], tmp_path / "server.log") as server:
        there = invoke(models, "--url", server.http_url).output
    assert there == invoke(models, "--artifact", translator).output
    assert "makes       depth (0.3 to 10 m)" in there
    assert "score       rmse_m 0.1235" in there
    detector = invoke(models, "--artifact", detector_artifact).output
    assert "classes     3: pedestrian, cyclist, car" in detector
    assert "--input points=points.bin --input calibration=calib.txt" in detector
    assert "score       not measured" in detector


def test_what_only_segmentation_does_says_so_of_other_models(detector_artifact, tmp_path):
    with pytest.raises(InvalidInputError, match="street@1 is for object-detection-3d, and the demo shows segmentation"):
        invoke(demo, "--artifact", detector_artifact, "--once", "--output", tmp_path)
    scored = invoke(evaluate, detector_artifact, "--data", tmp_path)
    assert "is an artifact for object-detection-3d, of which only checkpoints are scored" in scored.output


def test_our_errors_are_one_line_and_debug_shows_where(tmp_path):
    done = run("models", "--artifact", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"geminifusion: {tmp_path} holds no metadata.json; give the directory")
    for shown in (
        run("--debug", "models", "--artifact", tmp_path),
        run("models", "--artifact", tmp_path, GEMINIFUSION_DEBUG="1"),
    ):
        assert "Traceback" in shown.stderr
        assert shown.returncode == 1


def test_memory_that_runs_out_in_any_command_is_one_line(monkeypatch, capsys):
    @click.command()
    def greedy():
        np.empty(2**60, np.uint8)

    monkeypatch.setattr(cli, "command_group", lambda: greedy)
    with pytest.raises(SystemExit):
        cli.main([])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "this machine has too little memory" in line
    assert "Unable to allocate" in line
    assert line.endswith("or run it where more memory is free")


def test_predict_writes_the_files_asked_for_and_prints_the_table(tiny_artifact, pair, tmp_path):
    formats = [f"--format={name}" for name in ("palette", "overlay", "png", "npz", "json")]
    where = ["--artifact", tiny_artifact, "--output", tmp_path / "out"]
    done = invoke(predict, pair.rgb_path, pair.depth_path, *where, *formats)
    assert done.exit_code == 0, done.output
    result = load(tiny_artifact, threads=1)(pair.rgb_path, pair.depth_path)
    out = tmp_path / "out"
    np.testing.assert_array_equal(cv2.imread(str(out / "room_labels.png"), cv2.IMREAD_UNCHANGED), result.labels)
    np.testing.assert_array_equal(cv2.imread(str(out / "room_overlay.png"))[:, :, ::-1], result.overlay())
    np.testing.assert_array_equal(np.load(out / "room.npz")["labels"], result.labels)
    mask = cv2.imread(str(out / "room_mask.png"))[:, :, ::-1]
    np.testing.assert_array_equal(mask, result.palette[result.labels])
    summary = json.loads((out / "room.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in summary["classes"]] == [c.name for c in result.classes]
    assert result.table() in done.output


def test_predict_through_a_server_prints_the_same_table(live_server, tiny_artifact, pair, tmp_path):
    here = invoke(predict, pair.rgb_path, pair.depth_path, "--artifact", tiny_artifact, "--output", tmp_path)
    for url in (live_server.http_url, live_server.grpc_url):
        there = invoke(predict, pair.rgb_path, pair.depth_path, "--url", url, "--output", tmp_path)
        assert there.output == here.output


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_predict_of_a_mask_asks_a_server_for_nothing_but_the_mask(live_server, pair, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Client, "models", lambda _: pytest.fail("another request"))
    url = live_server.http_url if kind == "http" else live_server.grpc_url
    done = invoke(predict, pair.rgb_path, pair.depth_path, "--url", url, "--output", tmp_path)
    assert done.exit_code == 0, done.output


def test_predict_takes_the_marks_of_no_measurement(live_server, tiny_artifact, pair, tmp_path):
    tables = []
    for mark in (0, 65535):
        depth = pair.depth_mm.copy()
        depth[:25] = mark
        cv2.imwrite(str(tmp_path / "depth.png"), depth)
        for where in (["--artifact", tiny_artifact], ["--url", live_server.http_url], ["--url", live_server.grpc_url]):
            marks = ["--depth-invalid", "65535", "--depth-invalid", "-1"]
            done = invoke(predict, pair.rgb_path, tmp_path / "depth.png", *where, *marks, "--output", tmp_path)
            tables.append(done.output)
    assert set(tables) == {tables[0]}
    assert "looks like a mark" not in tables[0]


def test_predict_hands_options_of_the_request_to_the_server(live_server, pair, tmp_path):
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), pair.depth_mm[::2, ::2])
    where = ["--url", live_server.http_url, "--output", tmp_path, "--format", "npz"]
    rejected = CliRunner().invoke(predict, [str(one) for one in (pair.rgb_path, small, *where)])
    assert "send both at the same size" in str(rejected.exception) or rejected.exit_code == 1
    done = invoke(predict, pair.rgb_path, small, *where, "--align", "resize", "--disagreement")
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "room.npz") as maps:
        assert set(maps) == {"labels", "confidence", "gate", "disagreement"}


@pytest.mark.parametrize("options", [["--artifact", ".", "--url", "http://x"], ["--model", "tiny"], ["--disagreement"]])
def test_options_that_contradict_each_other_are_wrong_usage(pair, options):
    done = invoke(predict, pair.rgb_path, pair.depth_path, *options)
    assert done.exit_code == 2
    assert "Usage" in done.output


def test_models_describes_an_artifact_and_a_server(tiny_artifact, live_server):
    metadata = load(tiny_artifact, threads=1).metadata
    for source in (["--artifact", tiny_artifact], ["--url", live_server.http_url], ["--url", live_server.grpc_url]):
        done = invoke(models, *source)
        assert done.exit_code == 0, done.output
        assert done.output.startswith(metadata.reference)
        for word in (*(c.name for c in metadata.classes), metadata.encoder, metadata.weights_license):
            assert word in done.output


def demo_arguments(artifact, output, *more):
    return ["demo", "--artifact", artifact, "--output", output, "--http-port", 0, "--grpc-port", 0, *more]


def test_demo_once_shows_the_answer_and_leaves_no_server(tiny_artifact, tmp_path):
    done = run(*demo_arguments(tiny_artifact, tmp_path / "shown", "--once"))
    assert done.returncode == 0, done.stderr
    assert "A living room" in done.stdout
    assert "share   median distance" in done.stdout
    assert "peak memory of the server" in done.stdout
    for name in ("mask.png", "overlay.png"):
        assert cv2.imread(str(tmp_path / "shown" / name)).shape == (480, 640, 3)


@pytest.mark.parametrize(
    "by",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_demo_keeps_serving_until_it_is_told_to_stop(tiny_artifact, tmp_path, by):
    arguments = [*COMMAND, *map(str, demo_arguments(tiny_artifact, tmp_path))]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # these tests run under nohup, the demo should not
        arguments = ["env", "--default-signal=HUP", *arguments]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        shown = ""
        for line in process.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        url = shown.split("serving ")[1].split(" ")[0]
        assert httpx.get(f"{url}/healthz/ready").status_code == 200
        process.send_signal(by)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()  # or the end of this block would wait for ever
        assert process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz/ready")


@pytest.mark.slow
def test_demo_started_as_a_background_job_still_ends_on_an_interrupt(tiny_artifact, tmp_path):
    ignored = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # what a shell does to the jobs it starts with &
    arguments = [*ignored, *COMMAND, *map(str, demo_arguments(tiny_artifact, tmp_path))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert any("Ctrl-C" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 0


@pytest.mark.slow
def test_demo_takes_a_free_port_when_the_wanted_one_is_taken(tiny_artifact, tmp_path, live_server):
    taken = live_server.http_url.rpartition(":")[2]
    done = run("demo", "--once", "--artifact", tiny_artifact, "--output", tmp_path, "--http-port", taken,
               "--grpc-port", open_port(0, "127.0.0.1"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"port {taken} is taken; HTTP takes " in done.stdout


def test_demo_of_a_broken_artifact_shows_the_server_s_own_words(tiny_artifact, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "metadata.json").write_bytes((tiny_artifact / "metadata.json").read_bytes())
    done = run(*demo_arguments(broken, tmp_path / "out", "--once"))
    assert done.returncode == 1
    assert "the server ended with exit code" in done.stderr
    assert "model.onnx is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_names_the_pairs_there_are(tiny_artifact):
    done = invoke(demo, "--artifact", tiny_artifact, "--pair", "kitchen")
    assert done.exit_code == 2
    assert "livingroom, lab_a, boxes" in done.output

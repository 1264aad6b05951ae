import contextlib
import json
import resource
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from geminifusion_model.training.errors import RunLoggerError
from geminifusion_model.training.records.run_logger import RunLogger
from geminifusion_model.training.records.tensorboard_writer import TensorBoardWriter, crc32c


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def read_by_tensorboard(directory):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the tensorboard package"
    )
    return accumulator.EventAccumulator(str(directory / "tensorboard"), size_guidance={"images": 0}).Reload()


def curve(directory, name):
    events = read_by_tensorboard(directory)
    return [(point.step, point.value) for point in events.Scalars(name)] if name in events.Tags()["scalars"] else []


def test_every_call_is_one_line_with_its_step_and_time(tmp_path):
    with RunLogger(tmp_path) as log:
        log.scalars(1, {"loss": 2.5, "learning_rate": 1e-4})
        log.scalars(2, {"loss": 2.25})
        seen_before_closing = lines(tmp_path)
    assert lines(tmp_path) == seen_before_closing
    assert [{name: value for name, value in line.items() if name != "time"} for line in lines(tmp_path)] == [
        {"step": 1, "loss": 2.5, "learning_rate": 1e-4},
        {"step": 2, "loss": 2.25},
    ]
    assert lines(tmp_path)[0]["time"].endswith("+00:00")


def test_a_number_that_is_not_finite_is_null_so_that_the_line_stays_json(tmp_path):
    with RunLogger(tmp_path) as log:
        log.scalars(1, {"loss": float("nan"), "scale": float("inf"), "far": 1e300})
    (line,) = lines(tmp_path)
    assert (line["loss"], line["scale"], line["far"]) == (None, None, 1e300)
    assert curve(tmp_path, "far") == [(1, float("inf"))]


def test_tensorboard_reads_the_curves_and_images(tmp_path):
    written = np.random.default_rng(0).integers(0, 256, (13, 29, 3), np.uint8)
    with RunLogger(tmp_path) as log:
        log.scalars(7, {"train/loss": 0.625})
        log.scalars(300, {"train/loss": -0.5})
        log.image(300, "predictions/0", written)
        assert curve(tmp_path, "train/loss") == [(7, 0.625), (300, -0.5)], "readable while the run goes on"
    (image,) = read_by_tensorboard(tmp_path).Images("predictions/0")
    assert (image.step, image.width, image.height) == (300, 29, 13)
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), written)


def test_a_resumed_run_reads_like_one_that_never_stopped(tmp_path):
    with RunLogger(tmp_path / "whole") as log:
        for step in range(1, 7):
            log.scalars(step, {"loss": step / 2})
    with RunLogger(tmp_path / "parts") as log:
        for step in range(1, 5):
            log.scalars(step, {"loss": step / 2 if step <= 2 else 99.0})
    with RunLogger(tmp_path / "parts", resume_step=2) as log:
        for step in range(3, 7):
            log.scalars(step, {"loss": step / 2})
    for directory in ("whole", "parts"):
        assert [(line["step"], line["loss"]) for line in lines(tmp_path / directory)] == [
            (step, step / 2) for step in range(1, 7)
        ]
    assert curve(tmp_path / "parts", "loss") == curve(tmp_path / "whole", "loss")


def test_line_cut_short_by_a_killed_process_is_dropped(tmp_path):
    with RunLogger(tmp_path) as log:
        log.scalars(1, {"loss": 1.0})
        log.scalars(2, {"loss": 2.0})
    for path in (tmp_path / "metrics.jsonl", next((tmp_path / "tensorboard").iterdir())):
        path.write_bytes(path.read_bytes()[:-9])
    with RunLogger(tmp_path, resume_step=1) as log:
        log.scalars(2, {"loss": 2.0})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert curve(tmp_path, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_new_run_drops_the_log_of_one_that_never_saved_a_state(tmp_path):
    with RunLogger(tmp_path) as log:
        log.scalars(1, {"loss": 9.0})
    with RunLogger(tmp_path) as log:
        log.scalars(1, {"loss": 1.0})
    assert [line["loss"] for line in lines(tmp_path)] == [1.0]
    assert curve(tmp_path, "loss") == [(1, 1.0)]


def test_damage_within_the_metrics_is_reported_and_left_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nsomebody was here\n{"step": 2}\n')
    with pytest.raises(RunLoggerError, match=r"line 2 of .*metrics.jsonl is b'somebody was here"):
        RunLogger(tmp_path, resume_step=2)
    assert path.read_text().count("\n") == 3


@contextlib.contextmanager
def files_of_at_most(num_bytes):
    """A write beyond the limit fails like one on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def log_many_lines(log):
    for step in range(1, 1000):
        log.scalars(step, {"loss": 1.0})


def log_an_image(log):
    log.image(1, "noise", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("write", [log_many_lines, log_an_image])
def test_a_full_disk_is_an_error_and_neither_silence_nor_a_hang(tmp_path, write):
    with RunLogger(tmp_path) as log, files_of_at_most(4096), pytest.raises(OSError, match="File too large"):
        write(log)
    with RunLogger(tmp_path, resume_step=3) as again:
        again.scalars(4, {"loss": 0.5})
    assert [line["step"] for line in lines(tmp_path)] in ([1, 2, 3, 4], [4])
    assert curve(tmp_path, "loss")[-1] == (4, 0.5)


def test_crc32c_equals_the_published_values():
    """Test vectors of RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes([255] * 32)) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_each_session_has_an_event_file_of_its_own_in_reading_order(tmp_path):
    for _ in range(3):
        TensorBoardWriter(tmp_path).close()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"events.out.tfevents.{n:06d}" for n in (1, 2, 3)]


def test_asking_for_weights_and_biases_without_the_library_says_what_to_install(tmp_path):
    """In a process where importing it fails, whether it is installed or not."""
    program = (
        "import sys, pathlib\n"
        "sys.modules['wandb'] = None\n"
        "from geminifusion_model.training.records.run_logger import RunLogger, RunLoggerError\n"
        "try:\n"
        "    RunLogger(pathlib.Path(sys.argv[1]), wandb_project='rooms')\n"
        "except RunLoggerError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert 'wandb, which is not installed; run: pip install "geminifusion[tracking]"' in found.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("default")  # of the library's own
def test_weights_and_biases_keeps_one_run_over_sessions(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra tracking")
    pytest.importorskip("PIL", reason="needs the extra tracking")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    image = np.zeros((8, 8, 3), np.uint8)
    with RunLogger(tmp_path, wandb_project="rooms", config={"seed": 3}) as log:
        log.scalars(1, {"loss": 1.0})
        log.image(1, "prediction", image)
    with RunLogger(tmp_path, wandb_project="rooms", resume_step=1) as log:
        log.scalars(2, {"loss": 0.5})
    identity = (tmp_path / "wandb_id").read_text().strip()
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{identity}"))) == 2
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]

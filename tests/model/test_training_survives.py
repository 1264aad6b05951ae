"""What happens to a run when the world ends: the real command in a process of its own, killed, stopped or starved."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.sensor_noise import Curriculum, RandomCorruption, SensorNoise
from geminifusion_model.data.synthetic_rooms.folder import RoomsFolder, write_rooms
from geminifusion_model.training.config import TrainingConfig

pytestmark = pytest.mark.slow

GEMINIFUSION = [sys.executable, "-m", "geminifusion"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
PATIENCE_S = 600
STEPS = 14
CLOCK = ("time", "seconds")  # what a line of metrics owes to the clock
LOGGED_STEP = 7  # where the tests strike: behind the state of step 5, before that of step 10


def config(**changes):
    """Everything that has a state of its own is on: momentum, the average, dropped paths, the noise curriculum."""
    noise = SensorNoise(
        missing={"rgb": 0.2, "depth": 0.2},
        salt_and_pepper=RandomCorruption(probability=0.5, most=0.1),
        curriculum=Curriculum(begin=2, end=10),
    )
    fields = {
        "network": GeminiFusionConfig(num_classes=13, decoder_channels=32),
        "augmentation": Augmentation(crop=(48, 64), noise=noise),
        "steps": STEPS,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 4,
        "ema_decay": 0.9,
        "holdout": 2,
        "evaluate_every": LOGGED_STEP,
        "checkpoint_every": 5,
        "log_every": 1,
        "allow_unlearnable_classes": True,
    }
    return TrainingConfig(**{**fields, **changes})


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Seven frames, five of them to train on, so that an epoch ends within a batch."""
    folder = tmp_path_factory.mktemp("data") / "rooms"
    write_rooms(folder, RoomsFolder(train=7, test=1, size=(48, 64)))
    return folder


@pytest.fixture(scope="module")
def whole(rooms, tmp_path_factory):
    """The directory of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    finished = train(rooms, out)
    assert finished.returncode == 0, finished.stderr
    return out


def command(rooms, out, *, resume=False, **changes):
    """The command line; a run's settings are written beside its directory, which need not exist."""
    settings = out.with_name(f"{out.name}.yaml")
    with contextlib.suppress(FileExistsError), settings.open("x") as stream:
        stream.write(config(**changes).to_yaml())
    arguments = ["train", "--data", str(rooms), "--out", str(out), "--threads", "1"]
    return [*GEMINIFUSION, *arguments, *(["--resume"] if resume else ["--config", str(settings)])]


def train(rooms, out, **changes):
    return subprocess.run(
        command(rooms, out, **changes), capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE_S, check=False
    )


def train_with_files_of_at_most(num_bytes, rooms, out, **changes):
    return subprocess.run(
        command(rooms, out, **changes),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes)),
    )


def strike(rooms, out, signal_number):
    """Start a run, send it the signal as soon as it has logged `LOGGED_STEP`, and return what it said."""
    process = subprocess.Popen(
        command(rooms, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    deadline = time.monotonic() + PATIENCE_S
    while LOGGED_STEP not in logged_steps(out):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run has logged nothing"
        time.sleep(0.002)
    process.send_signal(signal_number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def logged_steps(out):
    path = out / "metrics.jsonl"
    complete = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.is_file() else []
    return [json.loads(line)["step"] for line in complete]


def metrics(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def state(out):
    return torch.load(out / "state.pt", weights_only=True)


def assert_same_run(out, whole):
    for name in ("final", "best"):
        found, expected = (load_file(path / name / "model.safetensors") for path in (out, whole))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), f"the weights in {name} differ"
    assert metrics(out) == metrics(whole)


def assert_clear_failure(finished, *words):
    assert finished.returncode == 1, (finished.returncode, finished.stderr)
    assert "Traceback" not in finished.stderr
    assert "internal error" not in finished.stderr
    for word in words:
        assert word in finished.stderr, finished.stderr


def test_killed_in_mid_epoch_and_resumed_ends_like_an_uninterrupted_run(rooms, whole, tmp_path):
    out = tmp_path / "run"
    assert strike(rooms, out, signal.SIGKILL).returncode == -signal.SIGKILL
    assert state(out)["step"] == 5
    assert max(logged_steps(out)) >= LOGGED_STEP, "it has to forget what it logged after its last state"
    resumed = train(rooms, out, resume=True)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(out, whole)
    sessions = json.loads((out / "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 5]


def test_interrupted_run_saves_where_it_is_and_says_how_to_go_on(rooms, whole, tmp_path):
    out = tmp_path / "run"
    stopped = strike(rooms, out, signal.SIGINT)
    assert_clear_failure(stopped, "--resume")
    saved = state(out)["step"]
    assert LOGGED_STEP <= saved < STEPS
    assert f"step {saved}" in stopped.stderr
    resumed = train(rooms, out, resume=True)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(out, whole)


def test_termination_is_an_interruption(rooms, tmp_path):
    """What a batch system sends before it kills."""
    out = tmp_path / "run"
    assert_clear_failure(strike(rooms, out, signal.SIGTERM), "--resume")
    assert LOGGED_STEP <= state(out)["step"] < STEPS


@contextlib.contextmanager
def small_disk(directory, num_bytes):
    """A file system of its own, and a function that makes it larger."""
    directory.mkdir()

    def mount(options, *source):
        return subprocess.run(["mount", *source, "-o", options, str(directory)], capture_output=True, check=False)

    try:
        refused = mount(f"size={num_bytes}", "-t", "tmpfs", "tmpfs")
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if refused.returncode:
        pytest.skip(f"needs the right to mount a file system: {refused.stderr.decode().strip()}")
    try:
        yield lambda larger: mount(f"remount,size={larger}").check_returncode()
    finally:
        # once nobody has a file of it open or mapped, as weights just compared are
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_full_disk_stops_the_run_with_its_last_state_and_space_lets_it_go_on(rooms, whole, tmp_path):
    """There is room for one state, but not for a second, which has to stand beside the first before it replaces it.

    The very first, before the first step, is half as large: the optimizer has no moments yet.
    """
    size = (whole / "state.pt").stat().st_size
    with small_disk(tmp_path / "disk", size * 7 // 4) as enlarge:
        out = tmp_path / "disk" / "run"
        (tmp_path / "disk" / "run.yaml").write_text(config(evaluate_every=STEPS).to_yaml())
        assert_clear_failure(train(rooms, out), "No space left on device", "--resume")
        assert state(out)["step"] == 5
        enlarge(size * 4)
        resumed = train(rooms, out, resume=True)
        assert resumed.returncode == 0, resumed.stderr
        found, expected = (load_file(path / "final" / "model.safetensors") for path in (out, whole))
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_files_that_may_not_grow_stop_the_run_with_its_last_state(rooms, whole, tmp_path):
    """The same without the right to mount: a limit on the size of files, set once there is a state."""
    out = tmp_path / "run"
    strike(rooms, out, signal.SIGKILL)
    before = (out / "state.pt").read_bytes()
    failed = train_with_files_of_at_most(len(before) // 2, rooms, out, resume=True)
    assert_clear_failure(failed, "File too large", "--resume")
    assert (out / "state.pt").read_bytes() == before
    resumed = train(rooms, out, resume=True)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(out, whole)


def test_a_loss_that_is_not_finite_stops_the_run_with_a_finite_state(rooms, tmp_path):
    out = tmp_path / "run"
    failed = train(rooms, out, learning_rate=1e30, warmup_steps=9, warmup_ratio=0.0, evaluate_every=STEPS)
    assert_clear_failure(failed, "the loss is", "learning_rate", "state.pt")
    saved = state(out)
    assert all(tensor.isfinite().all() for tensor in saved["net"].values() if tensor.is_floating_point())


def test_resuming_on_other_data_is_refused(rooms, tmp_path):
    out, other = tmp_path / "run", tmp_path / "rooms"
    strike(rooms, out, signal.SIGKILL)
    write_rooms(other, RoomsFolder(train=7, test=1, size=(48, 64), seed=1))
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert_clear_failure(train(other, out, resume=True), "other rgb", "another directory")
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


SAVES_UNTIL_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from geminifusion_model.training.loop.state import ExponentialAverage, TrainingState

directory, seconds = Path(sys.argv[1]), float(sys.argv[2])
parent = os.getpid()


def fresh():
    net = torch.nn.Linear(256, 256)
    return TrainingState(net, torch.optim.AdamW(net.parameters()), ExponentialAverage(net, 0.9))


def save_until_killed(ready):
    state = fresh()
    os.write(ready, b".")
    while os.getppid() == parent:
        state.step += 1
        torch.nn.init.constant_(state.net.weight, state.step)
        state.save(directory)


def seconds_of_a_save():
    begin = time.monotonic()
    fresh().save(directory)
    return time.monotonic() - begin


save_s = min(seconds_of_a_save() for _ in range(5))
draw, deadline, tries, torn = random.Random(0), time.monotonic() + seconds, 0, 0
while time.monotonic() < deadline:
    started, ready = os.pipe()
    child = os.fork()
    if child == 0:
        save_until_killed(ready)
        os._exit(0)
    os.read(started, 1)
    time.sleep(draw.uniform(0, 3 * save_s))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(started)
    os.close(ready)
    tries += 1
    torn += any(path.name != "state.pt" for path in directory.iterdir())
    found = fresh()
    found.restore(directory)
    assert found.step == 0 or (found.net.weight == found.step).all(), "a mixture of two states"
print(tries, torn)
"""


def test_killed_at_any_moment_of_saving_leaves_a_whole_state(tmp_path):
    """The processes are forked from one that has loaded torch and runs one thread, so that a try takes milliseconds."""
    directory = tmp_path / "run"
    directory.mkdir()
    found = subprocess.run(
        [sys.executable, "-c", SAVES_UNTIL_KILLED, str(directory), "10"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=PATIENCE_S,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    tries, torn = map(int, found.stdout.split())
    assert 0 < torn <= tries, "at least one was killed while a file was half written"

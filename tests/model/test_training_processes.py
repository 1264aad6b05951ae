"""Two processes are one: started as users start them, by torchrun, on this machine's loopback."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.loader import Share
from geminifusion_model.data.synthetic_rooms.folder import RoomsFolder, write_rooms
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.distributed import Processes, choose_device, joined_processes

SCENARIOS_FILE = Path(__file__).parent / "training_scenarios.py"
_spec = importlib.util.spec_from_file_location("training_scenarios", SCENARIOS_FILE)
scenarios = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scenarios)

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
]
PATIENCE_S = 300


def torchrun(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What two processes found, by scenario."""
    path = tmp_path_factory.mktemp("two") / "found.pt"
    finished = torchrun(str(SCENARIOS_FILE), str(path))
    assert finished.returncode == 0, finished.stderr
    return torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_two_processes_train_as_one_with_the_same_batch(name, of_two):
    """Gradients after one step, weights (statistics and average included) after three."""
    expected, found = scenarios.train(scenarios.SCENARIOS[name], Processes()), of_two[name]
    # four times what was found, which is rounding: 1e-7 of gradients up to 0.3, 5e-7 of statistics
    torch.testing.assert_close(found["gradients"], expected["gradients"], rtol=1e-5, atol=5e-7)
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(found["weights"], expected["weights"], rtol=1e-5, atol=2e-6)


def test_all_processes_together_have_each_part_as_one_process_has_it():
    frames = list(range(12))
    alone = Share(parts=2).of(frames)
    assert alone == frames
    shares = [Share(rank=rank, processes=3, parts=2).of(frames) for rank in range(3)]
    assert shares == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


def test_without_torchrun_there_is_one_process():
    with joined_processes("cpu", {"WORLD_SIZE": "4"}) as processes:
        assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
        assert processes.sum(torch.ones(2)).tolist() == [1, 1]
        net = torch.nn.Linear(1, 1)
        assert processes.wrap(net) is net


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_asking_for_a_device_that_is_not_there_is_refused():
    assert choose_device("auto").type == "cpu"
    with pytest.raises(TrainingError, match="finds 0 CUDA devices; start fewer processes, or choose --device cpu"):
        choose_device("cuda")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "rooms"
    write_rooms(folder, RoomsFolder(train=6, test=1, size=(48, 64)))
    return folder


def train(rooms, out, *, steps=4, **changes):
    """The arguments of the command for a short run."""
    network = GeminiFusionConfig(num_classes=13, decoder_channels=16, drop_path_rate=0.0, decoder_dropout=0.0)
    fields = {
        "network": network,
        "augmentation": Augmentation(crop=(48, 64)),
        "steps": steps,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "holdout": 2,
        "evaluate_every": 2,
        "log_every": 1,
        "allow_unlearnable_classes": True,
    }
    settings = out.with_name(f"{out.name}.yaml")
    settings.write_text(TrainingConfig(**{**fields, **changes}).to_yaml())
    return ["train", "--data", str(rooms), "--out", str(out), "--config", str(settings), "--device", "cpu"]


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_command_under_torchrun_ends_where_one_process_does(rooms, tmp_path):
    together = torchrun("-m", "geminifusion", *train(rooms, tmp_path / "two"))
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("weights are in") == 1, "one process speaks for all"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "geminifusion", *train(rooms, tmp_path / "one"), "--threads", "1"]
    subprocess.run(command, check=True, env=environment, timeout=PATIENCE_S, capture_output=True)
    found, expected = (metrics(tmp_path / name) for name in ("two", "one"))
    assert [line["step"] for line in found] == [line["step"] for line in expected] == [1, 2, 2, 3, 4, 4]
    for line, wanted in zip(found, expected, strict=True):
        if "loss" in line:
            assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    assert found[-1]["miou"] == pytest.approx(expected[-1]["miou"], abs=0.5)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["sessions"][0]["processes"] == 2


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_ends_all_processes_with_a_reason(rooms, tmp_path):
    failed = torchrun("-m", "geminifusion", *train(rooms, tmp_path / "run", batch_size=3))
    assert failed.returncode != 0
    assert "batch_size is 3, which 2 processes" in failed.stderr
    assert not (tmp_path / "run" / "state.pt").exists()


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other(rooms, tmp_path):
    """The second is killed in the middle of the run, as by the kernel for want of memory."""
    arguments = train(rooms, tmp_path / "run", steps=100_000, evaluate_every=100_000)
    process = subprocess.Popen(
        [*TORCHRUN, "-m", "geminifusion", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    logged = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    while not logged.is_file() or not logged.read_bytes():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert "internal error" not in errors
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] >= 0

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import distillation_scenario
import pytest
import torch
from click.testing import CliRunner
from distillation_scenario import TinyTeacher, config, distillation, write_photographs

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.distil_commands import distil
from geminifusion_model.distillation.teachers import TEACHERS
from geminifusion_model.training.errors import ConfigError, DataChangedError, TrainingError
from geminifusion_model.training.starts import describe_start
from geminifusion_model.weights.imagenet import load_imagenet

PATIENCE_S = 600


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def whole(photographs, tmp_path_factory):
    """The directory of a run that nothing happened to."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    distillation(photographs, out).train()
    torch.set_num_threads(threads)
    return out


def metrics(out):
    """All lines, without what depends on the clock."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time", "seconds")} for line in lines]


def encoder(out, name="final", file="mit_b0.pth"):
    return torch.load(out / name / file, weights_only=True)


def assert_same_run(out, whole):
    found, expected = (torch.load(path / "state.pt", weights_only=True) for path in (out, whole))
    for part in ("net", "average"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items()), part
    assert all(torch.equal(encoder(out)[name], value) for name, value in encoder(whole).items())
    assert metrics(out) == metrics(whole)


def test_a_run_leaves_the_same_files_as_training_and_an_encoder(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {
        "config.yaml", "final", "latest", "metrics.jsonl", "run.json", "state.pt", "teacher", "tensorboard"
    }  # fmt: skip
    record = json.loads((whole / "run.json").read_text())
    assert record["data"]["frames"] == 12
    assert record["data"]["name"].startswith("12 photographs of ")
    lines = metrics(whole)
    validated = [line["step"] for line in lines if "validation_loss" in line]
    assert validated == [0, 3, 6, 8]
    parts = {"loss_stage2", "loss_stage3", "loss_stage4", "loss_logits", "loss_folders", "agreement", "rate"}
    assert parts <= lines[-2].keys()
    origin = json.loads((whole / "final" / "mit_b0.json").read_text())
    assert origin["description"].startswith("mit_b0 distilled from tiny (drawn by chance; CC0-1.0) on 10 of 12 photo")
    assert origin["validation"]["loss"] == lines[-1]["validation_loss"]


def test_both_streams_of_a_network_start_from_the_encoder(whole):
    net = GeminiFusion(GeminiFusionConfig(encoder="mit_b0", num_classes=5, decoder_channels=8))
    report = load_imagenet(net, whole / "final" / "mit_b0.pth", strict=True)
    assert report.complete
    assert report.ignored == ("head.bias", "head.weight")
    average = torch.load(whole / "state.pt", weights_only=True)["average"]
    weights = {name.removeprefix("encoder."): values for name, values in net.state_dict().items()}
    stacked = 0
    for name, values in average.items():
        if name.startswith("encoder."):
            found = weights[name.removeprefix("encoder.")]
            stacked += found.shape != values.shape
            assert torch.equal(found, values.expand_as(found)), name
    assert stacked, "norms are kept once per stream"


def test_a_swin_encoder_starts_both_streams_too(photographs, tmp_path):
    distillation(
        photographs, tmp_path, encoder="swin_tiny", steps=1, fine_steps=0, batch_size=2, folder_weight=0
    ).train()
    net = GeminiFusion(GeminiFusionConfig(encoder="swin_tiny", num_classes=5, decoder_channels=8))
    report = load_imagenet(net, tmp_path / "final" / "swin_tiny.pth", strict=True)
    assert set(report.ignored) == {"head.bias", "head.weight", "norm.bias", "norm.weight"}
    norm = net.encoder.patch_embed.norm.weight
    assert torch.equal(norm[0], norm[1])


def test_a_checkpoint_that_starts_from_the_encoder_says_so(whole):
    assert describe_start(None, str(whole / "final" / "mit_b0.pth")).startswith("mit_b0 distilled from tiny")


def test_a_student_starts_from_the_rgb_stream_of_a_checkpoint(photographs, tmp_path):
    torch.manual_seed(1)
    net = GeminiFusion(GeminiFusionConfig(encoder="mit_b0", num_classes=5, decoder_channels=8))
    torch.nn.init.normal_(net.encoder.stages[0].norm.weight)  # so that the streams differ
    net.save_pretrained(tmp_path / "checkpoint")
    start = str(tmp_path / "checkpoint")
    run = distillation(photographs, tmp_path / "run", start_from=start, steps=1, fine_steps=0)
    tensors = net.encoder.state_dict()
    for name, values in run.student.encoder.state_dict().items():
        assert torch.equal(values, tensors[name] if values.shape == tensors[name].shape else tensors[name][:1]), name
    run.train()
    shutil.rmtree(start)
    distillation(photographs, tmp_path / "run", start_from=start, steps=1, fine_steps=0, resume=True)
    origin = json.loads((tmp_path / "run" / "final" / "mit_b0.json").read_text())["description"]
    assert f"from the RGB stream of {tmp_path.name}/checkpoint" in origin


def test_a_checkpoint_that_the_student_cannot_start_from_is_refused(photographs, tmp_path):
    with pytest.raises(ConfigError, match=r"where there is no config\.json; give a checkpoint such as RUN/final"):
        distillation(photographs, tmp_path / "run", start_from=str(tmp_path))
    GeminiFusion(GeminiFusionConfig(encoder="mit_b0", decoder_channels=8)).save_pretrained(tmp_path / "b0")
    with pytest.raises(ConfigError, match="with mit_b0; set encoder to that"):
        distillation(photographs, tmp_path / "run", start_from=str(tmp_path / "b0"), encoder="mit_b1")
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_student_learns_what_the_teacher_says(photographs, tmp_path):
    run = distillation(
        photographs, tmp_path, steps=25, fine_steps=0, fine_crop=32, drop_path_rate=0, evaluate_every=25, warmup_steps=3
    )
    found = run.train()
    before = metrics(tmp_path)[0]
    assert found.loss < 0.6 * before["validation_loss"]
    for part in ("stage2", "stage3", "stage4", "logits"):
        assert found.parts[part] < before[f"validation_loss_{part}"], part


def test_a_run_that_broke_off_and_is_resumed_ends_like_an_uninterrupted_one(photographs, whole, tmp_path):
    run = distillation(photographs, tmp_path)
    take = run._step.take

    def broken(batch):
        if run.state.step == 5:
            raise ZeroDivisionError
        return take(batch)

    run._step.take = broken
    with pytest.raises(ZeroDivisionError):
        run.train()
    assert [line["step"] for line in metrics(tmp_path)] == [0, 1, 2, 3, 3, 4, 5]
    resumed = distillation(photographs, tmp_path, resume=True)
    assert resumed.state.step == 4
    resumed.train()
    assert_same_run(tmp_path, whole)
    sessions = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 4]


def test_termination_saves_the_state_after_the_step_it_comes_in(photographs, whole, tmp_path):
    run = distillation(photographs, tmp_path)
    take = run._step.take

    def terminated(batch):
        if run.state.step == 2:  # the validation that is due after this step is owed then
            signal.raise_signal(signal.SIGTERM)
        return take(batch)

    run._step.take = terminated
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.checkpointer.saved_step == 3
    distillation(photographs, tmp_path, resume=True).train()
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_killed_and_resumed_processes_end_like_an_uninterrupted_run(photographs, whole, tmp_path):
    """The teacher is killed while it looks at photographs, the student in the middle of its steps."""
    script = Path(distillation_scenario.__file__)

    def start(**settings):
        return subprocess.Popen([sys.executable, str(script), str(photographs), str(tmp_path), json.dumps(settings)])

    def wait_for(seen, process):
        deadline = time.monotonic() + PATIENCE_S
        while not seen():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)

    process = start()
    wait_for(lambda: (tmp_path / "teacher" / "maps.npy").is_file(), process)
    process.kill()
    process.wait()
    process = start()
    log = tmp_path / "metrics.jsonl"
    wait_for(lambda: log.is_file() and b'"step": 5' in log.read_bytes(), process)
    process.kill()
    process.wait()
    assert start(resume=True).wait(PATIENCE_S) == 0
    assert_same_run(tmp_path, whole)


def test_a_run_in_the_directory_is_not_overwritten_and_others_are_not_resumed(photographs, whole, tmp_path):
    with pytest.raises(TrainingError, match="already holds a run; resume it with --resume"):
        distillation(photographs, whole)
    with pytest.raises(TrainingError, match=r"steps was 8 and is 9\. Resume with the same one"):
        distillation(photographs, whole, resume=True, steps=9)
    with pytest.raises(TrainingError, match=r"holds no state\.pt"):
        distillation(photographs, tmp_path, resume=True)


def test_resuming_with_other_photographs_is_refused(tmp_path):
    data = write_photographs(tmp_path / "data")
    distillation(data, tmp_path / "run", steps=1, fine_steps=0).train()
    (data / "kitchen" / "01.jpg").rename(data / "kitchen" / "one.jpg")
    with pytest.raises(DataChangedError, match="other names"):
        distillation(data, tmp_path / "run", resume=True, steps=1, fine_steps=0, maps=tmp_path / "maps")


def test_a_loss_that_is_not_finite_stops_the_run_with_a_finite_state(photographs, tmp_path):
    run = distillation(photographs, tmp_path, learning_rate=1e30, warmup_steps=5, warmup_ratio=0.0)
    with pytest.raises(TrainingError, match=r"lower learning_rate.*--resume goes on"):
        run.train()
    saved = torch.load(tmp_path / "state.pt", weights_only=True)["net"]
    assert all(values.isfinite().all() for values in saved.values())


def test_what_cannot_be_learned_from_is_refused(photographs, tmp_path):
    with pytest.raises(TrainingError, match="there are 12 photographs, 12 are to be held out; use fewer"):
        distillation(photographs, tmp_path, holdout=12)
    with pytest.raises(TrainingError, match="lie in 1 named folders"):
        distillation(photographs / "bedroom", tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_the_command_runs_and_says_how_to_go_on(photographs, tmp_path, monkeypatch):
    class Terminating(TinyTeacher):
        def __call__(self, rgb):
            signal.raise_signal(signal.SIGTERM)
            return super().__call__(rgb)

    settings = tmp_path / "settings.yaml"
    settings.write_text(config(steps=1, fine_steps=0, holdout=1).to_yaml())
    arguments = ["--data", str(photographs), "--out", str(tmp_path / "run"), "--threads", "1", "--device", "cpu"]
    monkeypatch.setitem(TEACHERS, "tiny", Terminating)
    stopped = CliRunner().invoke(distil, [*arguments, "--config", str(settings)])
    assert stopped.exit_code == 1
    assert "the teacher's maps of 12 of 12 photographs are kept, go on without --resume" in stopped.output
    monkeypatch.setitem(TEACHERS, "tiny", TinyTeacher)
    finished = CliRunner().invoke(distil, [*arguments, "--config", str(settings)])
    assert finished.exit_code == 0, finished.output
    assert "1 held-out photographs: loss " in finished.output
    assert encoder(tmp_path / "run")
    assert CliRunner().invoke(distil, [*arguments, "--resume"]).exit_code == 0, "a finished run stays as it is"


def test_without_held_out_photographs_nothing_is_validated(photographs, tmp_path):
    assert distillation(photographs, tmp_path, holdout=0, steps=1, fine_steps=0).train() is None
    assert [line["step"] for line in metrics(tmp_path)] == [1]
    assert encoder(tmp_path)


def test_runs_with_one_teacher_share_its_maps(photographs, tmp_path):
    teacher = TinyTeacher()
    for number in range(2):
        out = tmp_path / str(number)
        distillation(photographs, out, teacher=teacher, maps=tmp_path / "maps", steps=1, fine_steps=0).train()
    assert teacher.images == 12
    assert config().teacher_side == 64

"""Parts that pass, fail, hang, crash or lack something, and what is reported of them; none of it needs a GPU."""

import json
import math
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from geminifusion_export.gpu_acceptance import requirements
from geminifusion_export.gpu_acceptance.parts import LETTERS, PARTS, Part, chosen_parts
from geminifusion_export.gpu_acceptance.result import Findings, Report, summary
from geminifusion_export.gpu_acceptance.run import run_part, run_parts
from geminifusion_export.measure_commands import doctor
from geminifusion_runtime.machine import Gpu

MODULES = {
    "good": "report.check('sum', True, 'right')\n    report.target('speed', 2.0, 1.5, 'x')\n    report.note('half')",
    "wrong": "report.check('sum', True, 'right')\n    report.check('product', False, '5 instead of 6')",
    "idle": "report.figure('ms', 1.0)",
    "raises": "report.check('sum', True, 'right')\n    raise ValueError('no memory\\nlong story')",
    "lacks": "raise Missing('no compiler; install one')",
    "imports": "import a_package_that_nobody_has",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "report.check('sum', True, 'right')\n    child = subprocess.Popen(['sleep', '60'])\n"
    "    pathlib.Path(os.environ['CHILD']).write_text(str(child.pid))\n    time.sleep(60)",
}
HEAD = "import os, pathlib, signal, subprocess, time\nfrom geminifusion_export.gpu_acceptance.result import Missing\n\n"


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A part by the name of its module, on a machine that seems to have a GPU."""
    for name, body in MODULES.items():
        (tmp_path / f"{name}_part.py").write_text(f"{HEAD}\ndef examine(report):\n    {body}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("CHILD", str(tmp_path / "child"))
    monkeypatch.setattr(requirements, "nvidia_gpus", lambda: (Gpu(name="T", driver="1", compute_capability="9.0"),))
    return lambda name, limit_s=30.0: Part(letter="a", title="test", module=f"{name}_part", limit_s=limit_s)


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("good", "PASS", "1 checks, 0 of 1 targets met (missed: speed 1.5 of 2 x), half"),
        ("wrong", "FAIL", "product: 5 instead of 6"),
        ("idle", "FAIL", "nothing was checked"),
        ("raises", "FAIL", "ValueError: no memory"),
        ("lacks", "SKIP", "no compiler; install one"),
        ("imports", "SKIP", "a_package_that_nobody_has is not installed"),
        ("crashes", "FAIL", "ended by SIGSEGV; it said nothing"),
    ],
)
def test_a_part_ends_in_one_word_and_a_reason(part, name, status, detail):
    result = run_part(part(name))
    assert (result.status, result.detail) == (status, detail)


def test_a_part_that_hangs_is_ended_with_what_it_started_and_its_findings_are_kept(part, tmp_path):
    started = time.monotonic()
    result = run_part(part("hangs", limit_s=8.0))
    assert time.monotonic() - started < 30
    assert (result.status, result.detail) == ("FAIL", "not done within 8 s; until then: 1 checks")
    stat = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    for _ in range(100):
        if not stat.exists() or " Z " in stat.read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the part's child is still running")


def test_one_part_that_fails_stops_no_other(part):
    acceptance = run_parts([part("raises"), part("good")])
    assert [result.status for result in acceptance.parts] == ["FAIL", "PASS"]
    assert acceptance.failed
    table = str(acceptance).splitlines()[-4:]
    assert table[0] == "| | part | result | time | what was found |"
    assert "| FAIL |" in table[2]
    facts = json.loads(acceptance.to_json())
    assert facts["parts"][0]["findings"]["checks"] == [{"what": "sum", "passed": True, "found": "right"}]
    assert facts["parts"][1]["findings"]["targets"][0]["met"] is False


def test_without_a_gpu_every_part_is_skipped_with_its_reason_and_the_exit_code_is_0(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "nvidia_gpus", lambda: ())
    path = tmp_path / "acceptance.json"
    done = CliRunner().invoke(doctor, ["--gpu", "--json", str(path)])
    assert done.exit_code == 0, done.output
    facts = json.loads(path.read_text())
    assert [part["letter"] for part in facts["parts"]] == list(LETTERS)
    assert {part["status"] for part in facts["parts"]} == {"SKIP"}
    assert all(part["detail"].startswith("no NVIDIA GPU (") for part in facts["parts"])
    printed = json.loads(done.output.partition("```json\n")[2].removesuffix("```\n"))
    assert printed == facts


def test_everything_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(requirements, "nvidia_gpus", lambda: ())
    lacking = Part(letter="x", title="x", module="x", limit_s=1.0, packages=(("json", ""), ("nowhere.at_all", "pip …")))
    assert requirements.missing_for(lacking) == (
        "no NVIDIA GPU (nvidia-smi is missing or names none; install the driver); "
        "nowhere.at_all is not installed (run: pip …)"
    )


def test_a_part_goes_with_gpu():
    done = CliRunner().invoke(doctor, ["--part", "a"])
    assert done.exit_code == 2
    assert "--part names a part of --gpu" in done.output


def test_parts_are_done_within_ten_minutes_and_can_be_chosen():
    assert sum(part.limit_s for part in PARTS) <= 600
    assert [part.letter for part in chosen_parts(("c", "a"))] == ["a", "c"]


def test_an_attempt_that_raises_fails_its_check_alone_and_is_written_at_once(tmp_path):
    report = Report(tmp_path / "findings.json")

    def breaks():
        raise RuntimeError("CUDA error\nmore")

    report.attempt("first", breaks)
    report.attempt("second", lambda: "fine")
    report.figure("ratio", math.nan)
    written = json.loads((tmp_path / "findings.json").read_text())
    assert [check["passed"] for check in written["checks"]] == [False, True]
    assert written["checks"][0]["found"] == "RuntimeError: CUDA error"
    assert written["figures"]["ratio"] is None
    assert summary(report.findings) == "first: RuntimeError: CUDA error"
    assert summary(Findings()) == "0 checks"

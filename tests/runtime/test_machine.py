"""Facts about the machine and the source tree, read from the system's own tools."""

import subprocess

from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.machine import cpu_name, describe_machine, installed_packages, nvidia_gpus, source_version


def test_threads_are_the_cores_this_process_may_use():
    machine = describe_machine()
    assert machine.threads == usable_cores()
    assert machine.cpu == cpu_name() != ""


def test_versions_are_those_of_installed_packages():
    assert {"geminifusion", "numpy", "onnxruntime"} <= installed_packages().keys()


def test_machine_without_nvidia_smi_has_no_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == ()


def test_gpus_are_read_from_the_drivers_own_tool(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.65.06, 8.9'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (gpu,) = nvidia_gpus()
    assert (gpu.name, gpu.driver, gpu.compute_capability) == ("NVIDIA L4", "580.65.06", "8.9")
    assert describe_machine().gpus == (gpu,)


def test_source_version_is_the_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        done = subprocess.run(
            ["git", *identity, "-C", tmp_path, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    git("init")
    assert source_version(package) is None, "nothing in it is tracked"
    (package / "module.py").write_text("one = 1\n")
    git("add", ".")
    git("commit", "--message", "one")
    found = source_version(package)
    assert (found.commit, found.changed) == (git("rev-parse", "HEAD"), False)
    (package / "module.py").write_text("one = 2\n")
    assert source_version(package).changed
    installed = tmp_path / "venv"
    installed.mkdir()
    (installed / "module.py").write_text("one = 1\n")
    assert source_version(installed) is None, "not tracked by the checkout around it"
    monkeypatch.setenv("PATH", "")
    assert source_version(package) is None, "no git"


def test_a_folder_outside_every_checkout_has_no_version(tmp_path):
    assert source_version(tmp_path) is None

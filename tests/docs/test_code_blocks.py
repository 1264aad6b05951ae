"""Every code block of the documentation is run, or checked as far as it can be here."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
import yaml
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser
from tests.requirements import skip_or_fail

from geminifusion.cli import command_group
from geminifusion.server_process import running_server
from geminifusion_runtime.bundled import demo_pairs
from geminifusion_service.settings import ALL_SETTINGS

ROOT = Path(__file__).parents[2]
PACKAGES = ("model/README.md", "export/README.md", "export/plugin/README.md", "service/README.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in PACKAGES)])
LANGUAGES = {"bash", "dockerfile", "js", "json", "python", "text", "toml", "xml", "yaml"}
HTTP, GRPC = "localhost:8000", "localhost:8001"

# What does not run here, by page and a text of the block. The commands in it are parsed all the same.
NOT_RUN = {
    ("CONTRIBUTING.md", "make test"): "runs the tests, this one included",
    ("README.md", "make demo"): ".ci/run does both, in a clean clone",
    ("docs/start.md", "make demo"): ".ci/run does it, in a clean clone",
    ("docs/guides/bring-your-own-model.md", "geminifusion "): "test_bring_your_own_model.py runs it",
    ("docs/guides/deploy.md", "--target jetson"): "needs a Docker engine, and a Jetson",
    ("docs/guides/labeling.md", "geminifusion"): "test_labeling.py runs it on small frames",
    ("docs/guides/observability.md", "--otlp-endpoint"): "needs a collector of traces",
    ("docs/guides/ray.md", "--executor ray"): "needs Ray; test-slow runs it with settings of its own",
    ("docs/guides/recordings.md", "geminifusion"): "test_recordings.py runs it on small recordings",
    ("docs/guides/detection.md", ""): "trains; tests of the model and the benchmarks run it on small streets",
    ("docs/guides/serve-translation.md", ""): "test_translation.py of the client runs it with a tiny translator",
    ("docs/guides/serve-detection.md", ""): "test_detection.py and test_boxes.py run it with a tiny detector",
    ("docs/guides/triton-kserve.md", "triton"): "needs a client whose messages have the names of ours",
    ("docs/guides/triton-kserve.md", "perf_analyzer"): "needs NVIDIA's program and a newer C library",
    ("docs/guides/your-own-data.md", "geminifusion "): "trains; tests of the model run it on small frames",
    ("docs/guides/translation.md", ""): "trains; tests of the model and of the benchmarks run it on small views",
    ("docs/reference/grpc.md", "grpc_tools"): "make protos; a test compares the result",
    ("export/README.md", "geminifusion "): "exports need minutes, or a GPU",
    ("export/plugin/README.md", ""): "needs CUDA and TensorRT",
    ("model/README.md", "geminifusion "): "trains for hours",
    ("model/README.md", "load_imagenet"): "needs weights that may not be shipped",
}
MOST_NOT_RUN = 21


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    text: str

    @property
    def runs(self):
        return not any(page == self.page and part in self.text for page, part in NOT_RUN)


def blocks_of(page):
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    name = str(page.relative_to(ROOT))
    return [
        Block(name, language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def commands_in(block):
    """The lines of a block of commands; one that a backslash continues is one line."""
    return [line for line in re.sub(r"\\\n\s*", "", block.text).splitlines() if line.strip()]


def pages_with(language):
    return list(dict.fromkeys(block.page for block in BLOCKS if block.language == language and block.runs))


def test_every_block_names_its_language():
    assert {(block.page, block.language) for block in BLOCKS if block.language not in LANGUAGES} == set()
    assert len(BLOCKS) > 50


def test_the_list_of_what_does_not_run_is_short_and_current():
    stale = [key for key in NOT_RUN if not any(key[0] == block.page and key[1] in block.text for block in BLOCKS)]
    assert stale == []
    assert len(NOT_RUN) <= MOST_NOT_RUN


@pytest.fixture
def parse(monkeypatch):
    """Parse a command of ours with its own parser, without its files."""
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _parameter, _context: Path(value))

    def check(words):
        command, context, rest = command_group(), None, words
        while isinstance(command, click.Group):
            context = command.make_context(command.name, list(rest), parent=context)
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        with contextlib.suppress(click.exceptions.Exit):  # --help
            command.make_context(command.name, list(rest), parent=context)

    return check


def commands_of(*programs):
    lines = [(block.page, line) for block in BLOCKS if block.language == "bash" for line in commands_in(block)]
    return [(page, line) for page, line in lines if re.match(rf"(?:{'|'.join(programs)})\b", line)]


@pytest.mark.parametrize(("page", "line"), commands_of("geminifusion", "torchrun .*-m geminifusion"))
def test_every_command_of_ours_parses(parse, page, line):
    words = shlex.split(line.partition(" > ")[0], comments=True)
    parse(words[words.index("geminifusion") + 1 :])


def test_what_pages_tell_to_install_are_extras_of_ours():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        name
        for _, line in commands_of("pip install")
        for group in re.findall(r"(?:geminifusion|\.)\[([\w,]+)\]", line)
        for name in group.split(",")
    }
    assert named
    assert named <= set(extras)


def test_what_pages_tell_to_make_are_targets():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.split()[1] for _, line in commands_of("make")}
    assert named
    assert named <= targets


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in ("toml", "yaml", "json")], ids=lambda block: block.page
)
def test_files_have_the_syntax_they_are_said_to_have(block):
    parsers = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}
    assert parsers[block.language](block.text)


def test_the_example_of_a_settings_file_names_settings():
    (example,) = [block for block in BLOCKS if block.language == "toml" and block.page.endswith("serve.md")]
    assert set(tomllib.loads(example.text)) <= {setting.name for setting in ALL_SETTINGS}


@pytest.fixture
def folder(tmp_path, monkeypatch, make_artifact, original_weights):
    """The files that pages name, in a directory that is the current one, and `geminifusion` on the PATH."""
    pair = demo_pairs()["livingroom"]
    shutil.copy(pair.rgb, tmp_path / "rgb.jpg")
    shutil.copy(pair.depth, tmp_path / "depth.png")
    millimetres = cv2.imread(str(pair.depth), cv2.IMREAD_UNCHANGED)
    np.save(tmp_path / "metres.npy", millimetres.astype(np.float32) / 1000)
    make_artifact(tmp_path / "path/to/artifact")
    weights = {f"module.{name}": value for name, value in original_weights("mit_b0_b1_64x96").items()}
    torch.save({"segmenter": weights, "epoch_start": 1}, tmp_path / "model-best.pth.tar")
    ours = tmp_path / ".bin" / "geminifusion"
    ours.parent.mkdir()
    ours.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m geminifusion "$@"\n')
    ours.chmod(0o755)
    monkeypatch.setenv("PATH", str(ours.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory, make_artifact):
    """What pages ask: a default model, and a repository of which requests load models."""
    root = tmp_path_factory.mktemp("served")
    make_artifact(root / "models/kitchen/1", name="kitchen")
    repository = ["--model-repository", root / "models", "--model-control", "explicit"]
    with serve(["--artifact", make_artifact(root / "tiny"), *repository], root) as running:
        yield running


def serve(arguments, folder):
    quick = ["--self-test-interval-s", "0", "--batch-tuning-s", "0", "--decode-isolation", "thread"]
    return running_server([*arguments, *quick], folder / "server.log")


def addressed(text, server):
    """A text with the addresses of this server."""
    for shown, url in ((HTTP, server.http_url), (GRPC, server.grpc_url)):
        text = text.replace(shown, url.partition("://")[2])
    return text


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("bash"))
def test_every_block_of_commands_runs(folder, server, monkeypatch, page):
    if not shutil.which("curl"):
        skip_or_fail("needs curl")
    monkeypatch.setenv("GEMINIFUSION_HTTP_PORT", server.http_url.rpartition(":")[2])
    with ExitStack() as until_the_end:
        for block in BLOCKS:
            if block.page != page or block.language != "bash" or not block.runs:
                continue
            for line in commands_in(block):
                if line.startswith("geminifusion serve"):
                    own = shlex.split(line, comments=True)[2:]
                    until_the_end.enter_context(serve(own, folder))
                elif not line.startswith("pip install"):
                    run(addressed(line, server))


def run(line):
    line = re.sub(r"\bcurl ", "curl --fail-with-body ", line)
    done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"))
def test_every_block_of_python_runs(folder, server, page):
    """The blocks of a page share their names, as a reader's do."""
    evaluated = []

    def evaluate(example):
        code = str(example.parsed)
        if Block(page, "python", code).runs:
            exec(compile(addressed(code, server), f"{page}, line {example.line}", "exec"), example.namespace)
            evaluated.append(code)

    sybil = Sybil([CodeBlockParser("python", evaluate)], path=str(ROOT))
    rgb = cv2.imread("rgb.jpg", cv2.IMREAD_COLOR_RGB)
    metres = np.load("metres.npy")
    document = sybil.parse(ROOT / page)
    document.namespace.update(rgb=rgb, depth=metres, camera=[(rgb, metres)] * 3)
    for example in document.examples():
        example.evaluate()
    assert evaluated

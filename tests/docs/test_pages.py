"""Pages name only what exists: links, files, command-line options, metrics. And they stay short."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from geminifusion_runtime.options import OPTION_NAMES
from geminifusion_service.observability.metrics import Metrics

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *(".ci", "benchmarks", "docker", "docs", "export", "kubernetes", "model"),
    *("protos", "runtime", "service", "tests", "typings"),
)
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LIMITED = {ROOT / "README.md": 120, ROOT / "service/README.md": 150} | {
    page: 250 for page in PAGES if page.is_relative_to(ROOT / "docs")
}
# Metrics of other collectors, and distributions' names that look like ours.
OTHER_METRICS = {"geminifusion_replicas"}
LIBRARIES = {"geminifusion_tensorrt"}
PACKAGES = {f"geminifusion_{name}" for name in ("export", "model", "runtime", "service")}

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(rf"(?<![\w/.<-])(?:{'|'.join(map(re.escape, FOLDERS))})/(?!NAME)[\w./-]*")
_FILE = re.compile(r"`(\w+\.(?:cpp|cu|h|proto|py|sh))`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# A line that runs another program has that program's options.
_OTHER_PROGRAM = re.compile(
    r"\b(cmake|curl|docker|grpc_tools|mypy|perf_analyzer|pip install|python benchmarks/|tensorboard|torchrun|trtexec)\b"
)


def named(page):
    return str(page.relative_to(ROOT))


def anchors_of(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        if not found.exists() or (anchor and anchor not in anchors_of(found)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_of_the_repository_exists(page):
    """A bare file name belongs to a folder that the same line names."""
    missing = []
    for line in page.read_text(encoding="utf-8").splitlines():
        paths = [ROOT / path.rstrip(".") for path in _PATH.findall(re.sub(r"\]\([^)]*\)", "]", line))]
        missing += [str(path) for path in paths if not path.exists()]
        folders = {path if path.is_dir() else path.parent for path in paths}
        if folders:
            missing += [name for name in _FILE.findall(line) if not any((folder / name).exists() for folder in folders)]
    assert missing == []


def lines_of(page):
    """The lines of a page; one that a backslash continues is one line."""
    return re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")).splitlines()


def options_of(command):
    """Every long option of a click command and the commands below it."""
    parameters = command.get_params(click.Context(command))
    found = {option for parameter in parameters for option in [*parameter.opts, *parameter.secondary_opts]}
    if isinstance(command, click.Group):
        for member in command.commands.values():
            found |= options_of(member)
    return found


def test_every_option_belongs_to_one_of_our_commands():
    known = {"--help", "--debug", "--version"}
    for entry in entry_points(group="geminifusion.commands"):
        known |= options_of(entry.load())
    unknown = {
        (named(page), option)
        for page in PAGES
        for line in lines_of(page)
        if not _OTHER_PROGRAM.search(line)
        for option in _OPTION.findall(line)
        if option not in known
    }
    assert unknown == set()


def test_the_http_reference_has_a_row_for_every_request_option():
    section = (
        (ROOT / "docs/reference/http.md").read_text(encoding="utf-8").split("\n## Query options\n")[1].split("\n## ")[0]
    )
    names = [
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(names) == sorted(OPTION_NAMES)


def test_every_metric_exists():
    families = [family for family in Metrics().registry.collect() if family.name.startswith("geminifusion_")]
    known = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    known |= OTHER_METRICS | LIBRARIES | PACKAGES
    unknown = {
        (named(page), name)
        for page in PAGES
        for name in re.findall(r"\bgeminifusion_[a-z_]+", page.read_text(encoding="utf-8"))
        if name not in known
    }
    assert unknown == set()


@pytest.mark.parametrize(("page", "longest"), LIMITED.items(), ids=map(named, LIMITED))
def test_pages_stay_short(page, longest):
    assert len(page.read_text(encoding="utf-8").splitlines()) <= longest

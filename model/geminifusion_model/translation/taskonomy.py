"""Views of Taskonomy (Zamir et al., CVPR 2018), whose license forbids passing them on.

    ROOT/rgb/point_0_view_0_domain_rgb.png                        the sample building
    ROOT/rgb/BUILDING/point_0_view_0_domain_rgb.png               several buildings
    ROOT/depth_zbuffer/point_0_view_0_domain_depth_zbuffer.png    16 bits, 1/512 m; 65535 = no measurement
    ROOT/train_domain.txt, ROOT/val_domain.txt                    lists of views; also train.txt, test.txt, val.txt

A line of a list names a view, whatever else it holds: `point_0_view_0`, with its building before it. Where there is no
list, every third camera point is for testing, so that no point is in both splits.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.image_files import read_rgb, read_values
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.translation.domains import TASKONOMY_DOMAINS, TASKONOMY_LOG_SPAN, Domain
from geminifusion_model.translation.views import FileViews, ViewFiles, absent_domains, require_aligned

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SPLITS = ("train", "test")
_LISTS = {"train": ("train_domain.txt", "train.txt"), "test": ("val_domain.txt", "test.txt", "val.txt")}
_FILES = "point_*_view_*_domain_*.png"
_VIEW = re.compile(r"point_(\d+)_view_(\d+)")
_ADVICE = "docs/guides/translation.md describes Taskonomy's layout"
_TEST_SHARE = 3  # one of so many points, where no list says which
_UNMEASURED = 65535
# stored values that the published code takes for white
_FULL_SCALE = {"edge_texture": 11355.0, "edge_occlusion": 11584.0}


class _Key(NamedTuple):
    building: str
    point: int
    view: int

    def file(self, root: Path, domain: str) -> Path:
        return root / domain / self.building / f"point_{self.point}_view_{self.view}_domain_{domain}.png"

    def __str__(self) -> str:
        return f"{self.building}/point_{self.point}_view_{self.view}".removeprefix("/")


def is_taskonomy(root: Path) -> bool:
    """Whether a folder holds Taskonomy's files: one of its domains with a view in it."""
    return any(any((root / name).rglob(_FILES)) for name in TASKONOMY_DOMAINS if (root / name).is_dir())


def taskonomy(root: Path, split: str, needed: Sequence[str], *, limit: int | None = None) -> FileViews:
    """The views of one split.

    Args:
        split: `train` or `test`.
        needed: names of domains; files of others need not exist.
        limit: only the first views.

    Raises:
        LayoutError: a folder, list or file is missing, or images of a view differ in size; it names every problem.
    """
    problems = LayoutProblems(root, _ADVICE)
    there = tuple(name for name in TASKONOMY_DOMAINS if (root / name).is_dir())
    keys: list[_Key] = []
    if split not in SPLITS:
        problems.add(f"there is no split {split!r}; Taskonomy has {' and '.join(SPLITS)} here")
    elif sentence := absent_domains(needed, there, root):
        problems.add(sentence)
    else:
        keys = _split(root, split, needed[0], problems)[:limit]
        if not keys and not problems.found:
            problems.add(f"split {split} has no views; expected files like {_Key('', 0, 0).file(root, needed[0])}")
    files = [ViewFiles(str(key), {name: key.file(root, name) for name in needed}) for key in keys]
    require_aligned(files, problems)
    problems.raise_if_any()
    return FileViews(
        files,
        TASKONOMY_DOMAINS,
        read_domain,
        data="Taskonomy",
        data_license="Taskonomy's own, research alone; no image may be passed on",
        counts_unmeasured=True,
    )


def read_domain(domain: Domain, path: Path) -> tuple[Floats, Mask]:
    """An image of Taskonomy as the published code gives it to a network: in 256 steps, unmeasured depth white.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    if domain.channels == 3:
        stored = read_rgb(path).astype(np.float32)
        return encode_stored(domain, stored), np.ones(stored.shape[:2], np.bool_)
    stored = read_values(path, 1)
    return encode_stored(domain, stored), stored < _UNMEASURED


def encode_stored(domain: Domain, stored: Floats) -> Floats:
    """Stored values, `H W` or `H W 3`, in [-1, 1] of 256 steps."""
    values = stored.astype(np.float64)
    if domain.kind == "depth":
        values = np.log1p(values) * (255 / TASKONOMY_LOG_SPAN)
    elif domain.name in _FULL_SCALE:
        values = values * (255 / _FULL_SCALE[domain.name])
    return (np.floor(values.clip(0, 255)) / 127.5 - 1).astype(np.float32)


def _split(root: Path, split: str, domain: str, problems: LayoutProblems) -> list[_Key]:
    lists = {name: [root / file for file in files if (root / file).is_file()] for name, files in _LISTS.items()}
    if any(lists.values()):
        if not lists[split]:
            problems.add(f"there is no list of the {split} views; expected {' or '.join(_LISTS[split])}")
            return []
        return _listed(lists[split][0], problems)
    return [
        key
        for key in sorted(_keys(root / domain))
        if (zlib.crc32(f"{key.building}/{key.point}".encode()) % _TEST_SHARE == 0) == (split == "test")
    ]


def _listed(path: Path, problems: LayoutProblems) -> list[_Key]:
    keys: dict[_Key, None] = {}
    for number, line in enumerate((problems.read_text(path) or "").splitlines(), start=1):
        if not line.strip():
            continue
        found = _VIEW.search(line)
        if found is None:
            problems.add(
                f"{path.name} line {number} names no view; expected point_0_view_0, came {line.strip()[:60]!r}"
            )
            continue
        folders = [part for part in line[: found.start()].split("/") if part.strip(". ")]
        building = "/".join(part.strip() for part in folders if part not in TASKONOMY_DOMAINS and "domain" not in part)
        key = _Key(building, int(found[1]), int(found[2]))
        if key in keys:
            problems.add(f"{path.name} line {number} names view {key} for the second time")
        keys[key] = None
    return list(keys)


def _keys(folder: Path) -> list[_Key]:
    """Every view that has a file in a domain's folder."""
    if not folder.is_dir():
        return []
    found = ((path, _VIEW.match(path.name)) for path in folder.rglob(_FILES))
    return [
        _Key(path.parent.relative_to(folder).as_posix().removeprefix("."), int(match[1]), int(match[2]))
        for path, match in found
        if match is not None
    ]

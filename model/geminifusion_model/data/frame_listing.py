"""The frames of a folder with a contract: from a table, or from folders whose files share their stem."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from geminifusion_model.data.allowed_paths import ALLOWED_VARIABLE, is_within
from geminifusion_model.data.frame_files import FrameFiles
from geminifusion_model.data.layout import LayoutProblems

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
_DELIMITERS = (",", ";", "\t")
_MANY = 0.5  # of the stems: then names differ by a rule, and no file is missing
_TABLE_ADVICE = "a table pairs files of different names: `geminifusion data init` writes one"


def frames_of_table(root: Path, name: str, columns: Mapping[str, str], problems: LayoutProblems) -> list[FrameFiles]:
    """The rows of a CSV table; an empty cell of a modality says that it was not measured.

    Args:
        columns: by role (`rgb`, `labels`, modalities), the title of its column.
        problems: where everything that is wrong goes.
    """
    path = root / name
    if not _is_inside(root, path, "the table of a split", problems):
        return []
    if not problems.require_file(path, "the table of a split"):
        return []
    text = problems.read_text(path)
    if text is None:
        return []
    rows = _rows(text, name, list(columns.values()), problems)
    frames = []
    for number, row in rows:
        cells = {role: row[column].strip().replace("\\", "/") for role, column in columns.items()}
        empty = [columns[role] for role in ("rgb", "labels") if not cells[role]]
        if empty:
            problems.add(f"{name} line {number} has no {', '.join(empty)}; only a modality's cell may be empty")
            continue
        others = {role: root / cell if cell else None for role, cell in cells.items() if role not in ("rgb", "labels")}
        named = row.get("name") or Path(cells["rgb"]).with_suffix("").as_posix()
        frames.append(FrameFiles(named, root / cells["rgb"], root / cells["labels"], others))
    return frames


def _rows(text: str, name: str, wanted: Sequence[str], problems: LayoutProblems) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row with content."""
    header = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=lambda mark: (len(set(wanted) & set(_cells(header, mark))), header.count(mark)))
    rows = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        titles = [title.strip() for title in next(reader, [])]
        if twice := [column for column in wanted if titles.count(column) > 1]:
            problems.add(f"{name} has several columns called {twice[0]}; give each its own title")
            return []
        absent = [column for column in wanted if column not in titles]
        if absent:
            problems.add(
                f"{name} has columns {', '.join(titles) or 'none'}; expected also {', '.join(absent)} (or say under "
                "columns which column is which)"
            )
            return []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(titles) or any("\0" in cell for cell in cells):
                problems.add(
                    f"{name} line {reader.line_num} has {len(cells)} cells; expected {len(titles)}, as its header"
                )
                continue
            rows.append((reader.line_num, dict(zip(titles, cells, strict=True))))
    except csv.Error as error:
        problems.add(f"{name} is no CSV table: {error}")
    return rows


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def frames_of_folders(root: Path, folders: Mapping[str, str], problems: LayoutProblems) -> list[FrameFiles]:
    """Frames of the files that share their stem; files that are no images are passed over.

    Args:
        folders: by role, its folder in `root`.
        problems: where everything that is wrong goes.
    """
    by_stem: dict[str, dict[str, Path]] = {}
    for role, folder in folders.items():
        if not _is_inside(root, root / folder, f"the folder of {role}", problems):
            continue
        if not (root / folder).is_dir():
            problems.add(f"{root / folder} is missing (the folder of {role})")
            continue
        for path in _images(root / folder, role, problems):
            first = by_stem.setdefault(path.stem, {}).setdefault(role, path)
            if first != path:
                problems.add(
                    f"{folder} has {first.name} and {path.name}, and both could be the {role} of frame {path.stem}; "
                    "take one away"
                )
    if problems.found:
        return []
    incomplete = {stem: paths for stem, paths in by_stem.items() if set(paths) != set(folders)}
    named_otherwise = {role for paths in incomplete.values() for role in paths} == set(folders)
    if named_otherwise and len(incomplete) > _MANY * len(by_stem):
        examples = ", ".join(
            next(paths[role] for paths in by_stem.values() if role in paths).relative_to(root).as_posix()
            for role in folders
        )
        problems.add(
            f"files of one frame must share their stem, and {len(incomplete)} of {len(by_stem)} stems have no "
            f"counterpart in every folder ({examples}); {_TABLE_ADVICE}"
        )
        return []
    frames = []
    for stem, paths in sorted(by_stem.items()):
        if stem in incomplete:
            absent = ", ".join(role for role in folders if role not in paths)
            there = ", ".join(path.relative_to(root).as_posix() for path in paths.values())
            problems.add(
                f"frame {stem} has {there} but nothing for {absent} (in a table, a modality's cell may be empty)"
            )
            continue
        others = {role: path for role, path in paths.items() if role not in ("rgb", "labels")}
        frames.append(FrameFiles(stem, paths["rgb"], paths["labels"], others))
    return frames


def _images(folder: Path, role: str, problems: LayoutProblems) -> list[Path]:
    there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in there if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        others = sorted({path.suffix or path.name for path in there if path.is_file()})
        below = sum(path.is_dir() for path in there)
        found = [f"files of {', '.join(others[:5])}"] if others else []
        found += [f"{below} subfolders, which are not searched"] if below else []
        what = f"holds no image, but {' and '.join(found)}" if found else "is empty"
        problems.add(
            f"{folder} (the folder of {role}) {what}; expected {', '.join(IMAGE_SUFFIXES)}, or a table of paths"
        )
    return images


def _is_inside(root: Path, path: Path, what: str, problems: LayoutProblems) -> bool:
    if is_within(root, path):
        return True
    problems.add(f"{path} ({what}) lies outside the data set; copy it in, or set {ALLOWED_VARIABLE} to its folder")
    return False

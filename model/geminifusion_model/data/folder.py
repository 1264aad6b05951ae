"""Your own data: a folder with a `dataset.yaml` that describes it.

    name: my robot
    license: CC-BY-4.0                       # carried to the checkpoint and the artifact
    classes: [floor, wall, {name: chair, color: [200, 60, 120]}]
    labels: {offset: 0, void: [255]}         # class = stored value + offset; void values are not scored
    modalities:
      depth: {encoding: metric, metres_per_unit: 0.001, range: [0.3, 10.0], mean: 2.8, std: 1.4}
      thermal: {encoding: raw, channels: 1}
    intrinsics: {fx: 518.9, fy: 519.5, cx: 325.6, cy: 253.7}    # pixels; only `hha` from metres needs them
    splits:
      train: train.csv                       # a table: header rgb,labels,depth,thermal, paths in this folder
      test: {rgb: test/rgb, labels: test/labels, depth: test/depth, thermal: test/thermal}   # files share their stem
    columns: {rgb: image, labels: mask}      # where a table's header says something else

All but `splits` and `columns` describes the task; `task_files` says what it may hold. A data set of RGB images alone
leaves `modalities` out. Images are anything OpenCV reads, or `.npy` arrays.
"""

from __future__ import annotations

import csv
import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from geminifusion_model.data.depth_encodings import depth_encoding
from geminifusion_model.data.frame_files import FileDataset, FrameFiles, ReadValues, require_frames
from geminifusion_model.data.hha import Intrinsics, WithHHA
from geminifusion_model.data.image_files import LabelCode, read_metres, read_values
from geminifusion_model.data.layout import LayoutError, LayoutProblems
from geminifusion_model.data.sample import Dataset
from geminifusion_model.data.task_files import (
    CONTRACT_NAME,
    Stored,
    StoredRaw,
    TaskDescription,
)
from geminifusion_model.task import ModalityEncoding
from geminifusion_model.validation import validation_problems

_ADVICE = "the contract is described in model/README.md, section Data"


class _Contract(TaskDescription):
    splits: Annotated[dict[str, str | dict[str, str]], Field(min_length=1)]
    columns: dict[str, str] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _fields_agree(self) -> _Contract:
        roles = {"rgb", "labels", *self.modalities}
        for split, where in self.splits.items():
            if isinstance(where, dict) and set(where) != roles:
                raise ValueError(f"split {split} has folders for {sorted(where)}; expected {sorted(roles)}")
        if not set(self.columns) <= roles:
            raise ValueError(f"columns renames {sorted(set(self.columns) - roles)}; expected some of {sorted(roles)}")
        return self


def folder_dataset(
    root: Path | str, split: str, *, modalities: tuple[str, ...] | None = None, limit: int | None = None
) -> Dataset:
    """One split of a folder with a `dataset.yaml`.

    Args:
        split: one of those the contract names.
        modalities: `rgb`, then any of those the contract names; all of them if None. Files of others need not exist.
        limit: only the first frames.

    Raises:
        LayoutError: the contract is missing or does not validate, a table or folder does not fit it, or files are
            missing; it names every problem.
        ValueError: the contract does not name such a modality.
    """
    root = Path(root)
    contract = _read_contract(root)
    try:
        task = contract.task()
    except ValueError as error:
        raise LayoutError(root, [f"{CONTRACT_NAME}, {error}"], _ADVICE) from None
    if modalities is not None:
        task = task.only(modalities)
        kept = {name: contract.modalities[name] for name in modalities[1:]}
        contract = contract.model_copy(update={"modalities": kept})
    problems = LayoutProblems(root, _ADVICE)
    frames: list[FrameFiles] = []
    where = contract.splits.get(split)
    if where is None:
        problems.add(f"there is no split {split!r}; {CONTRACT_NAME} names {', '.join(contract.splits)}")
    elif isinstance(where, str):
        frames = _frames_of_table(root, where, contract, problems)
    else:
        roles = {"rgb", "labels", *contract.modalities}
        frames = _frames_of_folders(root, {role: folder for role, folder in where.items() if role in roles}, problems)
    if where is not None and not frames and not problems.found:
        problems.add(f"split {split} has no frames")
    require_frames(frames[:limit], problems, f"split {split}")
    problems.raise_if_any()
    read = {name: _reader(stored) for name, stored in contract.modalities.items()}
    if contract.computed_hha:
        # what is read are metres, which WithHHA turns into the three channels
        stored = (_plain_metres(m.name) if m.name in contract.computed_hha else m for m in task.modalities)
        task = dataclasses.replace(task, modalities=tuple(stored))
    dataset = FileDataset(
        task,
        frames[:limit],
        read,
        LabelCode(offset=contract.labels.offset, void=contract.labels.void),
    )
    if contract.computed_hha and contract.intrinsics is not None:
        camera = Intrinsics(**contract.intrinsics.model_dump())
        return WithHHA(dataset, camera, contract.computed_hha[0])
    return dataset


def folder_splits(root: Path | str) -> tuple[str, ...]:
    """The splits that the contract in `root` names, in its order.

    Raises:
        LayoutError: the contract is missing or does not validate.
    """
    return tuple(_read_contract(Path(root)).splits)


def _read_contract(root: Path) -> _Contract:
    path = root / CONTRACT_NAME
    try:
        return _Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LayoutError(root, [f"{path} is missing"], _ADVICE) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise LayoutError(root, [f"{path} cannot be read as YAML: {error}"], _ADVICE) from None
    except ValidationError as error:
        found = [f"{CONTRACT_NAME}, {problem}" for problem in validation_problems(error)]
        raise LayoutError(root, found, _ADVICE) from None


def _plain_metres(name: str) -> ModalityEncoding:
    return depth_encoding("metric", name=name, near_m=0.0, far_m=65.535, mean_m=0.0, std_m=1.0)


def _reader(stored: Stored) -> ReadValues:
    """From a modality's file to metres, or to stored values if the network sees those."""
    if isinstance(stored.metres_per_unit, float):
        return partial(read_metres, metres_per_unit=stored.metres_per_unit)
    if isinstance(stored, StoredRaw):
        return partial(read_values, channels=stored.channels, bits=stored.bits)
    return partial(read_values, channels=3, bits=8)


def _frames_of_table(root: Path, name: str, contract: _Contract, problems: LayoutProblems) -> list[FrameFiles]:
    path = root / name
    if not problems.require_file(path, "the table of a split"):
        return []
    roles = ("rgb", "labels", *contract.modalities)
    columns = {role: contract.columns.get(role, role) for role in roles}
    frames = []
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        header = table.fieldnames or []
        absent = [column for column in columns.values() if column not in header]
        if absent:
            problems.add(f"{name} has columns {', '.join(header) or 'none'}; expected also {', '.join(absent)}")
            return []
        for number, row in enumerate(table, start=2):
            cells = {role: (row[column] or "").strip() for role, column in columns.items()}
            empty = [columns[role] for role, cell in cells.items() if not cell]
            if empty:
                problems.add(f"{name} line {number} has no {', '.join(empty)}")
                continue
            others = {role: root / cells[role] for role in contract.modalities}
            named = row.get("name") or Path(cells["rgb"]).with_suffix("").as_posix()
            frames.append(FrameFiles(named, root / cells["rgb"], root / cells["labels"], others))
    return frames


def _frames_of_folders(root: Path, folders: dict[str, str], problems: LayoutProblems) -> list[FrameFiles]:
    by_stem: dict[str, dict[str, Path]] = {}
    for role, folder in folders.items():
        if not (root / folder).is_dir():
            problems.add(f"{root / folder} is missing (the folder of {role})")
            continue
        for path in sorted((root / folder).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                by_stem.setdefault(path.stem, {})[role] = path
    if problems.found:
        return []
    frames = []
    for stem, paths in sorted(by_stem.items()):
        absent = sorted(set(folders) - set(paths))
        if absent:
            there = ", ".join(path.relative_to(root).as_posix() for path in paths.values())
            problems.add(f"frame {stem} has {there} but nothing for {', '.join(absent)}")
            continue
        others = {role: path for role, path in paths.items() if role not in ("rgb", "labels")}
        frames.append(FrameFiles(stem, paths["rgb"], paths["labels"], others))
    return frames

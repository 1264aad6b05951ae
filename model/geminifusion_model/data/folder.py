"""Your own data: a folder with a `dataset.yaml` that describes it.

    name: my robot
    license: CC-BY-4.0                       # carried to the checkpoint and the artifact
    classes: [floor, wall, {name: chair, color: [200, 60, 120]}]
    labels: {offset: 0, void: [255]}         # or a map of values, or colors; see `label_scheme`
    modalities:
      depth: {encoding: metric, metres_per_unit: 0.001, range: [0.3, 10.0], mean: 2.8, std: 1.4}
      thermal: {encoding: raw, channels: 1}
    intrinsics: {fx: 518.9, fy: 519.5, cx: 325.6, cy: 253.7}    # pixels; only `hha` from metres needs them
    splits:
      train: train.csv                       # a table: header rgb,labels,depth,thermal, paths in this folder
      test: {rgb: test/rgb, labels: test/labels, depth: test/depth, thermal: test/thermal}   # files share their stem
    columns: {rgb: image, labels: mask}      # where a table's header says something else

All but `splits` and `columns` describes the task; `task_files` says what it may hold. A data set of RGB images alone
leaves `modalities` out. Images are what the service takes: PNG, JPEG, WebP, TIFF, `.npy`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from geminifusion_model.data.depth_encodings import depth_encoding
from geminifusion_model.data.frame_files import FileDataset, FrameFiles, ReadValues, require_frames
from geminifusion_model.data.frame_listing import frames_of_folders, frames_of_table
from geminifusion_model.data.hha import Intrinsics, WithHHA
from geminifusion_model.data.image_files import read_metres, read_picture
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.data.layout import LayoutError, LayoutProblems
from geminifusion_model.data.sample import Dataset
from geminifusion_model.data.task_files import (
    CONTRACT_NAME,
    Stored,
    TaskDescription,
)
from geminifusion_model.task import ModalityEncoding
from geminifusion_model.validation import validation_problems
from geminifusion_model.yaml_files import YamlError, read_yaml

_ADVICE = "docs/guides/your-own-data.md describes the contract"


class _Contract(TaskDescription):
    splits: Annotated[dict[str, str | dict[str, str]], Field(min_length=1)]
    columns: dict[str, str] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _fields_agree(self) -> _Contract:
        roles = {"rgb", "labels", *self.modalities}
        for split, where in self.splits.items():
            if isinstance(where, dict) and set(where) != roles:
                raise ValueError(f"split {split} has folders for {sorted(where)}; expected {sorted(roles)}")
        self.check_depth_has_a_unit()
        if not set(self.columns) <= roles:
            raise ValueError(f"columns renames {sorted(set(self.columns) - roles)}; expected some of {sorted(roles)}")
        return self

    def label_code(self) -> LabelCode:
        return dataclasses.replace(super().label_code(), remedy=self.labels.remedy)


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
        columns = {role: contract.columns.get(role, role) for role in ("rgb", "labels", *contract.modalities)}
        frames = frames_of_table(root, where, columns, problems)
    else:
        roles = ("rgb", "labels", *contract.modalities)
        frames = frames_of_folders(root, {role: where[role] for role in roles}, problems)
    if where is not None and not frames and not problems.found:
        problems.add(f"split {split} has no frames")
    require_frames(frames[:limit], problems, f"split {split}")
    problems.raise_if_any()
    encodings = {modality.name: modality for modality in task.modalities}
    read = {name: _reader(stored, encodings[name]) for name, stored in contract.modalities.items()}
    if contract.computed_hha:
        # what is read are metres, which WithHHA turns into the three channels
        stored = (_plain_metres(m.name) if m.name in contract.computed_hha else m for m in task.modalities)
        task = dataclasses.replace(task, modalities=tuple(stored))
    dataset = FileDataset(
        task,
        frames[:limit],
        read,
        contract.label_code(),
        resized=frozenset(name for name, stored in contract.modalities.items() if stored.align == "resize"),
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


def folder_camera(root: Path | str) -> Intrinsics | None:
    """The camera that the contract in `root` names, if it names one.

    Raises:
        LayoutError: the contract is missing or does not validate.
    """
    named = _read_contract(Path(root)).intrinsics
    return None if named is None else Intrinsics(**named.model_dump())


def _read_contract(root: Path) -> _Contract:
    path = root / CONTRACT_NAME
    try:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise YamlError(f"{path} holds no mapping")
        return _Contract.model_validate(content)
    except FileNotFoundError:
        raise LayoutError(
            root, [f"{path} is missing"], f"`geminifusion data init {root}` proposes one; {_ADVICE}"
        ) from None
    except YamlError as error:
        raise LayoutError(root, [str(error)], _ADVICE) from None
    except ValidationError as error:
        found = [f"{CONTRACT_NAME}, {problem}" for problem in validation_problems(error)]
        raise LayoutError(root, found, _ADVICE) from None


def _plain_metres(name: str) -> ModalityEncoding:
    return depth_encoding("metric", name=name, near_m=0.0, far_m=65.535, mean_m=0.0, std_m=1.0)


def _reader(stored: Stored, encoding: ModalityEncoding) -> ReadValues:
    """From a modality's file to metres, or to stored values if the network sees those."""
    if isinstance(stored.metres_per_unit, float):
        return partial(read_metres, metres_per_unit=stored.metres_per_unit)
    return partial(read_picture, encoding=encoding)

"""Tasks as YAML files: those of the known data sets, which come with the package, and your own.

    name: NYU Depth V2, 40 classes
    license: research data, no licence stated       # of the data; carried to the checkpoint and the artifact
    classes: [wall, floor, {name: chair, color: [200, 60, 120]}]
    labels: {offset: 0, void: [255]}                # or a map of values, or colors; see `label_scheme`
    modalities:                                     # besides rgb
      depth: {encoding: metric, metres_per_unit: 0.001, range: [0.3, 10.0], mean: 2.8, std: 1.4}
      thermal: {encoding: raw, channels: 1, bits: 16, range: [28000, 31000], mean: 115.0, std: 2.0}
    intrinsics: {fx: 518.9, fy: 519.5, cx: 325.6, cy: 253.7}   # pixels; to compute HHA from metres
    input_policy: {shorter_side: 480, multiple_of: 32}         # frames keep their own size if it is left out
    label_upsampling: bicubic                                  # of the logits; bilinear if it is left out
    evaluation_protocol: original-sun                          # how scores are compared; see `geminifusion evaluate`

A data set's `dataset.yaml` is such a file too; what it says besides (`splits`, `columns`) is where the frames are.
Files of a modality that are smaller or larger than the RGB need `align: resize`.

Encodings of depth in metres are `metric`, `inverse`, `log` and `hha` (computed from metres and the intrinsics); `hha`
without `metres_per_unit` is stored as pictures. `raw` divides stored values by 255, with one channel or three and 8 or
16 bits (16 is any number of more than 8, floats too); `range` is then in stored values, `mean` and `std` in values
divided by 255. `raw` with `metres_per_unit` is
depth that a network sees as stored numbers, but is fed in metres; `metres_per_unit: ask` marks depth files whose unit
is written nowhere, so that whoever imports a network has to say it.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from geminifusion_model.config import MODALITIES
from geminifusion_model.data.depth_encodings import depth_encoding, hha_encoding, raw_encoding, raw_metres_encoding
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.data.label_scheme import LabelScheme
from geminifusion_model.data.palettes import evenly_spread_palette
from geminifusion_model.task import IMAGENET_RGB, InputPolicy, ModalityEncoding, Task
from geminifusion_model.validation import validation_problems
from geminifusion_model.yaml_files import YamlError, parse_yaml, read_yaml

CONTRACT_NAME = "dataset.yaml"
ASK = "ask"

_FOLDER = importlib.resources.files("geminifusion_model") / "tasks"
_SUFFIXES = (".yaml", ".yml")
_WHERE = {"splits", "columns"}  # of a dataset.yaml: where its frames are, which is no part of the task

_Byte = Annotated[int, Field(ge=0, le=255)]
_Positive = Annotated[float, Field(gt=0)]


_UNIT_ADVICE = (
    "say how many metres one stored unit is (0.001 for millimetres, 1 for metres, 0.0392 for 10 m over the 255 steps "
    "of 8 bits)"
)


class TaskFileError(ValueError):
    """There is no such task, or its file cannot be read as one."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Class(_Model):
    name: str
    color: tuple[_Byte, _Byte, _Byte] | None = None


class _StoredModality(_Model):
    """`align: resize` brings files of another size to that of the RGB, as the service's option of the same name."""

    align: Literal["strict", "resize"] = "strict"


def _stated(unit: object) -> object:
    if unit is None:
        raise ValueError(f"it is missing: {_UNIT_ADVICE}")
    return unit


class StoredDepth(_StoredModality):
    """Depth in metres, or in units of `metres_per_unit`."""

    encoding: Literal["metric", "inverse", "log"]
    metres_per_unit: Annotated[_Positive, BeforeValidator(_stated)] = Field(default=None, validate_default=True)
    range: tuple[_Positive, _Positive]
    mean: _Positive
    std: _Positive


class StoredHHA(_StoredModality):
    """HHA, as pictures or computed from depth in units of `metres_per_unit`."""

    encoding: Literal["hha"]
    metres_per_unit: _Positive | None = None
    # of the metres: a file may give them, so that it can change to another encoding
    range: tuple[_Positive, _Positive] | None = None
    mean: _Positive | None = None
    std: _Positive | None = None


class StoredRaw(_StoredModality):
    """Pictures, or stored numbers of a sensor, that the network sees divided by 255."""

    encoding: Literal["raw"]
    channels: Literal[1, 3] = 1
    bits: Literal[8, 16] = 8
    range: tuple[float, float] | None = None
    mean: float | tuple[float, ...] | None = None
    std: _Positive | tuple[_Positive, ...] | None = None
    metres_per_unit: _Positive | Literal["ask"] | None = None

    @model_validator(mode="after")
    def _depth_has_one_channel(self) -> StoredRaw:
        if self.metres_per_unit is not None and self.channels != 1:
            raise ValueError(f"metres_per_unit is given with {self.channels} channels; depth has one")
        return self


class _Intrinsics(_Model):
    fx: _Positive
    fy: _Positive
    cx: float
    cy: float


def _as_class(value: object) -> object:
    """A class by its name alone, which YAML may have read as something else."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, bool | int | float) or value is None:
        raise ValueError(f"a class is called {value}, which is no text: put its name in quotes (yes, no, on, off, 1 …)")
    return value


def _as_list(value: object) -> object:
    """Classes numbered from 0, as some tools write them, in their order."""
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        return [value[number] for number in range(len(value))]
    return value


Stored = StoredDepth | StoredHHA | StoredRaw


class TaskDescription(_Model):
    """A task's file."""

    name: str
    license: str
    classes: Annotated[
        tuple[Annotated[_Class, BeforeValidator(_as_class)], ...],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=255),
    ]
    labels: LabelScheme = LabelScheme()
    modalities: Annotated[dict[str, Annotated[Stored, Field(discriminator="encoding")]], Field(max_length=3)] = {}
    intrinsics: _Intrinsics | None = None
    input_policy: InputPolicy = InputPolicy()
    label_upsampling: Literal["bilinear", "bicubic"] = "bilinear"
    evaluation_protocol: str | None = None

    @model_validator(mode="after")
    def _modalities_agree(self) -> TaskDescription:
        if {"rgb", "labels"} & set(self.modalities):
            raise ValueError("modalities names rgb or labels, which every data set has anyway")
        if unknown := [name for name in self.modalities if name not in MODALITIES]:
            raise ValueError(
                f"modalities names {unknown[0]!r}; networks know {', '.join(MODALITIES[1:])} besides rgb: take the "
                "nearest of these names"
            )
        if len(self.computed_hha) > 1 or (self.computed_hha and self.intrinsics is None):
            raise ValueError("encoding hha needs intrinsics, and only one modality can have it")
        return self

    @model_validator(mode="after")
    def _labels_fit_the_classes(self) -> TaskDescription:
        if len(set(self.class_names)) < len(self.classes):
            twice = next(name for name in self.class_names if self.class_names.count(name) > 1)
            raise ValueError(f"classes names {twice!r} twice; scores and label maps go by name, so give each its own")
        self.label_code()
        return self

    def check_depth_has_a_unit(self) -> None:
        """Refuse depth of which the file does not even say that its unit is unknown.

        Raises:
            ValueError: there is such depth.
        """
        for name, stored in self.modalities.items():
            if (
                name == "depth"
                and isinstance(stored, StoredRaw)
                and stored.channels == 1
                and stored.metres_per_unit is None
            ):
                raise ValueError(
                    f"modalities.{name}.metres_per_unit: it is missing: {_UNIT_ADVICE}, or metres_per_unit: {ASK} if "
                    "nobody knows it: the network then sees stored numbers, and what serves it asks for such files"
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names, in their order."""
        return tuple(c.name for c in self.classes)

    def label_code(self) -> LabelCode:
        """How its label files are read."""
        return self.labels.code(self.class_names, [c.color for c in self.classes])

    @property
    def computed_hha(self) -> list[str]:
        """Names of the modalities whose HHA is computed from metres."""
        return [n for n, stored in self.modalities.items() if isinstance(stored, StoredHHA) and stored.metres_per_unit]

    @property
    def unit_unknown(self) -> list[str]:
        """Names of the modalities whose `metres_per_unit` the file leaves to whoever imports a network."""
        return [n for n, s in self.modalities.items() if isinstance(s, StoredRaw) and s.metres_per_unit == ASK]

    def task(self, metres_per_unit: float | None = None) -> Task:
        """The task with all its modalities.

        Args:
            metres_per_unit: of the modalities in `unit_unknown`; None feeds the network with stored numbers.

        Raises:
            ValueError: a modality's numbers do not fit its encoding.
        """
        spread = evenly_spread_palette(len(self.classes))
        encodings = (_encoding(name, stored, metres_per_unit) for name, stored in self.modalities.items())
        return Task(
            data=self.name,
            modalities=(IMAGENET_RGB, *encodings),
            class_names=self.class_names,
            palette=tuple(c.color or color for c, color in zip(self.classes, spread, strict=True)),
            data_license=self.license,
            input_policy=self.input_policy,
            label_upsampling=self.label_upsampling,
            evaluation_protocol=self.evaluation_protocol,
        )


def _encoding(
    name: str, stored: StoredDepth | StoredHHA | StoredRaw, metres_per_unit: float | None
) -> ModalityEncoding:
    if isinstance(stored, StoredHHA):
        return hha_encoding(name)
    if isinstance(stored, StoredDepth):
        near_m, far_m = stored.range
        return depth_encoding(
            stored.encoding, name=name, near_m=near_m, far_m=far_m, mean_m=stored.mean, std_m=stored.std
        )
    unit = metres_per_unit if stored.metres_per_unit == ASK else stored.metres_per_unit
    if isinstance(unit, float):
        encoding = raw_metres_encoding(name, unit)
    else:
        encoding = raw_encoding(name, stored.channels, bits=stored.bits)
    if stored.range is not None:
        # in stored values here, in the encoding's unit there
        scale = {"intensity": 1 / 255, "count": 1.0, "metre": encoding.metres_per_unit or 1.0}[encoding.unit]
        encoding = dataclasses.replace(encoding, range=(stored.range[0] * scale, stored.range[1] * scale))
    if stored.mean is not None:
        encoding = dataclasses.replace(encoding, mean=_per_channel(stored.mean, stored.channels))
    if stored.std is not None:
        encoding = dataclasses.replace(encoding, std=_per_channel(stored.std, stored.channels))
    return encoding


def _per_channel(given: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    return given if isinstance(given, tuple) else (given,) * channels


def task_names() -> tuple[str, ...]:
    """The tasks that come with the package, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))
    )


def task_text(name: str) -> str:
    """The YAML text of a task that comes with the package, as a start for one of your own.

    Raises:
        TaskFileError: there is no such task.
    """
    if name not in task_names():
        raise TaskFileError(_unknown(name))
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def describe_task(name_or_path: str | Path) -> TaskDescription:
    """A task's file: of a name in `task_names`, or a YAML file of one's own, or a folder with a `dataset.yaml`.

    Raises:
        TaskFileError: there is no such task, or its file does not validate; the message names every field at fault.
    """
    text = str(name_or_path)
    path = Path(text)
    if path.is_dir() and text not in task_names():
        path = path / CONTRACT_NAME
    if not (path.suffix in _SUFFIXES or path.is_file()):
        return _validated(parse_yaml(task_text(text)), text)
    try:
        return _validated(read_yaml(path), str(path))
    except FileNotFoundError:
        raise TaskFileError(f"task is {text!r}, and there is no such file; {_expected()}") from None
    except YamlError as error:
        raise TaskFileError(str(error)) from None


def task_named(name_or_path: str | Path, metres_per_unit: float | None = None) -> Task:
    """The task of a name or file; see `describe_task` and `TaskDescription.task`.

    Raises:
        TaskFileError: see `describe_task`.
    """
    description = describe_task(name_or_path)
    try:
        return description.task(metres_per_unit)
    except ValueError as error:
        raise TaskFileError(f"task {name_or_path}: {error}") from None


def _validated(content: object, where: str) -> TaskDescription:
    if not isinstance(content, dict):
        raise TaskFileError(f"{where} holds no mapping; `geminifusion tasks NAME` prints an example")
    try:
        return TaskDescription.model_validate({key: value for key, value in content.items() if key not in _WHERE})
    except ValidationError as error:
        raise TaskFileError(f"{where} describes no task: {'; '.join(validation_problems(error))}") from None


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, task_names(), n=3, cutoff=0.4)
    hint = f"the nearest names are {', '.join(near)}; " if near else ""
    return f"task is {name!r}, and there is none of that name; {hint}{_expected()}"


def _expected() -> str:
    return f"expected {', '.join(task_names())}, or a YAML file of your own"
